"""The page of an email account, their list, and copies of them."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Permission
from django.utils import timezone

from example_project.crm.models import Contact, Lead
from massmail.admin.account_copies import COPIED
from massmail.choices import AuditAction
from massmail.engine import lanes, pulse
from massmail.engine.window import local_day
from massmail.fields import SecretField
from massmail.models import AccountDay, AuditEntry, EmailAccount, Lane, MassmailSettings, Recipient, Tally
from massmail.outcomes import hold_account
from tests import world
from tests.adminpages import client_of, queries, said, url

pytestmark = pytest.mark.django_db

CANARY = "canary-51b0e7"
OK, SEE_OTHER, FORBIDDEN, MISSING = 200, 302, 403, 404


@pytest.fixture(autouse=True)
def ready() -> MassmailSettings:
    return world.settings()


@pytest.fixture
def account(alice: Any) -> EmailAccount:
    return world.account(alice, "office", smtp_password=CANARY, imap_password=CANARY, smtp_username="alice")


def page(person: Any, account: EmailAccount) -> str:
    return client_of(person).get(url(account, "change")).content.decode()


def today() -> dt.date:
    return local_day(timezone.now(), MassmailSettings.load().zone)


def used(account: EmailAccount, number: int) -> None:
    AccountDay.objects.create(account=account, date=today(), used=number)


def follow(account: EmailAccount, *people: Any) -> None:
    """Let `people` hear from `account`."""
    for person in people:
        made = world.create_mailing(owner=account.owner, recipients=type(person).objects.filter(pk=person.pk))
        lanes.assign(made.mailing, [account], daily_limit=94)


# The page -------------------------------------------------------------------------------------------------------------


@time_machine.travel(world.MONDAY, tick=False)
def test_page__what_it_may_send_today_and_has_sent(account, alice):
    used(account, 17)
    Lane.objects.create(account=account, slot=0, last_sent_at=world.berlin("2026-11-20 09:15"))
    Lane.objects.create(account=account, slot=1, last_sent_at=world.berlin("2026-11-22 16:45"))
    html = page(alice, account)
    figures = dict(re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd>", html))
    assert figures == {
        "Sent today": "17",
        "Left for today": "77",
        "Limit per day": "94",
        "Last mail sent": "yesterday 16:45",
    }
    assert re.search(r'<progress max="94" value="17"', html)


def test_page__new_account(account, alice):
    html = page(alice, account)
    assert "<dd>never</dd>" in html
    assert "none yet" in html
    assert "Nothing was sent." in html
    assert "<svg role" not in html


def test_page__more_sent_than_the_new_limit_leaves_nothing(account, alice):
    used(account, 94)
    EmailAccount.objects.update(emails_per_day=50)
    assert "<dt>Left for today</dt><dd>0</dd>" in page(alice, account)


def test_page__hold_with_reason_remedy_and_end(account, alice, carol):
    hold_account(account, "450 <b>limit</b>", until=timezone.now() + dt.timedelta(hours=3))
    html = page(alice, account)
    assert "is on hold: “450 &lt;b&gt;limit" in html
    assert "Mend what the provider complains about" in html
    assert "It ends by itself " in html
    assert url(account, "release") in html
    assert url(account, "release") not in page(carol, account)


def test_page__hold_of_everybody_leads_an_administrator_to_the_settings(account, alice, boss):
    world.settings(use_business_time=True, working_days=[1], business_time_start="00:00", business_time_end="00:01")
    assert "Outside working hours" in page(alice, account)
    assert f'href="{url(MassmailSettings, "change", 1)}"' not in page(alice, account)
    assert f'href="{url(MassmailSettings, "change", 1)}"' in page(boss, account)


def test_page__recipients_that_stick_to_it(account, alice, bob):
    people = world.contacts(alice, 3)
    follow(account, *people, world.lead(alice))
    follow(world.account(bob), *world.contacts(bob, 1))
    html = page(alice, account)
    lists = {model: f"{url(model, 'changelist')}?massmail_account={account.pk}" for model in (Contact, Lead)}
    assert f'<a href="{lists[Contact]}">Contact persons: 3</a>' in html
    assert f'<a href="{lists[Lead]}">Leads: 1</a>' in html
    assert client_of(alice).get(lists[Contact]).context["cl"].result_count == 3


def test_page__recipients_without_a_list_that_one_may_open(account, alice, django_user_model):
    follow(account, *world.contacts(alice, 2))
    chief = django_user_model.objects.create_user("chief", is_staff=True)
    chief.user_permissions.add(Permission.objects.get(codename="view_all"))
    html = page(chief, account)
    assert "Contact persons: 2" in html
    assert "massmail_account" not in html


def test_page__leads_to_the_box_to_tick(alice):
    html = page(alice, world.account(alice, "idle", massmail=False))
    assert 'href="#id_massmail"' in html
    assert 'id="id_massmail"' in html


def test_page__the_last_days(account, alice):
    lane = Lane.objects.create(account=account, slot=0)
    other = Lane.objects.create(account=world.account(alice, "other"), slot=0)
    world.contacts(alice, 5)
    mailing = world.mailing(alice)
    day = today()
    for its_lane, back, counts in [
        (lane, 0, {"sent": 5, "failed": 2, "unknown": 1}),
        (lane, 29, {"sent": 8}),
        (lane, 30, {"sent": 1000}),
        (other, 0, {"sent": 2000}),
    ]:
        Tally.objects.create(mailing=mailing, lane=its_lane, day=day - dt.timedelta(days=back), **counts)
    late = dt.datetime.combine(day, dt.time(0, 30), MassmailSettings.load().zone)
    keys = list(mailing.deliveries.values_list("pk", flat=True))
    mailing.deliveries.filter(pk__in=keys[:4]).update(account=account, bounced_at=late)
    mailing.deliveries.filter(pk=keys[0]).update(complained_at=late)
    html = page(alice, account)
    rows = re.findall(r'<tr><th scope="row">[^<]*</th>(.*?)</tr>', html.split("massmail-days-title")[-1])
    assert [re.findall(r">(\d+)<", row) for row in rows] == [["8", "0", "8", "0", "0"], ["5", "3", "8", "4", "1"]]
    assert '<svg role="img"' in html


def test_number_of_queries(account, alice, boss):
    lane = Lane.objects.create(account=account, slot=0)

    def more(number: int) -> None:
        people = world.contacts(alice, number, prefix=f"p{number}-")
        for _ in range(2):
            mailing = world.mailing(alice, Contact.objects.filter(pk__in=[each.pk for each in people]))
            mailing.deliveries.update(account=account, status="sent", sent_at=timezone.now(), sending_at=timezone.now())
            mailing.deliveries.filter(pk__lte=mailing.deliveries.first().pk + 5).update(bounced_at=timezone.now())
            Tally.objects.create(mailing=mailing, lane=lane, day=today(), sent=number)
        lanes.assign(world.mailing(alice), [account], daily_limit=94)
        other = world.account(alice, f"account {number}")
        used(other, 3)
        hold_account(other, "535")

    more(100)
    pages = [(alice, url(account, "change")), (alice, url(EmailAccount, "changelist"))]
    pages += [(boss, address) for _person, address in pages]
    few = [queries(client_of(person), address) for person, address in pages]
    more(2900)
    for number in range(5):
        more(number + 1)
    assert [queries(client_of(person), address) for person, address in pages] == few
    assert max(few) < 35


# The list -------------------------------------------------------------------------------------------------------------


@time_machine.travel(world.MONDAY, tick=False)
def test_list__the_same_at_a_glance(account, alice):
    used(account, 17)
    Lane.objects.create(account=account, slot=0, last_sent_at=world.berlin("2026-11-22 16:45"))
    follow(account, *world.contacts(alice, 3))
    world.account(alice, "main one", main=True)
    pulse.beat(now=timezone.now())
    hold_account(world.account(alice, "held one"), "535 Authentication failed")
    world.account(alice, "idle one", massmail=False)
    html = client_of(alice).get(url(EmailAccount, "changelist")).content.decode()
    rows = {name: next(row for row in html.split("<tr>") if name in row) for name in ("office", "main one", "held one")}
    assert "17 / 94" in rows["office"]
    assert "yesterday 16:45" in rows["office"]
    assert re.search(r"field-recipients.*</span>3\s*<", rows["office"], re.DOTALL)
    assert "Ready" in rows["office"]
    assert re.search(r"massmail-state[^>]*>Main<", rows["main one"])
    assert "535 Authentication failed" in rows["held one"]
    assert "Release “held one”" in rows["held one"]
    assert "The account is not marked “Massmail”" in html


def test_list__the_button_is_for_those_who_may_press_it(account, alice, carol):
    hold_account(account, "535")
    address = url(EmailAccount, "changelist")
    assert url(account, "release") in client_of(alice).get(address).content.decode()
    assert url(account, "release") not in client_of(carol).get(address).content.decode()


def test_list__the_owner_for_those_who_see_others(account, alice, carol):
    address = url(EmailAccount, "changelist")
    assert "Owner: alice" in client_of(carol).get(address).content.decode()
    assert "Owner:" not in client_of(alice).get(address).content.decode()


@pytest.mark.usefixtures("account")
def test_list__what_the_banner_says_is_not_said_of_each_account(alice):
    html = client_of(alice).get(url(EmailAccount, "changelist")).content.decode()
    assert "No worker or beat is alive" in html.split("field-state")[-1]
    assert "there has never been a tick" not in html.split("field-state")[-1]


def test_list__nothing_in_it(alice):
    client, address = client_of(alice), url(EmailAccount, "changelist")
    html = client.get(address).content.decode()
    assert "No email account yet" in html
    assert html.count(f'href="{url(EmailAccount, "add")}"') > 1
    world.account(alice, "office")
    assert "Nothing matches." in client.get(address, {"q": "nobody"}).content.decode()


# Copies ---------------------------------------------------------------------------------------------------------------


def copy(person: Any, account: EmailAccount, **data: Any) -> Any:
    return client_of(person).post(url(account, "copy"), {"name": "Office two", **data})


def test_copy__has_servers_and_limits_and_no_secrets(alice):
    hold_until = timezone.now() + dt.timedelta(days=1)
    account = world.account(
        alice,
        "office",
        main=True,
        smtp_password=CANARY,
        imap_password=CANARY,
        oauth_provider="google",
        oauth_access_token=CANARY,
        oauth_refresh_token=CANARY,
        trusted_servers=["127.0.0.1:2525"],
        imap_host="imap.acme.example",
        imap_cursor={"INBOX": 7},
        do_import=True,
        emails_per_day=40,
        paced=True,
        lanes=3,
        hold_reason="535",
        held_until=hold_until,
    )
    response = copy(alice, account)
    made = EmailAccount.objects.exclude(pk=account.pk).get()
    assert response.headers["Location"] == url(made, "change")
    assert "Enter its password" in said(response)[0]
    assert (made.name, made.owner) == ("Office two", alice)
    assert not any([made.main, made.massmail, made.do_import])
    assert {name: getattr(made, name) for name in COPIED} == {name: getattr(account, name) for name in COPIED}
    assert (made.hold_reason, made.held_until, made.imap_cursor, made.trusted_servers) == ("", None, {}, [])
    assert not made.oauth_provider
    logged = AuditEntry.objects.get(action=AuditAction.ACCOUNT_COPIED)
    assert (logged.by, logged.account, logged.text) == (alice, made, str(account))
    assert CANARY not in logged.text


def test_copy__no_secret_column_is_ever_copied(account, alice):
    secret = [field.name for field in EmailAccount._meta.concrete_fields if isinstance(field, SecretField)]
    assert len(secret) >= 4
    EmailAccount.objects.update(**dict.fromkeys(secret, CANARY))
    copy(alice, account)
    made = EmailAccount.objects.exclude(pk=account.pk).get()
    assert [getattr(made, name) for name in secret] == [""] * len(secret)


def test_copy__for_another_owner_only_by_superusers(account, alice, bob, boss):
    copy(alice, account, owner=bob.pk)
    assert list(EmailAccount.objects.exclude(pk=account.pk).values_list("owner__username", flat=True)) == ["alice"]
    copy(boss, account, owner=bob.pk)
    assert EmailAccount.objects.filter(owner=bob).count() == 1
    assert bob.massmail_accounts.get().smtp_password == ""
    assert copy(boss, account, owner="").status_code == OK
    assert 'name="owner"' in client_of(boss).get(url(account, "copy")).content.decode()
    assert 'name="owner"' not in client_of(alice).get(url(account, "copy")).content.decode()


def test_copy__who_may(account, alice, bob, carol, boss, django_user_model):
    clerk = django_user_model.objects.create_user("clerk", is_staff=True)
    people = (alice, bob, carol, clerk, boss)
    answers = (OK, MISSING, FORBIDDEN, MISSING, OK)
    assert tuple(client_of(person).get(url(account, "copy")).status_code for person in people) == answers
    assert EmailAccount.objects.count() == 1
    for person, answer in [(bob, MISSING), (carol, FORBIDDEN), (clerk, MISSING), (None, SEE_OTHER)]:
        assert copy(person, account).status_code == answer
    assert EmailAccount.objects.count() == 1
    strict = client_of(alice, enforce_csrf_checks=True)
    assert strict.post(url(account, "copy"), {"name": "x"}).status_code == FORBIDDEN
    assert url(account, "copy") in page(alice, account)
    assert url(account, "copy") not in page(carol, account)


@pytest.mark.parametrize("name", ["", "two\nlines", "x" * 101])
def test_copy__refuses_bad_names(name, account, alice):
    response = copy(alice, account, name=name)
    assert response.status_code == OK
    assert response.context["form"].errors
    assert EmailAccount.objects.count() == 1


def test_copy__never_takes_recipients_along(account, alice):
    follow(account, *world.contacts(alice, 2))
    copy(alice, account)
    assert set(Recipient.objects.values_list("account", flat=True)) == {account.pk}
