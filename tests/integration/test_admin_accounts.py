"""Email accounts and the settings page."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.signals import got_request_exception
from django.db import connection
from django.utils import timezone
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

from massmail.admin.accounts import EmailAccountAdmin
from massmail.admin.forms import EmailAccountForm, OwnedForm
from massmail.choices import AuditAction
from massmail.engine.window import local_day
from massmail.models import AccountDay, AuditEntry, EmailAccount, Lane, MassmailSettings
from massmail.outcomes import hold_account
from tests import world
from tests.adminpages import client_of, filled_in, queries, said, submit, url

pytestmark = pytest.mark.django_db

CANARY = "canary-7f3a9c"


def html(response: Any) -> str:
    assert response.status_code == 200
    return response.content.decode()


def errors(response: Any) -> dict[str, list[str]]:
    assert response.status_code == 200
    return dict(response.context["adminform"].form.errors)


@pytest.fixture
def account(alice: Any) -> EmailAccount:
    world.settings()
    return world.account(alice, "office", smtp_password=CANARY, imap_password=CANARY + "-imap")


def test_add__belongs_to_who_made_it(alice, bob):
    data = {"name": "Office", "from_email": "a@acme.example", "smtp_host": "mail.acme.example", "owner": bob.pk}
    assert submit(client_of(alice), url(EmailAccount, "add"), new_smtp_password=CANARY, **data).status_code == 302
    made = EmailAccount.objects.get()
    assert (made.owner, made.smtp_password) == (alice, CANARY)


def test_add__superuser_chooses_the_owner(alice, boss):
    data = {"name": "Office", "from_email": "a@acme.example", "smtp_host": "mail.acme.example", "owner": alice.pk}
    assert submit(client_of(boss), url(EmailAccount, "add"), **data).status_code == 302
    assert EmailAccount.objects.get().owner == alice


def test_change__owner_stays(account, alice, bob, boss):
    for person in (alice, boss):
        assert submit(client_of(person), url(account, "change"), owner=bob.pk).status_code == 302
    account.refresh_from_db()
    assert account.owner == alice


# Passwords ------------------------------------------------------------------------------------------------------------


def test_password__never_comes_out(account, alice, carol, boss):
    for person in (alice, carol, boss):
        client = client_of(person)
        for page in ("change", "history"):
            assert CANARY not in html(client.get(url(account, page)))
        assert CANARY not in html(client.get(url(EmailAccount, "changelist")))
    client = client_of(alice)
    refused = submit(client, url(account, "change"), new_smtp_password=CANARY + "-new", name="")
    assert CANARY not in html(refused)
    submit(client, url(account, "change"), new_smtp_password=CANARY + "-new", name="Renamed")
    assert CANARY not in "".join(LogEntry.objects.values_list("change_message", flat=True))
    assert CANARY not in html(client.get(url(account, "history")))


def test_password__empty_keeps_it_new_replaces_it_box_removes_it(account, alice):
    client = client_of(alice)
    submit(client, url(account, "change"), name="Renamed")
    account.refresh_from_db()
    assert (account.name, account.smtp_password, account.imap_password) == ("Renamed", CANARY, CANARY + "-imap")

    submit(client, url(account, "change"), new_smtp_password=" with spaces ")
    account.refresh_from_db()
    assert (account.smtp_password, account.imap_password) == (" with spaces ", CANARY + "-imap")

    submit(client, url(account, "change"), remove_imap_password="on")
    account.refresh_from_db()
    assert (account.smtp_password, account.imap_password) == (" with spaces ", "")

    both = submit(client, url(account, "change"), new_smtp_password="x", remove_smtp_password="on")
    assert "remove_smtp_password" in errors(both)


def test_password__that_no_key_opens_survives_saving(account, alice, settings):
    key, settings.MASSMAIL_FIELD_KEYS = settings.MASSMAIL_FIELD_KEYS, ["b" * 43 + "="]
    client = client_of(alice)
    assert "can't be decrypted" in html(client.get(url(account, "change")))
    submit(client, url(account, "change"), name="Renamed")
    settings.MASSMAIL_FIELD_KEYS = key
    account.refresh_from_db()
    assert (account.name, account.smtp_password) == ("Renamed", CANARY)


@pytest.mark.parametrize("place", ["massmail.models.EmailAccount.save", "massmail.admin.forms.OwnedForm.owner"])
def test_password__not_in_error_reports(place, account, alice, monkeypatch):
    reports = []

    def explode(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no disk")

    class Reporting(SafeExceptionReporterFilter):
        def is_active(self, request: Any) -> bool:
            return True

    def report(sender: Any, request: Any, **kwargs: Any) -> None:
        request.exception_reporter_filter = Reporting()
        reporter = ExceptionReporter(request, *sys.exc_info())
        reports.append(reporter.get_traceback_html() + reporter.get_traceback_text())

    client = client_of(alice, raise_request_exception=False)
    data = filled_in(client, url(account, "change")) | {"main": "on", "new_smtp_password": CANARY + "-new"}
    monkeypatch.setattr(place, property(explode) if place.endswith("owner") else explode)
    got_request_exception.connect(report)
    try:
        response = client.post(url(account, "change"), data)
    finally:
        got_request_exception.disconnect(report)
    assert response.status_code == 500
    assert "no disk" in reports[0]
    assert CANARY not in reports[0]


# Main account ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("person", ["alice", "boss"])
def test_main__one_for_each_owner(person, account, alice, bob, request, boss):
    world.account(alice, "first", main=True)
    world.account(bob, "first", main=True)
    response = submit(client_of(request.getfixturevalue(person)), url(account, "change"), main="on")
    assert "“first” is the main account already" in errors(response)["main"][0]


def test_main__when_a_superuser_adds_a_second(alice, boss):
    world.account(alice, "first", main=True)
    data = {"name": "x", "from_email": "a@b.example", "smtp_host": "h", "main": "on", "owner": alice.pk}
    assert "main" in errors(submit(client_of(boss), url(EmailAccount, "add"), **data))


def test_main__two_forms_in_the_same_instant(account, alice, monkeypatch):
    world.account(alice, "first", main=True)
    look, looks = EmailAccountForm.clean, []

    def too_early(self: Any) -> Any:
        """The first look comes before the other form is saved."""
        looks.append(self)
        return look(self) if len(looks) > 1 else OwnedForm.clean(self)

    monkeypatch.setattr(EmailAccountForm, "clean", too_early)
    response = submit(client_of(alice), url(account, "change"), main="on", name="Renamed")
    assert "“first” is the main account already" in errors(response)["main"][0]
    assert not said(response)
    assert not LogEntry.objects.exists()
    account.refresh_from_db()
    assert (account.name, account.main) == ("office", False)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_main__two_people_press_save_together(alice, monkeypatch):
    accounts = [world.account(alice, name) for name in ("left", "right")]
    forms = [(client_of(alice), url(each, "change")) for each in accounts]
    filled = [filled_in(client, address) | {"main": "on"} for client, address in forms]
    together, save = Barrier(2, timeout=10), EmailAccountAdmin.save_model

    def save_together(self: Any, *args: Any) -> None:
        together.wait()
        save(self, *args)

    def press(number: int) -> int:
        client, address = forms[number]
        try:
            return client.post(address, filled[number]).status_code
        finally:
            connection.close()

    monkeypatch.setattr(EmailAccountAdmin, "save_model", save_together)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(press, (0, 1))) == [200, 302]
    assert EmailAccount.objects.filter(main=True).count() == 1


@pytest.mark.parametrize("field", ["name", "from_name", "smtp_username"])
def test_header_injection_is_refused(field, account, alice):
    for text in ("a\r\nBcc: all@x.example", "a\u2028b", "a\u202eb"):
        assert field in errors(submit(client_of(alice), url(account, "change"), **{field: text}))


# Holds ----------------------------------------------------------------------------------------------------------------


def test_hold__is_shown_and_released(account, alice):
    hold_account(account, "535 <b>wrong</b> password")
    client = client_of(alice)
    for address in (url(EmailAccount, "changelist"), url(account, "change")):
        page = html(client.get(address))
        assert "535 &lt;b&gt;wrong&lt;/b&gt; password" in page
        assert url(account, "release") in page
    response = client.post(url(account, "release"))
    assert "is released" in said(response)[0]
    account.refresh_from_db()
    assert account.hold_reason == ""
    assert AuditEntry.objects.get(action=AuditAction.ACCOUNT_RELEASED).by == alice
    assert url(account, "release") not in html(client.get(url(account, "change")))


def test_hold__saving_an_old_form_does_not_end_it(account, alice, monkeypatch):
    save = EmailAccountAdmin.save_model

    def hold_first(self: Any, request: Any, obj: Any, form: Any, change: bool) -> None:
        hold_account(EmailAccount.objects.get(pk=obj.pk), "Held meanwhile")
        save(self, request, obj, form, change)

    monkeypatch.setattr(EmailAccountAdmin, "save_model", hold_first)
    submit(client_of(alice), url(account, "change"), name="Renamed")
    account.refresh_from_db()
    assert (account.name, account.hold_reason) == ("Renamed", "Held meanwhile")


def test_hold__slipped_into_a_post_is_ignored(account, alice):
    hold_account(account, "Password refused")
    submit(client_of(alice), url(account, "change"), hold_reason="", held_until="", imap_cursor="{}")
    account.refresh_from_db()
    assert account.hold_reason == "Password refused"


def test_list__shows_what_was_used_today(account, alice):
    today = local_day(timezone.now(), MassmailSettings.load().zone)
    AccountDay.objects.create(account=account, date=today, used=17)
    assert "17 / 94" in html(client_of(alice).get(url(EmailAccount, "changelist")))


def test_list__number_of_queries_is_constant(alice, bob, boss):
    world.settings()

    def fill(number: int) -> None:
        for count in range(number):
            hold_account(world.account(alice, f"a{count}"), "Held")

    fill(5)
    few = [queries(client_of(person), url(EmailAccount, "changelist")) for person in (alice, boss)]
    fill(45)
    assert [queries(client_of(person), url(EmailAccount, "changelist")) for person in (alice, boss)] == few


# Deleting -------------------------------------------------------------------------------------------------------------


def test_delete__account_with_history_stays(account, boss):
    AccountDay.objects.create(account=account, date=timezone.localdate(), used=1)
    client = client_of(boss)
    for response in (
        client.get(url(account, "delete")),
        client.post(url(account, "delete"), {"post": "yes"}),
        client.post(
            url(EmailAccount, "changelist"),
            {"action": "delete_selected", "_selected_action": [account.pk], "post": "yes"},
        ),
    ):
        assert "Untick “Massmail”" in html(response)
    assert EmailAccount.objects.exists()


def test_delete__fresh_account_goes(account, boss):
    Lane.objects.create(account=account)
    assert client_of(boss).post(url(account, "delete"), {"post": "yes"}).status_code == 302
    assert not EmailAccount.objects.exists()


# Settings -------------------------------------------------------------------------------------------------------------

SETTINGS = "/admin/massmail_settings/massmailsettings/"


def test_settings__list_leads_to_the_form_and_looking_makes_no_row(boss):
    client = client_of(boss)
    page = html(client.get(SETTINGS, follow=True))
    for label in ("Use working hours", "URL to unsubscribe", "Emails per day", "Working days", "Time zone"):
        assert label in page
    assert not MassmailSettings.objects.exists()
    assert client.get(f"{SETTINGS}2/change/").status_code == 404


def test_settings__save(boss):
    changes = {
        "use_business_time": "on",
        "business_time_start": "09:00",
        "working_days": ["1", "2", "5"],
        "unsubscribe_url": "https://www.acme.example/bye/",
        "time_zone": "Asia/Kathmandu",
        "emails_per_day": "50",
    }
    response = submit(client_of(boss), f"{SETTINGS}1/change/", **changes)
    assert response.status_code == 302
    assert response.headers["Location"] == f"{SETTINGS}1/change/"
    assert said(response) == ["The Massmail Settings are saved. They hold from the next mail on."]
    row = MassmailSettings.load()
    assert (row.use_business_time, row.working_days, row.time_zone) == (True, [1, 2, 5], "Asia/Kathmandu")
    assert (row.unsubscribe_url, row.emails_per_day) == ("https://www.acme.example/bye/", 50)
    submit(client_of(boss), f"{SETTINGS}1/change/", emails_per_day="60")
    assert MassmailSettings.objects.get().emails_per_day == 60


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"working_days": None}, "working_days"),
        ({"business_time_end": "07:00"}, "business_time_end"),
        ({"unsubscribe_url": "javascript:alert(1)"}, "unsubscribe_url"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"gap_min": "40", "gap_max": "20"}, "gap_max"),
        ({"emails_per_day": "0"}, "emails_per_day"),
    ],
)
def test_settings__refused(changes, field, boss):
    assert field in errors(submit(client_of(boss), f"{SETTINGS}1/change/", **changes))
    assert not MassmailSettings.objects.exists()


def test_settings__of_nobody_but_superusers(alice, carol):
    world.settings()
    for person in (alice, carol):
        client = client_of(person)
        for address in (SETTINGS, f"{SETTINGS}1/change/", f"{SETTINGS}1/history/", f"{SETTINGS}1/delete/"):
            assert client.get(address).status_code == 403
        assert client.post(f"{SETTINGS}1/change/", {"emails_per_day": "9999"}).status_code == 403
    assert MassmailSettings.load().emails_per_day == 94


def test_settings__no_delete_and_no_second_row(boss):
    client = client_of(boss)
    assert client.get(f"{SETTINGS}add/").status_code == 403
    assert client.post(f"{SETTINGS}1/delete/", {"post": "yes"}).status_code == 403
