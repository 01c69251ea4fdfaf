"""The example project: its seed, its lists, its mail catcher and inbox."""

from __future__ import annotations

import asyncio
import smtplib
import socket
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from example_project.crm.models import Company, Contact, Deal, Lead, Request
from example_project.crm.seeding.customers import Targets
from example_project.crm.seeding.people import ascii_slug
from example_project.demo.catcher import HOST, smtp_factory
from example_project.demo.guard import survivors
from example_project.demo.mailstore import MailStore, readable
from example_project.demo.reading import read
from example_project.demo.supervisor import DemoRefused, Ports, claimed
from massmail.composing import prepare
from massmail.models import EmailAccount, MassmailSettings, Message, Signature

CUSTOMERS = (Company, Contact, Lead)


def seed(**options: Any) -> str:
    output = StringIO()
    call_command("seed", stdout=output, stderr=output, **options)
    return output.getvalue()


def rows() -> dict[str, int]:
    models = (*CUSTOMERS, Request, Deal, User, EmailAccount, Signature, Message)
    return {model.__name__: model.objects.count() for model in models}


def addresses() -> list[str]:
    return [email for model in CUSTOMERS for email in model.objects.values_list("email", flat=True)]


@pytest.fixture
def debug(settings: Any) -> None:
    settings.DEBUG = True


# The seed


@pytest.mark.django_db
def test_seed__makes_the_numbers_asked_for_and_nothing_twice(debug: None) -> None:
    seed(recipients=200)
    first = rows()
    assert (first["Contact"], first["Lead"], first["Company"]) == (120, 50, 30)
    assert first["EmailAccount"] == 8
    assert first["Message"] == 9
    assert first["Request"] > 0
    assert first["Deal"] > 0

    seed(recipients=200)
    assert rows() == first


@pytest.mark.django_db
def test_seed__tops_up_without_repeating_addresses(debug: None) -> None:
    seed(recipients=100)
    before = set(Contact.objects.values_list("pk", flat=True))
    seed(recipients=300)
    assert sum(model.objects.count() for model in CUSTOMERS) == 300
    assert before < set(Contact.objects.values_list("pk", flat=True))
    plain = [email.lower() for email in addresses() if email and "," not in email]
    # Only the intended duplicates, 15 in a thousand, and the few ways of being invalid.
    assert len(set(plain)) > 0.95 * len(plain)


@pytest.mark.django_db
def test_seed__if_empty_leaves_customers_alone_but_moves_the_server(debug: None) -> None:
    seed(recipients=50)
    seed(recipients=500, if_empty=True, smtp_port=2525)
    assert sum(model.objects.count() for model in CUSTOMERS) == 50
    assert set(EmailAccount.objects.values_list("smtp_host", "smtp_port")) == {("127.0.0.1", 2525)}


@pytest.mark.django_db
def test_seed__keeps_the_page_an_administrator_chose(debug: None) -> None:
    seed(recipients=10)
    row = MassmailSettings.load()
    assert row.unsubscribe_url.endswith(reverse("demo-unsubscribed"))
    row.unsubscribe_url = "https://www.acme.example/bye"
    row.save()
    seed(recipients=10)
    assert MassmailSettings.load().unsubscribe_url == "https://www.acme.example/bye"


@pytest.mark.django_db
def test_seed__gives_no_passwords_where_debug_is_off() -> None:
    assert "changepassword" in seed(recipients=10)
    assert not any(user.has_usable_password() for user in User.objects.all())


@pytest.mark.django_db
def test_seed__people_have_what_the_demo_promises(debug: None) -> None:
    seed(recipients=10)
    assert User.objects.get(username="admin").is_superuser
    assert User.objects.get(username="carol").has_perm("massmail.view_all")
    alice = User.objects.get(username="alice")
    assert alice.check_password("alice")
    assert alice.has_perms(["massmail.add_mailing", "crm.view_contact", "crm.change_lead"])
    assert not alice.has_perm("massmail.view_all")
    accounts = {
        name: list(EmailAccount.objects.filter(owner__username=name).values_list("main", "paced", "massmail"))
        for name in ("alice", "bob", "eve")
    }
    assert sorted(accounts["alice"]) == [(False, False, True), (False, False, True), (True, False, True)]
    assert sorted(accounts["bob"]) == [(False, True, True)] * 3 + [(True, True, True)]
    assert accounts["eve"] == [(True, True, True)]
    assert all(account.smtp_password for account in EmailAccount.objects.all())


@pytest.mark.django_db
def test_seed__messages_and_signatures_can_be_sent(debug: None) -> None:
    seed(recipients=10)
    for message in Message.objects.select_related("signature"):
        message.full_clean()
        prepare(message)
    defaults = Signature.objects.filter(default=True)
    assert defaults.count() == 3
    assert "[" not in "".join(Signature.objects.values_list("content", flat=True))


@pytest.mark.django_db
def test_seed__addresses_are_reserved_mostly_plain_and_sometimes_awkward(debug: None) -> None:
    seed(recipients=3000)
    found = addresses()
    named = [email.lower() for email in found if "@" in email]
    assert all(
        address.strip().endswith(".example") for email in named for address in email.split(",") if address[-1] != "@"
    )
    assert found.count("") > 5
    assert any(", " in email for email in found)
    assert any(email.isupper() for email in found)
    assert any("@büro-" in email for email in found)
    assert len(set(found) - {""}) < len([email for email in found if email])
    refused = [email for email in found if email.startswith(("nouser.", "spam.", "full.", "grey."))]
    assert 0.02 < len(refused) / len(found) < 0.06
    # The mailings of the relay's owner come to an end: nobody of hers asks to try later.
    for model in CUSTOMERS:
        hers = model.objects.filter(owner__username="alice")
        assert hers.exists()
        assert not hers.filter(email__iregex="^(full|grey)[.]").exists()


def test_targets__split_by_shares_or_by_a_number_of_companies() -> None:
    assert Targets.of(2000) == Targets(companies=300, contacts=1200, leads=500)
    chosen = Targets.of(100, companies=15)
    assert (chosen.companies, chosen.contacts + chosen.leads) == (15, 85)
    assert Targets.of(10, companies=50) == Targets(companies=10, contacts=0, leads=0)


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Müller Weiß", "mueller-weiss"),
        ("D'Amboise", "damboise"),
        ("Łódź", "lodz"),
        ("Шевченко", "shevchenko"),
        ("Παπαδόπουλος", "papadopoylos"),
        ("Gökhan Çelik", "goekhan-celik"),
    ],
)
def test_ascii_slug(text: str, slug: str) -> None:
    assert ascii_slug(text) == slug


# The CRM's lists


@pytest.mark.django_db
@pytest.mark.parametrize("model", ["company", "contact", "lead", "request", "deal"])
def test_lists__number_of_queries_does_not_grow(debug: None, model: str) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(reverse(f"admin:crm_{model}_changelist"), {"q": "e"}).status_code == 200
        return len(captured)

    seed(recipients=20)
    client = Client()
    client.force_login(User.objects.get(username="alice"))
    queries()  # fills the caches of content types and permissions
    few = queries()
    seed(recipients=200)
    assert queries() == few


# The catcher


@pytest.fixture
def store(tmp_path: Path, settings: Any) -> Iterator[MailStore]:
    settings.DEMO_MAIL_DIR = tmp_path / "mail"
    with MailStore(settings.DEMO_MAIL_DIR) as box:
        yield box


@pytest.fixture
def catcher(store: MailStore) -> Iterator[int]:
    """The port of a running catcher."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(smtp_factory(store), host=HOST, port=0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    for task in asyncio.all_tasks(loop):
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def test_catcher__keeps_what_it_accepts_and_takes_any_login(catcher: int, store: MailStore) -> None:
    raw = b"From: A <a@x.example>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n.dot\r\nbody\r\n"
    with smtplib.SMTP(HOST, catcher) as smtp:
        smtp.login("anybody", "any password")
        smtp.sendmail("a@x.example", ["b@y.example"], raw)
    (mail,) = store.page()
    assert (mail.sender, mail.recipients, mail.subject, mail.author_name) == (
        "a@x.example",
        "b@y.example",
        "Grüße",
        "A",
    )
    assert store.file(mail.id).read_bytes() == raw


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        ("nouser.anna@x.example", 550, b"5.1.1"),
        ("SPAM.anna@x.example", 554, b"5.7.1"),
        ("full.anna@x.example", 452, b"4.2.2"),
        ("grey.anna@x.example", 450, b"4.2.0"),
    ],
)
def test_catcher__refuses_some(catcher: int, address: str, code: int, words: bytes) -> None:
    with smtplib.SMTP(HOST, catcher) as smtp:
        smtp.ehlo()
        smtp.mail("a@x.example")
        reply, text = smtp.rcpt(address)
        assert reply == code
        assert text.startswith(words)
        again, _ = smtp.rcpt(address)
        assert again == (250 if address.startswith("grey") else code)


# The inbox


def keep(store: MailStore, *, to: str = "anna@x.example", subject: str = "Hello", body: str = "<p>Hi</p>") -> int:
    raw = f"From: Bob <bob@x.example>\r\nTo: {to}\r\nSubject: {subject}\r\nContent-Type: text/html\r\n\r\n{body}\r\n"
    return store.add(sender="bob@x.example", recipients=[to], raw=raw.encode())


@pytest.mark.django_db
def test_inbox__escapes_what_the_mail_says(store: MailStore, client: Client) -> None:
    number = keep(store, subject="<script>alert(1)</script>", body='<a href="javascript:x()">a</a><script>b</script>')
    for url in (reverse("demo-inbox"), reverse("demo-mail", args=[number]) + "?tab=structure"):
        page = client.get(url).content.decode()
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page
    page = client.get(reverse("demo-mail", args=[number])).content.decode()
    assert "javascript:" not in page
    assert "<script" not in page


@pytest.mark.django_db
def test_inbox__shows_html_only_in_a_sandbox(store: MailStore, client: Client) -> None:
    number = keep(store, body='<p>Hi</p><a href="https://x.example/u/1">UNSUB <b>SCRIBE</b></a>')
    page = client.get(reverse("demo-mail", args=[number]))
    assert "<iframe" in page.content.decode()
    assert 'href="https://x.example/u/1"' in page.content.decode()
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")
    frame = client.get(reverse("demo-mail-html", args=[number]))
    assert frame.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert frame.headers["X-Frame-Options"] == "SAMEORIGIN"
    source = client.get(reverse("demo-mail-source", args=[number]))
    assert source.headers["Content-Type"].startswith("text/plain")
    assert b"Subject: Hello" in source.content


@pytest.mark.django_db
def test_inbox__newest_first_paged_and_searched(store: MailStore, client: Client) -> None:
    for n in range(60):
        keep(store, to=f"person{n}@x.example")
    first, second = (client.get(reverse("demo-inbox"), {"page": n}).content.decode() for n in (1, 2))
    assert first.index("person59@") < first.index("person58@")
    assert "person9@" not in first
    assert "person9@" in second
    found = client.get(reverse("demo-inbox"), {"q": "person5@"}).content.decode()
    assert "1 message " in found
    assert "person5@x.example" in found
    assert client.get(reverse("demo-mail", args=[999])).status_code == 404


@pytest.mark.django_db
def test_start_page__names_who_to_log_in_as(store: MailStore, client: Client, debug: None) -> None:
    assert "manage.py seed" in client.get("/").content.decode()
    seed(recipients=10)
    page = client.get("/").content.decode()
    alice = User.objects.get(username="alice")
    assert f"{reverse('admin:crm_contact_changelist')}?owner__id__exact={alice.pk}" in page
    assert "manage.py seed" not in page
    assert client.get(reverse("demo-unsubscribed")).status_code == 200


def test_read__survives_odd_messages() -> None:
    letter = read(b"Content-Type: text/html; charset=no-such\r\n\r\n<p>\xff</p>")
    assert "<p>" in letter.html
    nested = b"Content-Type: message/rfc822\r\n\r\n" * 30 + b"Content-Type: text/plain\r\n\r\nx"
    assert max(part.depth for part in read(nested).parts) <= 10
    assert readable("=?no-such?q?x?=") == "=?no-such?q?x?="


def test_guard__knows_who_is_left() -> None:
    assert survivors(["+10\n", "+20\n", "+30\n", "-20\n"]) == [10, 30]


def test_demo_directory__fresh_removes_its_own_things_only(tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    (tmp_path / "mail" / "1.eml").write_text("x")
    (tmp_path / "db.sqlite3").write_text("x")
    (tmp_path / "mine.txt").write_text("x")
    with claimed(tmp_path, fresh=False):
        assert (tmp_path / "db.sqlite3").exists()
        with pytest.raises(DemoRefused), claimed(tmp_path, fresh=True):
            pass
        assert (tmp_path / "db.sqlite3").exists()
    with claimed(tmp_path, fresh=True):
        assert {path.name for path in tmp_path.iterdir()} == {"demo.lock", "mine.txt"}


def test_demo__says_at_once_that_the_port_is_in_use() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DemoRefused, match=f"Port {port} is in use.*--port {port + 1}"):
            Ports.choose(port)
    assert Ports.choose(port).web == port
