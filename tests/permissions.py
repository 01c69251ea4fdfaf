"""The permission matrix: what every address and every action of the admin answers, to every kind of person.

`tests/integration/test_admin_permissions.py` compares these tables with the admin itself: something new needs a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from tests import desk as desks
from tests import world
from tests.adminpages import client_of, filled_in, url

#: Who stands in the columns of the tables. Alice owns everything, Bob is another manager, Carol a chief who may look at
#: everything, the clerk is staff without any right, the boss a superuser. Nobody is let in without logging in.
PEOPLE = ("alice", "bob", "carol", "clerk", "boss")

Things = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What an address answers to `PEOPLE`.

    `get`: the status. `post`: "done" if the database was written, else the status; "" if a POST is answered as a GET.
    `thing` of the desk stands in the address, with `args`, and `query` behind it; `data` is posted.
    """

    get: str
    post: str = ""
    thing: str = ""
    args: tuple[str, ...] = ()
    query: Callable[[Things], str] = field(default=lambda desk: "")
    data: Callable[[Things], dict[str, Any]] = field(default=lambda desk: {})

    def address(self, name: str, desk: Things) -> str:
        keys = (desk[self.thing].pk,) if self.thing else ()
        return reverse(f"admin:{name}", args=(*keys, *self.args)) + self.query(desk)


#: Pages of an object to look at, and to change; lists; what only buttons lead to, and what those do.
LOOK = "200 404 200 404 200"
CHANGE = "200 404 403 404 200"
LIST = "200 200 200 403 200"
BUTTON = "405 405 405 405 405"
DEED = "done 404 403 404 done"
NEVER = "403 404 403 404 403"


def form(thing: str, **changes: Any) -> Callable[[Things], dict[str, Any]]:
    """Post the form of a thing as its owner's browser would, with `changes`."""
    return lambda desk: filled_in(client_of(desk["owner"]), url(desk[thing], "change")) | changes


def ids(*things: str) -> Callable[[Things], str]:
    return lambda desk: "?" + "&".join(f"id={desk[thing].pk}" for thing in things)


def of_mailing(desk: Things) -> str:
    return f"?mailing__id__exact={desk['mailing'].pk}"


def deleted(thing: str, post: str = DEED, get: str = CHANGE) -> Row:
    return Row(get=get, post=post, thing=thing, data=lambda desk: {"post": "yes"})


def button(thing: str, post: str = DEED, **data: Any) -> Row:
    return Row(get=BUTTON, post=post, thing=thing, data=lambda desk: data)


def upload(desk: Things) -> dict[str, Any]:
    return {"name": "new.png", "upload": SimpleUploadedFile("new.png", desks.picture(), "image/png")}


def trial(desk: Things) -> dict[str, Any]:
    return {"account": desk["office"].pk, "address": desk["office"].from_email}


MAILINGS = {
    "changelist": Row(get=LIST),
    "add": Row(get="302 302 302 403 302"),  # leads to "create"
    "change": Row(get=LOOK, post=DEED, thing="mailing", data=form("mailing", name="Taken over")),
    "history": Row(get=LOOK, thing="mailing"),
    "delete": deleted("mailing"),
    "preview": Row(get=LOOK, thing="mailing"),
    "recipients": Row(get=LOOK, thing="mailing", query=lambda desk: "?q=person"),
    "progress": Row(get=LIST, query=ids("mailing")),
    "create": Row(
        get=LIST,
        post="done done 200 403 done",  # Carol has no recipients of her own
        data=lambda desk: {"type": "crm.contact", "owner": desk["owner"].pk, "_create": "1"},
    ),
    "create_count": Row(get=BUTTON, post=LIST, data=lambda desk: {"type": "crm.contact"}),
    "create_options": Row(get=LIST, query=lambda desk: "?type=crm.contact&filter=country"),
    "merge": Row(
        get="200 302 403 403 200",
        post="done 302 403 403 done",
        query=ids("mailing", "active"),
        data=lambda desk: {"mailings": [desk["mailing"].pk, desk["active"].pk], "name": "Merged"},
    ),
    "copies": Row(
        get="200 302 403 403 200",
        post="done 302 403 403 done",
        query=ids("mailing", "active"),
        data=lambda desk: {"after": desk["done"].pk},
    ),
    "start": button("mailing"),
    "pause": button("active"),
    "resume": button("paused"),
    "cancel": Row(get=CHANGE, post=DEED, thing="mailing"),
    "retry": button("done"),
    "missing": button("cancelled"),
    "duplicate": button("mailing"),
    "schedule": Row(
        get=CHANGE,
        post=DEED,
        thing="paused",
        data=lambda desk: {"start_at_0": "2027-03-01", "start_at_1": "09:00"},
    ),
    "new-version": Row(get=CHANGE, post=DEED, thing="edited"),
    "exclude": Row(get=CHANGE, post=DEED, thing="mailing", data=lambda desk: {"message": desk["message"].pk}),
    "test": Row(get=BUTTON, post="done 404 403 404 302", thing="mailing", data=trial),
}
EDITOR = {"live_add": Row(get=BUTTON, post=LIST), "recipients_add": Row(get=LIST)}


def editor(thing: str) -> dict[str, Row]:
    """Return the rows of the pages that messages and signatures have in common."""
    return EDITOR | {
        "changelist": Row(get=LIST),
        "history": Row(get=LOOK, thing=thing),
        "delete": deleted("unused" if thing == "message" else thing),
        "live": Row(get=BUTTON, post=CHANGE, thing=thing),
        "recipients": Row(get=LOOK, thing=thing, query=lambda desk: "?q=person"),
        "preview": Row(get=LOOK, thing=thing),
    }


NO_FILES = {"attachments-TOTAL_FORMS": "0", "attachments-INITIAL_FORMS": "0"}
MESSAGES = editor("message") | {
    "add": Row(
        get=LIST,
        post="done done done 403 done",
        data=lambda desk: {"subject": "New", "content": world.CONTENT, "owner": desk["owner"].pk} | NO_FILES,
    ),
    "change": Row(get=LOOK, post=DEED, thing="message", data=form("message", subject="Taken over")),
    "copy": button("message", "done 404 done 404 done"),
    "test": Row(get=BUTTON, post="done 404 403 404 302", thing="message", data=trial),
}
SIGNATURES = editor("signature") | {
    "add": Row(
        get=LIST,
        post="done done done 403 done",
        data=lambda desk: {"name": "New", "type": "html", "content": "x", "owner": desk["owner"].pk},
    ),
    "change": Row(get=LOOK, post=DEED, thing="signature", data=form("signature", name="Taken over")),
}
IMAGES = {
    "changelist": Row(get=LIST),
    "add": Row(get=LIST, post="done done done 403 done", data=upload),
    "upload": Row(get=BUTTON, post="done done done 403 done", data=upload),
    "change": Row(get=LOOK, post=DEED, thing="image", data=upload),
    "history": Row(get=LOOK, thing="image"),
    "delete": deleted("image"),
    "thumbnail": Row(get=LOOK, thing="image"),
    "file": Row(get=LOOK, thing="image"),
}
ACCOUNTS = {
    "changelist": Row(get=LIST),
    "add": Row(
        get=LIST,
        post="done done done 403 done",
        data=lambda desk: form("office", name="New", from_email="new@acme.example")(desk) | {"owner": desk["owner"].pk},
    ),
    "change": Row(get=LOOK, post=DEED, thing="office", data=form("office", smtp_host="mail.evil.example")),
    "history": Row(get=LOOK, thing="account"),
    "delete": deleted("office", "403 404 403 404 done", "403 404 403 404 200"),
    "release": button("account"),
    "copy": Row(get=CHANGE, post=DEED, thing="office", data=lambda desk: {"name": "Copy", "owner": desk["owner"].pk}),
    "deliverability": Row(get=LOOK, thing="office"),
    "deliverability_check": button("office"),
    "deliverability_mail": button("read", "done 404 403 404 302"),  # a boss has accounts of their own for that
    "deliverability_allow": button("red", "403 404 403 404 done"),
    "connect": Row(get=BUTTON, post="302 404 403 404 302", thing="office", args=("acme",)),
    "disconnect": button("connected"),
    "oauth_back": Row(get="400 400 400 400 400"),
    "fill": Row(get=BUTTON, post="302 302 302 403 302", data=lambda desk: {"from_email": "ann@gmail.com"}),
    "test_new": Row(get=BUTTON, post="200 200 200 403 200", data=lambda desk: {"name": "Not filled in"}),
    "test": Row(get=BUTTON, post=CHANGE, thing="office", data=lambda desk: {"name": "Not filled in"}),
}
DELIVERIES = {
    "changelist": Row(get=LIST),
    "export": Row(get="200 404 200 403 200", query=of_mailing),
    "add": Row(get="403 403 403 403 403"),
    "change": Row(get=LOOK, post=NEVER, thing="delivery", data=lambda desk: {"status": "sent"}),
    "history": Row(get=LOOK, thing="delivery"),
    "delete": deleted("delivery", NEVER, NEVER),
    "preview": Row(get=LOOK, thing="delivery"),
    "source": Row(get=LOOK, thing="delivery"),
}
LEFT_OUTS = {
    "changelist": Row(get=LIST),
    "export": Row(get="200 404 200 403 200", query=of_mailing),
    "add": Row(get="403 403 403 403 403"),
    "change": Row(get=LOOK, post=NEVER, thing="left_out", data=lambda desk: {"reason": ""}),
    "history": Row(get=LOOK, thing="left_out"),
    "delete": deleted("left_out", NEVER, NEVER),
}
BOSS = "403 403 403 403 200"


def unwanted(desk: Things) -> dict[str, Any]:
    return {"address": "no@more.example", "reason": "manual", "source": ""}


SUPPRESSIONS = {
    "changelist": Row(get=BOSS),
    "add": Row(get=BOSS, post="403 403 403 403 done", data=unwanted),
    "change": Row(get=BOSS, post="403 403 403 403 403", thing="suppression"),
    "history": Row(get=BOSS, thing="suppression"),
    "delete": Row(get="403 403 403 403 403", post="403 403 403 403 403", thing="suppression"),
    "export": Row(get=BOSS),
    "import": Row(get=BOSS, data=lambda desk: {"text": "one@more.example"}),
    "lift": Row(get=BOSS, post="403 403 403 403 done", thing="suppression", data=lambda desk: {"why": "Asked for it"}),
}
SETTINGS = {
    "changelist": Row(get="403 403 403 403 302"),
    "add": Row(get="403 403 403 403 403"),
    "change": Row(
        get=BOSS,
        post="403 403 403 403 done",
        thing="settings",
        data=lambda desk: filled_in(client_of(desk["boss"]), url(desk["settings"], "change")) | {"emails_per_day": 5},
    ),
    "history": Row(get=BOSS, thing="settings"),
    "delete": Row(get="403 403 403 403 403", thing="settings"),
}
#: The host decides who sees its objects; here all managers see all. The panel is for owners, and for chiefs to look at.
HOST = "200 200 200 403 200"


#: Whoever may not see the panel is not told by a 405 that it is there.
PANEL_BUTTON = "405 404 403 404 405"


def panel_button(thing: str, post: str = DEED, **data: Any) -> Row:
    return Row(get=PANEL_BUTTON, post=post, thing=thing, data=lambda desk: data)


def host(thing: str) -> dict[str, Row]:
    """Return the rows of a host model. Of the contact's page there is a planned delivery to skip."""
    why = {"why": "Called on 3 May"}
    return {
        "changelist": Row(get=HOST),
        "add": Row(get=HOST),
        "change": Row(get=HOST, thing=thing),
        "history": Row(get=HOST, thing=thing),
        "delete": Row(get="403 403 403 403 200", thing=thing),
        "massmail": Row(get=LOOK, thing=thing),
        "massmail_skip": panel_button(thing, "404 404 403 404 404", delivery="x"),
        "massmail_vip": panel_button(thing),
        "massmail_unvip": panel_button(thing, "302 404 403 404 302"),
        "massmail_unsubscribe": panel_button(thing),
        "massmail_subscribe": Row(get=CHANGE, post=DEED, thing=thing, data=lambda desk: why),
        "massmail_lift": Row(get="403 404 403 404 200", post="403 404 403 404 302", thing=thing, data=lambda desk: why),
    }


ROWS = {
    "massmail_mailing": MAILINGS,
    "massmail_message": MESSAGES,
    "massmail_signature": SIGNATURES,
    "massmail_image": IMAGES,
    "massmail_emailaccount": ACCOUNTS,
    "massmail_delivery": DELIVERIES,
    "massmail_leftout": LEFT_OUTS,
    "massmail_suppression": SUPPRESSIONS,
    "massmail_settings_massmailsettings": SETTINGS,
    "crm_contact": host("contact")
    | {
        "massmail_skip": Row(
            get=PANEL_BUTTON, post=DEED, thing="contact", data=lambda desk: {"delivery": desk["planned"].pk}
        ),
        "massmail_unvip": panel_button("vip"),
        "massmail_lift": Row(
            get="403 404 403 404 200", post="403 404 403 404 done", thing="bounced", data=lambda desk: {"why": "x"}
        ),
    },
    "crm_company": host("company"),
    "crm_lead": host("lead"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What choosing an action for `things` comes to: "done" if the database was written, else the status."""

    things: tuple[str, ...]
    post: str
    query: str = ""
    data: tuple[str, ...] = ()


def deleting(*things: str, post: str = "done 302 200 403 done") -> Act:
    return Act(things=things, post=post, data=("post",))


#: Colleagues' objects are not in a manager's list (302: back to it), a chief has no such action in the menu (200: the
#: list again). The host's lists show everybody's customers: there the rules of mailings and VIPs say no.
HOST_ACTIONS = {
    "massmail_create_mailing": Act(things=("contact",), post="done 302 302 403 done"),
    "massmail_mark_vip": Act(things=("contact",), post="done 302 302 403 done"),
    "massmail_unmark_vip": Act(things=("vip",), post="done 302 302 403 done"),
    "delete_selected": deleting("contact", post="302 302 302 403 done"),
}


def of_host(thing: str) -> dict[str, Act]:
    """Return the actions of the contacts' list for another host model, of which nobody is VIP."""
    found = {name: replace(each, things=(thing,)) for name, each in HOST_ACTIONS.items()}
    return found | {"massmail_unmark_vip": Act(things=(thing,), post="302 302 302 403 302")}


ACTIONS = {
    "massmail_mailing": {
        "delete_selected": deleting("mailing"),
        "pause_mailings": Act(things=("active",), post="done 302 200 403 done"),
        "resume_mailings": Act(things=("paused",), post="done 302 200 403 done"),
        "copy_mailings": Act(things=("mailing",), post="302 302 200 403 302"),
        "merge_mailings": Act(things=("mailing", "active"), post="302 302 200 403 302"),
    },
    "massmail_message": {"delete_selected": deleting("unused")},
    "massmail_signature": {"delete_selected": deleting("signature")},
    "massmail_image": {"delete_selected": deleting("image")},
    "massmail_emailaccount": {"delete_selected": deleting("office", post="200 200 200 403 done")},
    "massmail_delivery": {
        "treat_as_sent": Act(things=("unknown",), query="?status__exact=unknown", post="done 302 200 403 done"),
        "send_again": Act(
            things=("unknown",), query="?status__exact=unknown", post="done 302 200 403 done", data=("confirmed",)
        ),
    },
    "massmail_suppression": {"lift_selected": Act(things=("suppression",), post="403 403 403 403 200")},
    "crm_contact": HOST_ACTIONS,
    "crm_company": of_host("company"),
    "crm_lead": of_host("lead"),
}


def chosen(model: str, name: str, desk: Things) -> tuple[str, dict[str, Any]]:
    """Return the address of a list, and what its action menu posts for the things of the table."""
    act = ACTIONS[model][name]
    keys = [desk[thing].pk for thing in act.things]
    data = {"action": name, "_selected_action": keys} | dict.fromkeys(act.data, "yes")
    return reverse(f"admin:{model}_changelist") + act.query, data


def posts(desk: Things) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield every POST of the tables: what it is called, its address, what is posted."""
    for model, rows in ROWS.items():
        for page, row in rows.items():
            yield f"{model}_{page}", row.address(f"{model}_{page}", desk), row.data(desk)
    for model, actions in ACTIONS.items():
        for name in actions:
            yield f"{model}: {name}", *chosen(model, name, desk)
