"""`SecretField`: what stands in the database, what is read with which keys, what leaves in an export."""

from __future__ import annotations

import json

import pytest
from cryptography.fernet import Fernet
from django.core import serializers
from django.core.management import call_command
from django.db import connection

from massmail.fields import PREFIX, Undecryptable, decrypt, encrypt
from massmail.models import EmailAccount

CANARY = "correct horse battery staple ü"
OLD, NEW, LOST = (Fernet.generate_key().decode() for _ in range(3))


@pytest.fixture(autouse=True)
def keys(settings):
    settings.MASSMAIL_FIELD_KEYS = [OLD]


@pytest.fixture
def account(alice):
    return EmailAccount.objects.create(
        owner=alice, name="Sales", from_email="alice@acme.example", smtp_host="mail.acme.example", smtp_password=CANARY
    )


def stored(account):
    with connection.cursor() as cursor:
        cursor.execute("SELECT smtp_password FROM massmail_emailaccount WHERE id = %s", [account.pk])
        return cursor.fetchone()[0]


def test_encrypt_is_never_the_same_twice():
    first, second = encrypt(CANARY), encrypt(CANARY)
    assert first != second
    assert decrypt(first) == decrypt(second) == CANARY


def test_older_keys_still_decrypt_and_the_newest_encrypts(settings):
    token = encrypt(CANARY)
    settings.MASSMAIL_FIELD_KEYS = [NEW, OLD]
    assert decrypt(token) == CANARY
    assert Fernet(NEW).decrypt(encrypt(CANARY).removeprefix(PREFIX).encode()).decode() == CANARY


def test_without_keys_they_are_derived_from_the_secret_key_and_its_fallbacks(settings):
    settings.MASSMAIL_FIELD_KEYS = []
    settings.SECRET_KEY = "first"
    token = encrypt(CANARY)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "second", ["first"]
    assert decrypt(token) == CANARY
    settings.SECRET_KEY_FALLBACKS = []
    assert isinstance(decrypt(token), Undecryptable)


def test_wrong_key_reads_as_nothing(settings):
    token = encrypt(CANARY)
    settings.MASSMAIL_FIELD_KEYS = [LOST]
    lost = decrypt(token)
    assert isinstance(lost, Undecryptable)
    assert lost == ""
    assert not lost


def test_the_database_holds_no_clear_text(account):
    assert stored(account).startswith(PREFIX)
    assert CANARY not in stored(account)
    assert EmailAccount.objects.get().smtp_password == CANARY


def test_an_empty_secret_stays_empty(account):
    account.smtp_password = ""
    account.save()
    assert stored(account) == ""
    assert EmailAccount.objects.get().smtp_password == ""


def test_wrong_key_keeps_the_token_on_save(account, settings):
    before = stored(account)
    settings.MASSMAIL_FIELD_KEYS = [LOST]
    lost = EmailAccount.objects.get()
    assert lost.secret_lost
    lost.name = "Renamed"
    lost.full_clean()
    lost.save()
    assert stored(account) == before
    settings.MASSMAIL_FIELD_KEYS = [LOST, OLD]
    found = EmailAccount.objects.get()
    assert (found.name, found.smtp_password, found.secret_lost) == ("Renamed", CANARY, False)


def test_a_new_secret_replaces_one_that_is_lost(account, settings):
    settings.MASSMAIL_FIELD_KEYS = [LOST]
    lost = EmailAccount.objects.get()
    lost.smtp_password = "entered again"
    lost.save()
    assert EmailAccount.objects.get().smtp_password == "entered again"


def test_dumpdata_gives_ciphertext_and_loaddata_takes_it(account, tmp_path):
    dump = tmp_path / "accounts.json"
    call_command("dumpdata", "massmail.emailaccount", output=str(dump))
    exported = json.loads(dump.read_text())[0]["fields"]["smtp_password"]
    assert decrypt(exported) == CANARY
    assert CANARY not in exported
    EmailAccount.objects.all().delete()
    call_command("loaddata", str(dump), verbosity=0)
    assert stored(account).startswith(PREFIX)
    assert EmailAccount.objects.get().smtp_password == CANARY


def test_an_export_under_the_wrong_key_can_be_loaded_under_the_right_one(account, settings):
    settings.MASSMAIL_FIELD_KEYS = [LOST]
    exported = serializers.serialize("json", EmailAccount.objects.all())
    loaded = next(iter(serializers.deserialize("json", exported)))
    loaded.save()
    settings.MASSMAIL_FIELD_KEYS = [OLD]
    assert EmailAccount.objects.get().smtp_password == CANARY


@pytest.mark.parametrize("password", ["fernet:", "fernet:secret", "fernet:gAAAAA"])
def test_a_typed_password_may_look_like_a_prefix(password):
    assert EmailAccount._meta.get_field("smtp_password").to_python(password) == password


def test_a_secret_does_not_show_itself_in_a_traceback():
    secret = decrypt(encrypt(CANARY))
    assert secret == CANARY
    assert CANARY not in repr(secret)
    assert CANARY not in repr({"smtp_password": secret})
