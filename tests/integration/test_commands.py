"""`massmail_setup` and `massmail_rotate_keys`."""

from __future__ import annotations

from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError, call_command
from django.db import connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks

from massmail import tasks
from massmail.fields import PREFIX
from massmail.management.commands import massmail_rotate_keys, massmail_setup
from massmail.models import EmailAccount

NOTHING = "Nothing to do: everything is set up.\n"
FULLY = ("mailing", "message", "signature", "image", "attachment")
OLD, NEW, LOST = (Fernet.generate_key().decode() for _ in range(3))

pytestmark = pytest.mark.django_db


def run(name, **options):
    out = StringIO()
    call_command(name, stdout=out, **options)
    return out.getvalue()


def codenames(group):
    return set(group.permissions.values_list("codename", flat=True))


def test_setup__group_has_exactly_the_rights_of_a_manager():
    assert "Made the group" in run("massmail_setup")
    group = Group.objects.get(name="Massmail managers")
    full = {f"{right}_{model}" for right in ("add", "change", "delete", "view") for model in FULLY}
    assert codenames(group) == full | {
        "add_emailaccount",
        "change_emailaccount",
        "view_emailaccount",
        "view_delivery",
        "view_leftout",
        "change_recipient",
    }
    assert set(group.permissions.values_list("content_type__app_label", flat=True)) == {"massmail"}


def test_setup__tick_is_scheduled(settings):
    settings.MASSMAIL_TICK_SECONDS = 7
    assert "every 7 seconds" in run("massmail_setup")
    tick = PeriodicTask.objects.get(task="massmail.tick")
    assert (tick.interval.every, tick.interval.period) == (7, IntervalSchedule.SECONDS)
    assert (tick.enabled, tick.one_off, tick.expire_seconds) == (True, False, 21)
    assert (tick.args, tick.kwargs) == ("[]", "{}")


def test_setup__schedules_a_task_that_exists():
    assert tasks.tick.name == massmail_setup.TICK


def test_setup__reading_is_scheduled(settings):
    settings.MASSMAIL_POLL_SECONDS = 90
    assert "every 90 seconds" in run("massmail_setup")
    poll = PeriodicTask.objects.get(task="massmail.poll")
    assert (poll.interval.every, poll.expire_seconds) == (90, 270)
    assert tasks.poll.name == massmail_setup.POLL


def test_poll__reads_all_mailboxes_that_are_due():
    assert run("massmail_poll") == "0 mailboxes read, 0 new mails.\n"


def everything():
    tables = (Group, PeriodicTask, IntervalSchedule, PeriodicTasks)
    return [list(table.objects.order_by("pk").values()) for table in tables] + [codenames(Group.objects.get())]


def test_setup__again_changes_nothing_and_says_so():
    run("massmail_setup")
    before = everything()
    assert run("massmail_setup") == NOTHING
    assert everything() == before


def test_setup__silent_when_asked():
    assert run("massmail_setup", verbosity=0) == ""


def test_setup__adds_a_right_that_is_missing_and_keeps_those_added():
    run("massmail_setup")
    group = Group.objects.get()
    group.permissions.remove(Permission.objects.get(codename="view_leftout"))
    group.permissions.add(Permission.objects.get(codename="view_all"))
    assert run("massmail_setup") == "Added to the group “Massmail managers”: view_leftout.\n"
    assert {"view_leftout", "view_all"} <= codenames(group)


def test_setup__leaves_a_disabled_task_alone(settings):
    run("massmail_setup")
    PeriodicTask.objects.filter(task="massmail.tick").update(enabled=False)
    before = everything()
    settings.MASSMAIL_TICK_SECONDS = 60
    assert "disabled" in run("massmail_setup")
    assert everything() == before


def test_setup__follows_the_settings(settings):
    run("massmail_setup")
    settings.MASSMAIL_TICK_SECONDS = 20
    assert run("massmail_setup") == "Set the periodic task massmail.tick to every 20 seconds.\n"
    tick = PeriodicTask.objects.get(task="massmail.tick")
    assert (tick.interval.every, tick.expire_seconds) == (20, 60)
    assert run("massmail_setup") == NOTHING


def test_setup__takes_an_interval_that_stands_twice(settings):
    settings.MASSMAIL_TICK_SECONDS = settings.MASSMAIL_POLL_SECONDS = 7
    for _ in range(2):
        IntervalSchedule.objects.create(every=7, period=IntervalSchedule.SECONDS)
    run("massmail_setup")
    assert IntervalSchedule.objects.count() == 2


def test_setup__knows_a_task_that_was_renamed():
    run("massmail_setup")
    PeriodicTask.objects.filter(task="massmail.tick").update(name="Newsletters")
    assert run("massmail_setup") == NOTHING


def test_setup__before_migrate():
    Permission.objects.filter(codename="view_leftout").delete()
    with pytest.raises(CommandError, match="migrate"):
        run("massmail_setup")
    assert not Group.objects.exists()


def test_setup__without_beat(settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_celery_beat"]
    assert "INSTALLED_APPS" in run("massmail_setup")
    assert Group.objects.exists()


@pytest.fixture
def accounts(alice, settings):
    """Five accounts written with the old key; the new one is in force besides."""
    settings.MASSMAIL_FIELD_KEYS = [OLD]
    made = [make_account(alice, number) for number in range(5)]
    settings.MASSMAIL_FIELD_KEYS = [NEW, OLD]
    return made


def make_account(owner, number):
    return EmailAccount.objects.create(
        owner=owner,
        name=f"Account {number}",
        from_email=f"alice{number}@acme.example",
        smtp_host="mail.acme.example",
        smtp_password=f"secret {number}",
        imap_password="" if number else "imap",
    )


def stored():
    with connection.cursor() as cursor:
        cursor.execute("SELECT smtp_password FROM massmail_emailaccount ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


def rotated_with(key, token):
    return Fernet(key).decrypt(token.removeprefix(PREFIX).encode()).decode()


def test_rotate__everything_is_written_with_the_newest_key(accounts, settings, monkeypatch):
    monkeypatch.setattr(massmail_rotate_keys, "CHUNK", 2)
    report = run("massmail_rotate_keys")
    assert "massmail.EmailAccount.smtp_password: 5 encrypted anew, 0 changed meanwhile, 0 could not" in report
    assert "massmail.EmailAccount.imap_password: 1 encrypted anew" in report
    assert [rotated_with(NEW, token) for token in stored()] == [f"secret {number}" for number in range(5)]
    settings.MASSMAIL_FIELD_KEYS = [NEW]
    assert EmailAccount.objects.earliest("pk").imap_password == "imap"
    assert EmailAccount.objects.latest("pk").imap_password == ""


def test_rotate__what_cannot_be_decrypted_is_counted_and_kept(accounts, settings):
    settings.MASSMAIL_FIELD_KEYS = [LOST]
    make_account(accounts[0].owner, 9)
    settings.MASSMAIL_FIELD_KEYS = [NEW, OLD]
    before = stored()[-1]
    out = StringIO()
    with pytest.raises(CommandError, match="1 secrets could not be decrypted"):
        call_command("massmail_rotate_keys", stdout=out)
    assert "5 encrypted anew, 0 changed meanwhile, 1 could not be decrypted" in out.getvalue()
    assert stored()[-1] == before
    assert rotated_with(NEW, stored()[0]) == "secret 0"


def test_rotate__a_password_changed_meanwhile_is_not_overwritten(accounts, monkeypatch):
    honest = massmail_rotate_keys.decrypt

    def decrypt_while_somebody_saves(token):
        secret = honest(token)
        if secret == "secret 2":
            EmailAccount.objects.filter(pk=accounts[2].pk).update(smtp_password="changed meanwhile")
        return secret

    monkeypatch.setattr(massmail_rotate_keys, "decrypt", decrypt_while_somebody_saves)
    assert "smtp_password: 4 encrypted anew, 1 changed meanwhile" in run("massmail_rotate_keys")
    accounts[2].refresh_from_db()
    assert accounts[2].smtp_password == "changed meanwhile"
