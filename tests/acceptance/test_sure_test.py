"""The sure test on real servers: Postfix takes the mail, OpenDKIM signs and verifies it, Dovecot keeps it."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from massmail.choices import Light
from massmail.engine.checkup import selftest
from massmail.engine.checkup.standing import Standing, standings
from massmail.models import Checkup
from tests import world
from tests.acceptance.test_mail_world import available, signer
from tests.mailstack import mail_stack
from tests.servers import answers, eventually, free_port, private_directory, running

pytestmark = [pytest.mark.mailstack, pytest.mark.django_db(transaction=True)]


@contextmanager
def verifier(home: Path, port: int, record: bytes) -> Iterator[None]:
    """Run OpenDKIM as a receiver: it verifies against `record` and writes down what came of it."""
    program = shutil.which("opendkim", path="/usr/sbin:/usr/bin")
    (home / "dns").write_bytes(b"s1._domainkey.example.test " + record + b"\n")
    config = home / "verifier.conf"
    config.write_text(
        f"Socket inet:{port}@127.0.0.1\nMode v\nInternalHosts 192.0.2.1\nAuthservID mx.example.test\n"
        f"AlwaysAddARHeader yes\nTestDNSData file:{home}/dns\nBackground no\nUserID nobody\nPidFile none\n"
    )
    assert program is not None
    with running([program, "-f", "-x", config], home, ready=lambda: answers(port), stop=signal.SIGTERM):
        yield


def tried(
    alice: Any, names: Any, settings: Any, monkeypatch: Any, headers: str, *, key: bytes | None = None
) -> Standing:
    """Run the sure test of an account whose mail is signed with these headers; `key` is published for its own."""
    settings.MASSMAIL_TRANSPORT = "massmail.transport.smtp.SMTPConnection"
    settings.MASSMAIL_CLEAR_TEXT_HOSTS = ()
    settings.MASSMAIL_PRIVATE_HOSTS = ["127.0.0.1"]
    settings.MASSMAIL_DNS_CHECKS = True
    world.settings()
    signing, verifying = free_port(), free_port()
    with (
        available(private_directory()) as home,
        available(signer(home, signing, headers)) as own_key,
        available(verifier(home, verifying, key or own_key)),
        available(mail_stack(milters=[signing, verifying])) as stack,
    ):
        monkeypatch.setenv("SSL_CERT_FILE", str(stack.certificate))
        names.zones = {
            "example.test": {"MX": ["10 mx.example.test."], "TXT": ["v=spf1 mx -all"]},
            "mx.example.test": {"A": ["192.0.2.25"]},
            "s1._domainkey.example.test": {"TXT": [key or own_key]},
            "_dmarc.example.test": {"TXT": ["v=DMARC1; p=reject; rua=mailto:dmarc@example.test"]},
        }
        server = {"smtp_port": stack.submission, "smtp_security": "starttls", "smtp_username": "alice@example.test"}
        mailbox = {"imap_host": "127.0.0.1", "imap_port": stack.imaps, "smtp_password": "secret"}
        box = world.account(alice, from_email="alice@example.test", **server, **mailbox)
        report = selftest.send_self_test(box, by=alice, now=timezone.now())
        assert report.accepted, report

        def arrived() -> bool:
            Checkup.objects.filter(test_look_at__isnull=False).update(test_look_at=timezone.now())
            return selftest.look(box.pk)

        assert eventually(arrived), Checkup.objects.get().test_trouble
    return standings([box])[box.pk]


def test_green(alice, names, settings, monkeypatch):
    standing = tried(alice, names, settings, monkeypatch, "*,+list-unsubscribe,+list-unsubscribe-post")
    assert {each.code for each in standing.findings} == {
        "mx.good", "spf.good", "dkim.good", "dmarc.reject", "alignment.both", "mail.covered", "mail.passed",
    }  # fmt: skip
    assert standing.light is Light.GREEN
    (passed,) = [each for each in standing.findings if each.code == "mail.passed"]
    assert passed.facts["server"] == "mx.example.test"
    assert "dkim=pass (example.test)" in passed.facts["results"]


def test_amber__signature_without_one_click(alice, names, settings, monkeypatch):
    standing = tried(alice, names, settings, monkeypatch, "From,To,Subject,List-Unsubscribe")
    (worst, *_others) = standing.findings
    assert worst.code == "mail.uncovered"
    assert worst.facts["headers"] == "List-Unsubscribe-Post"
    assert standing.light is Light.AMBER
    assert not standing.stops


def test_red__another_key_is_published(alice, names, settings, monkeypatch, tmp_path):
    subprocess.run(["openssl", "genrsa", "-out", tmp_path / "key", "2048"], check=True, capture_output=True)
    command = ["openssl", "rsa", "-in", tmp_path / "key", "-pubout", "-outform", "DER"]
    public = subprocess.run(command, check=True, capture_output=True).stdout
    encoded = subprocess.run(["openssl", "base64", "-A"], input=public, check=True, capture_output=True).stdout
    record = b"v=DKIM1; k=rsa; p=" + encoded
    standing = tried(alice, names, settings, monkeypatch, "*,+list-unsubscribe,+list-unsubscribe-post", key=record)
    assert [each.code for each in standing.bad] == ["mail.failed"]
    assert standing.light is Light.RED
    assert standing.stops
