"""Every reason why nothing leaves: the engine obeys it, the pages say it, and the remedy they offer ends it."""

from __future__ import annotations

import datetime as dt
import html
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import time_machine
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client, override_settings

from massmail.choices import HoldReason
from massmail.engine import holds, lanes, lifecycle, pulse, rings
from massmail.engine.checkup.checking import check_account
from massmail.engine.run import run_lane, tick
from massmail.exceptions import LifecycleError
from massmail.models import (
    AccountDay,
    Delivery,
    EmailAccount,
    Heartbeat,
    Lane,
    Mailing,
    Message,
    Tally,
)  # fmt: skip
from massmail.outcomes import hold_account
from massmail.transport import memory
from tests import world
from tests.adminpages import client_of, submit, url
from tests.nameserver import NameServer, Zones

pytestmark = pytest.mark.django_db

NOW = world.MONDAY
LATER = NOW + dt.timedelta(minutes=5)
OK, MOVED = 200, 302
#: A lease is measured by the clock of the database, which no test stops.
NEVER = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


@dataclass
class Scene:
    """Alice's mailing under way through one account, and the administrator."""

    alice: Any
    boss: Any
    box: EmailAccount
    mailing: Mailing
    draft: Mailing
    clients: dict[Any, Client] = field(default_factory=dict)

    def client(self, who: str) -> Client:
        person = getattr(self, who)
        return self.clients.setdefault(person.pk, client_of(person))

    def fresh(self, what: str) -> Any:
        obj = getattr(self, what)
        return type(obj)._default_manager.get(pk=obj.pk)

    def hold(self, what: str, now: dt.datetime) -> holds.Hold | None:
        if what == "draft":
            return next(iter(lifecycle.obstacles(self.fresh("draft"), now=now)), None)
        return holds.explain(self.fresh(what), now=now)


@pytest.fixture
def scene(alice: Any, boss: Any) -> Any:
    with time_machine.travel(NOW, tick=False):
        world.settings()
        pulse.beat(now=NOW)
        memory.clear()
        box = world.account(alice, "box")
        world.contacts(alice, 3)
        mailing = world.started(alice, name="Autumn")
        lanes.assign(mailing, [box], daily_limit=94)
        yield Scene(alice=alice, boss=boss, box=box, mailing=mailing, draft=world.mailing(alice, name="Draft"))
        memory.clear()


@contextmanager
def answering(zones: Zones) -> Iterator[None]:
    """Have a name server that knows these zones."""
    with (
        NameServer({"mx.acme.example": {"A": ["192.0.2.25"]}} | dict(zones)) as names,
        override_settings(MASSMAIL_DNS_SERVERS=[f"127.0.0.1:{names.port}"]),
    ):
        yield


# Arranging ------------------------------------------------------------------------------------------------------------


def nothing(scene: Scene) -> None:
    """The deployer's setting is taken away by the test."""


def only_the_draft(scene: Scene) -> None:
    Mailing.objects.filter(pk=scene.mailing.pk).delete()
    scene.mailing = scene.draft


def pause(scene: Scene) -> None:
    lifecycle.pause(scene.fresh("mailing"), by=None, reason="The server refuses this message")


def cancel(scene: Scene) -> None:
    lifecycle.cancel(scene.fresh("mailing"), by=scene.alice)


def start_later(scene: Scene) -> None:
    Mailing.objects.update(start_at=LATER)


def deactivate(scene: Scene) -> None:
    scene.alice.is_active = False
    scene.alice.save()


def no_page(scene: Scene) -> None:
    world.settings(unsubscribe_url="")


def unregister(scene: Scene) -> None:
    Mailing.objects.update(content_type=ContentType.objects.get_for_model(Session))


def no_message(scene: Scene) -> None:
    Mailing.objects.filter(pk=scene.draft.pk).update(message=None)


def bad_message(scene: Scene) -> None:
    Message.objects.update(content="<p>no link</p>")


def lose_domain(scene: Scene) -> None:
    with answering({}):
        check_account(scene.box, now=NOW)


def nobody(scene: Scene) -> None:
    Mailing.objects.filter(pk=scene.draft.pk).update(total=0)


def switch_off(scene: Scene) -> None:
    EmailAccount.objects.update(massmail=False)


def main_only(scene: Scene) -> None:
    world.account(scene.alice, "other", massmail=False)
    EmailAccount.objects.filter(pk=scene.box.pk).update(main=True)
    lanes.unassign_unusable([scene.mailing])


def refuse_login(scene: Scene) -> None:
    hold_account(scene.box, "auth: 535 5.7.8 Username and Password not accepted")


def lose_secret(scene: Scene) -> None:
    EmailAccount.objects.filter(pk=scene.box.pk).update(smtp_password="secret")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE massmail_emailaccount SET smtp_password = 'fernet:gAAAAABnonsense'")


def stop_everything(scene: Scene) -> None:
    Heartbeat.objects.update(at=NOW - dt.timedelta(hours=1))


def task() -> Any:
    return apps.get_model("django_celery_beat", "PeriodicTask").objects.get(task="massmail.tick")


def switch_task_off(scene: Scene) -> None:
    stop_everything(scene)
    row = task()
    row.enabled = False
    row.save()


def ring_in_vain(scene: Scene) -> None:
    rings.note([(scene.box.pk, 0)], now=NOW - dt.timedelta(minutes=10))


def hang(scene: Scene) -> None:
    Lane.objects.create(account=scene.box, lease_token="x", lease_until=NEVER, taken_at=NOW - dt.timedelta(minutes=6))


def close(scene: Scene) -> None:
    world.settings(use_business_time=True, business_time_start=dt.time(11))


def use_quota(scene: Scene) -> None:
    AccountDay.objects.create(account=scene.box, date=NOW.date(), used=94)


def use_ramp(scene: Scene) -> None:
    EmailAccount.objects.filter(pk=scene.box.pk).update(ramp_start=5)
    AccountDay.objects.create(account=scene.box, date=NOW.date(), used=5)


def use_hour(scene: Scene) -> None:
    EmailAccount.objects.filter(pk=scene.box.pk).update(emails_per_hour=1)
    use_limits(scene)


def use_limits(scene: Scene) -> None:
    """Let the engine send what the limits of the hour, the recipients and the companies allow."""
    world.settings(gap_min=0, gap_max=0)
    assert sends(scene, NOW)


def limit(**changes: Any) -> Callable[[Scene], None]:
    """Return what uses up limits of the recipients."""

    def use_up(scene: Scene) -> None:
        world.settings(**changes)
        use_limits(scene)

    return use_up


def cap_recipients(scene: Scene) -> None:
    use_limits(scene)
    Mailing.objects.filter(pk=scene.mailing.pk).update(status="cancelled")
    world.settings(emails_per_recipient=1)
    scene.mailing = world.started(scene.alice, name="Winter")
    sends(scene, NOW)


def fail_too_often(scene: Scene) -> None:
    lane = Lane.objects.create(account=scene.box)
    Tally.objects.create(mailing=scene.draft, lane=lane, day=NOW.date(), sent=100)
    AccountDay.objects.create(account=scene.box, date=NOW.date(), undeliverable=9)
    tick(clock=lambda: NOW)


def gap(scene: Scene) -> None:
    Lane.objects.create(account=scene.box, next_at=LATER)


def back_off(scene: Scene) -> None:
    Lane.objects.create(account=scene.box, next_at=LATER, failures=1, last_reply="421 busy")


def greylist(scene: Scene) -> None:
    Delivery.objects.update(not_before=LATER, attempts=1, reply="4.2.0 Greylisted")


# Healing: what a person does who has followed the link `to` ----------------------------------------------------------


def filled(**changes: Any) -> Callable[[Scene, Client, str], None]:
    """Return what fills in the form that the link leads to."""

    def fill_in(scene: Scene, client: Client, to: str) -> None:
        answer = submit(client, to.partition("#")[0], **changes)
        assert answer.status_code == MOVED, answer.context["adminform"].form.errors

    return fill_in


def press(verb: str) -> Callable[[Scene, Client, str], None]:
    """Return what presses the button `verb` on the page that the link leads to."""

    def click(scene: Scene, client: Client, to: str) -> None:
        page = client.get(to).content.decode()
        (action,) = set(re.findall(rf'action="([^"]+/{verb}/)"', page))
        assert client.post(action).status_code == MOVED

    return click


def asked(verb: str) -> Callable[[Scene, Client, str], None]:
    """Return what follows the link `verb` on that page, and says yes."""

    def confirm(scene: Scene, client: Client, to: str) -> None:
        page = client.get(to).content.decode()
        (address,) = set(re.findall(rf'href="([^"]+/{verb}/)"', page))
        assert client.get(address).status_code == OK
        assert client.post(address).status_code == MOVED

    return confirm


def tick_massmail(name: str) -> Callable[[Scene, Client, str], None]:
    """Return what opens the account `name` from the list of accounts, and marks it."""

    def mark(scene: Scene, client: Client, to: str) -> None:
        address = url(EmailAccount.objects.get(name=name), "change")
        assert f'href="{address}' in client.get(to).content.decode()
        assert submit(client, address, massmail="on").status_code == MOVED

    return mark


def choose_message(scene: Scene, client: Client, to: str) -> None:
    filled(message=Message.objects.filter(owner=scene.alice).first().pk)(scene, client, to)


def enter_url(scene: Scene, client: Client, to: str) -> None:
    filled(unsubscribe_url="https://www.acme.example/bye/")(scene, client, to)


def start_machine(scene: Scene, client: Client, to: str) -> None:
    """Lead to the state of the machine, where the deployer learns what to start; and start it."""
    assert 'id="massmail-machine"' in client.get(to).content.decode()
    tick(clock=lambda: NOW)
    run_lane(scene.box.pk, clock=lambda: NOW)


def switch_task_on(scene: Scene, client: Client, to: str) -> None:
    filled(enabled="on")(scene, client, to)
    assert task().enabled
    tick(clock=lambda: NOW)


def check_again(scene: Scene, client: Client, to: str) -> None:
    page = client.get(to).content.decode()
    (button,) = set(re.findall(r'action="([^"]+/check/)"', page))
    with answering({scene.box.domain: {"MX": ["10 mx.acme.example."], "TXT": ["v=spf1 mx ~all"]}}):
        assert client.post(button).status_code == MOVED


def look_who_was_left_out(scene: Scene, client: Client, to: str) -> None:
    assert client.get(to).status_code == OK
    Mailing.objects.filter(pk=scene.draft.pk).delete()
    scene.draft = world.mailing(scene.alice)


# The table ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Row:
    """`what` is held, `who` looks at its page, `heal` ends the hold there; None where only time does."""

    arrange: Callable[[Scene], None]
    what: str = "mailing"
    who: str = "alice"
    heal: Callable[[Scene, Client, str], None] | None = None


R = HoldReason
TABLE: dict[HoldReason, Row] = {
    R.DRAFT: Row(arrange=only_the_draft, heal=press("start")),
    R.PAUSED: Row(arrange=pause, heal=press("resume")),
    R.ENDED: Row(arrange=cancel),
    R.START_AT: Row(arrange=start_later, heal=press("pause")),
    R.OWNER_INACTIVE: Row(arrange=deactivate, who="boss", heal=filled(is_active="on")),
    R.NO_PUBLIC_URL: Row(arrange=nothing, who="boss", heal=start_machine),
    R.NO_UNSUBSCRIBE_URL: Row(arrange=no_page, who="boss", heal=enter_url),
    R.NO_MESSAGE: Row(arrange=no_message, what="draft", heal=choose_message),
    R.BAD_MESSAGE: Row(arrange=bad_message, what="draft", heal=filled(content=world.CONTENT)),
    R.UNDELIVERABLE: Row(arrange=lose_domain, what="draft", heal=check_again),
    R.NO_RECIPIENTS: Row(arrange=nobody, what="draft", heal=look_who_was_left_out),
    R.NO_TYPE: Row(arrange=unregister, heal=asked("cancel")),
    R.NO_ACCOUNT: Row(arrange=switch_off, heal=tick_massmail("box")),
    R.ONLY_MAIN_ACCOUNT: Row(arrange=main_only, heal=tick_massmail("other")),
    R.ACCOUNT_OFF: Row(arrange=switch_off, what="box", heal=filled(massmail="on")),
    R.ACCOUNT_HELD: Row(arrange=refuse_login, heal=press("release")),
    R.SECRET_LOST: Row(arrange=lose_secret, heal=filled(new_smtp_password="secret")),
    R.NO_HEARTBEAT: Row(arrange=stop_everything, who="boss", heal=start_machine),
    R.NO_SCHEDULE: Row(arrange=switch_task_off, who="boss", heal=switch_task_on),
    R.NO_WORKER: Row(arrange=ring_in_vain, who="boss", heal=start_machine),
    R.CLOSED: Row(arrange=close, who="boss", heal=filled(use_business_time=None)),
    R.QUOTA: Row(arrange=use_quota, heal=filled(emails_per_day=200)),
    R.RAMP: Row(arrange=use_ramp, heal=filled(ramp_start="")),
    R.HOURLY: Row(arrange=use_hour, heal=filled(emails_per_hour="")),
    R.DOMAIN_LIMIT: Row(
        arrange=limit(emails_per_hour_to_domain=1), who="boss", heal=filled(emails_per_hour_to_domain=0)
    ),
    R.RECIPIENT_CAP: Row(arrange=cap_recipients, who="boss", heal=filled(emails_per_recipient=0)),
    R.COMPANY_CAP: Row(arrange=limit(emails_per_company=1), who="boss", heal=filled(emails_per_company=5)),
    R.GUARD_RAIL: Row(arrange=fail_too_often, heal=press("release")),
    R.GAP: Row(arrange=gap),
    R.BACK_OFF: Row(arrange=back_off, heal=filled(smtp_port=2526)),
    R.RETRY: Row(arrange=greylist),
    R.BUSY: Row(arrange=hang, heal=filled(smtp_port=2526)),
}
#: These end by themselves, whether or not somebody follows the link.
BY_TIME = {R.GAP, R.BACK_OFF, R.RETRY}
#: After the remedy Alice's mailing is paused or cancelled, or it was never the one that is held.
SENDS_NO_MORE = {R.ENDED, R.START_AT, R.NO_TYPE}
#: These say that there is no engine.
WITHOUT_ENGINE = {R.NO_HEARTBEAT, R.NO_SCHEDULE, R.NO_WORKER}


def test_every_reason_has_a_row():
    assert set(TABLE) == set(HoldReason)


def link_of(page: str, remedy: str) -> str:
    """Return where the remedy's link leads."""
    found = re.search(rf'<a href="([^"]*)">{re.escape(html.escape(remedy))}</a>', page)
    assert found, f"No link “{remedy}”"
    return html.unescape(found[1])


def sends(scene: Scene, now: dt.datetime) -> bool:
    """Let the engine do what it would; tell whether a mail left."""
    before = len(memory.outbox)
    for account in {*tick(clock=lambda: now), scene.box.pk}:
        run_lane(account, clock=lambda: now)
    return len(memory.outbox) > before


def obeys(scene: Scene, what: str, reason: HoldReason) -> bool:
    """Tell whether the engine lets nothing leave for `reason`."""
    if what == "draft":
        with pytest.raises(LifecycleError) as caught:
            lifecycle.start(scene.fresh("draft"), by=scene.alice, now=NOW)
        return caught.value.reason == reason
    return reason in WITHOUT_ENGINE or not sends(scene, NOW)


@pytest.mark.parametrize("reason", HoldReason)
def test_hold(scene, reason, settings):
    row = TABLE[reason]
    row.arrange(scene)
    if reason is R.NO_PUBLIC_URL:
        settings.MASSMAIL_PUBLIC_URL = ""
    hold = scene.hold(row.what, NOW)
    assert hold is not None
    assert hold.reason == reason
    assert obeys(scene, row.what, reason)

    client, address = scene.client(row.who), url(scene.fresh(row.what), "change")
    page = client.get(address).content.decode()
    assert (hold.detail or str(reason.label)) in html.unescape(page) or reason is R.DRAFT
    if row.what == "mailing":
        on_its_deliveries(scene, client, reason)
    if row.heal is not None:
        to = link_of(page, hold.remedy) if reason is not R.DRAFT else ""
        settings.MASSMAIL_PUBLIC_URL = "https://news.example.com"
        row.heal(scene, client, f"{address}{to}" if to.startswith("#") else to or address)
    if reason is R.BUSY:
        Lane.objects.update(lease_until=None, lease_token="")

    now = LATER if reason in BY_TIME else NOW
    left = scene.hold(row.what, now)
    assert left is None or left.reason != reason or reason is R.ENDED
    assert sends(scene, now) or memory.outbox or reason in SENDS_NO_MORE


def on_its_deliveries(scene: Scene, client: Client, reason: HoldReason) -> None:
    """The list of the mailing's recipients, and the page of one, tell the same reason."""
    deliveries = Delivery.objects.filter(mailing=scene.mailing)
    delivery = deliveries.filter(status="queued").order_by("address").first() or deliveries.first()
    hold = holds.explain(delivery, now=NOW)
    assert hold is not None
    assert hold.reason == reason
    for address in (
        f"{url(Delivery, 'changelist')}?mailing__id__exact={scene.mailing.pk}",
        url(delivery, "change"),
    ):
        page = client.get(address).content.decode()
        assert (hold.detail or str(reason.label)) in html.unescape(page)
        if hold.remedy:
            link_of(page, hold.remedy)


def test_hold__delivery_under_way(scene):
    lane = Lane.objects.create(account=scene.box, lease_token="x", lease_until=NEVER, taken_at=NOW)
    Delivery.objects.filter(pk=scene.mailing.deliveries.first().pk).update(status="sending", sending_at=NOW, lane=lane)
    page = scene.client("alice").get(f"{url(Delivery, 'changelist')}?mailing__id__exact={scene.mailing.pk}")
    assert "A worker is talking to the server about it since today 10:00." in page.content.decode()
