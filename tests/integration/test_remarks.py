"""What is said of a message before it is sent, of its recipients, and what becomes of it when it changes on the way."""

from __future__ import annotations

import json
from email import message_from_bytes, policy
from itertools import count
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.utils.html import escape
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as settings_of
from hypothesis import strategies as st

from example_project.crm.mailing import ContactRecipients
from example_project.crm.models import Contact
from massmail.choices import AuditAction, DeliveryStatus, HoldReason, MailingStatus
from massmail.composing import thaw
from massmail.engine import lifecycle
from massmail.engine.blanks import Blanks
from massmail.engine.record import as_sent
from massmail.engine.standalone import run
from massmail.exceptions import CompositionError, LifecycleError
from massmail.models import (
    Attachment,
    AuditEntry,
    Delivery,
    EmailAccount,
    Image,
    Mailing,
    Message,
    Recipient,
    Signature,
)
from massmail.recipient_types import problems
from massmail.transport import memory
from tests import world
from tests.adminpages import client_of, queries, submit, url
from tests.host.models import Partner, Region

pytestmark = pytest.mark.django_db

LINK = '<a href="{{ unsubscribe_url }}">Unsubscribe</a>'


@pytest.fixture(autouse=True)
def ready() -> Any:
    world.settings()
    memory.clear()
    yield
    memory.clear()


def written(person: Any, body: str = "<p>Dear {{ first_name }}</p>", **fields: Any) -> Message:
    fields = {"subject": "News of spring", "preheader": "What is new", "content": body + LINK} | fields
    return world.message(person, **fields)


def page(person: Any, thing: Any) -> str:
    response = client_of(person).get(url(thing, "change"))
    assert response.status_code == 200
    return response.content.decode()


# On the message's page ------------------------------------------------------------------------------------------------


def facts(person: Any, model: Any = Message, **fields: str) -> list[dict[str, Any]]:
    data = {"subject": "News", "preheader": "What is new", "content": f"<p>Hello</p>{LINK}", "part": "facts"}
    response = client_of(person).post(url(model, "live_add"), data | fields)
    return json.loads(response.content)["remarks"]


def test_live__remarks_with_their_place(alice):
    assert facts(alice) == []
    relative, no_preheader = facts(alice, preheader="", content=f'<p>\n<a href="/prices">Prices</a></p>{LINK}')
    assert (relative["field"], relative["line"], relative["warns"]) == ("content", 2, False)
    assert relative["text"].startswith("Line 2: “/prices” is not a whole address")
    assert (no_preheader["field"], no_preheader["line"], no_preheader["warns"]) == ("preheader", None, True)


def test_live__where_there_is_an_error_no_remark_is_made(alice):
    assert facts(alice, content=f"<p>\n{{{{#each x}}}}</p>{LINK}") == []


def test_live__names_of_the_owners_senders(alice, bob):
    world.account(alice, from_name="P\u0430ypal")
    world.account(bob, from_name="P\u0430ypal")
    world.account(alice, "off", from_name="B\u0430nk", massmail=False)
    (remark,) = facts(alice)
    assert "P\u0430ypal" in remark["text"]


def test_live__signature_only_what_is_its_own(alice):
    (remark,) = facts(alice, model=Signature, type="html", content='<p>Yours</p>\n<a href="/x">Shop</a>')
    assert (remark["field"], remark["line"]) == ("content", 2)
    assert facts(alice, model=Signature, type="plain", content="Yours") == []


def test_page__shows_them_without_scripts(alice):
    found = page(alice, written(alice, '<p>Hello <a href="/prices">Prices</a></p>'))
    assert '<li class="massmail-stops">Line 1: “/prices” is not' in found
    found = page(alice, written(alice, preheader=""))
    assert '<li class="massmail-warns">There is no preheader' in found


def test_saving__is_not_refused_for_a_remark(alice):
    message = written(alice)
    assert submit(client_of(alice), url(message, "change"), content=f'<a href="/x">x</a>{LINK}').status_code == 302
    message.refresh_from_db()
    assert "/x" in message.content


# Before a mailing starts ----------------------------------------------------------------------------------------------


def test_start__errors_stop_it(alice):
    world.account(alice)
    world.contacts(alice)
    mailing = world.mailing(alice, message=written(alice, '<a href="/prices">Prices</a>'))
    (hold,) = lifecycle.obstacles(mailing, now=world.MONDAY)
    assert (hold.reason, hold.about) == (HoldReason.BAD_MESSAGE, mailing.message)
    assert "“/prices” is not a whole address" in hold.detail
    with pytest.raises(LifecycleError, match="/prices"):
        lifecycle.start(mailing, by=alice, now=world.MONDAY)
    assert "“/prices” is not a whole address" in page(alice, mailing)


def test_start__warnings_tell(alice):
    world.account(alice)
    world.contacts(alice)
    mailing = world.mailing(alice, message=written(alice, subject="GREAT NEWS FOR ALL"))
    assert lifecycle.obstacles(mailing, now=world.MONDAY) == []
    found = page(alice, mailing)
    assert "Worth a look before it starts" in found
    assert "The subject is written in capitals" in found
    lifecycle.start(mailing, by=alice, now=world.MONDAY)
    assert "Worth a look" not in page(alice, mailing)


# Recipients without a value -------------------------------------------------------------------------------------------


def blanks(mailing: Mailing) -> list[tuple[str, int, int, bool]]:
    return [(each.name, each.count, each.among, each.is_all) for each in Blanks(mailing).found()]


@pytest.fixture(params=["paths", "sample"])
def way(request: pytest.FixtureRequest, monkeypatch: Any) -> str:
    """By the database, or by asking the host for each."""
    if request.param == "sample":
        monkeypatch.setattr(ContactRecipients, "variable_paths", {})
    return request.param


def test_blanks__are_counted_by_variable(way, alice):
    world.contacts(alice, 3)
    world.contacts(alice, 2, prefix="nameless", first_name="")
    message = written(alice, "<p>{{ first_name }} {{ country }} {{ company }} {{ title|default:'x' }}</p>")
    mailing = world.mailing(alice, message=message)
    assert blanks(mailing) == [("country", 5, 5, True), ("first_name", 2, 5, True)]


def test_blanks__guarded_ones_are_no_matter(way, alice):
    world.contacts(alice, 2, first_name="")
    message = written(alice, "<p>{% if first_name %}Dear {{ first_name }}{% else %}Hello{% endif %}</p>")
    assert blanks(world.mailing(alice, message=message)) == []


def test_blanks__of_the_first_ones_only(way, alice, monkeypatch):
    monkeypatch.setattr("massmail.engine.blanks.MOST", 3)
    monkeypatch.setattr("massmail.engine.blanks.SAMPLE", 3)
    world.contacts(alice, 5, first_name="")
    mailing = world.mailing(alice, message=written(alice))
    assert blanks(mailing) == [("first_name", 3, 3, False)]
    assert "3 of the first 3 recipients are without “First name”" in page(alice, mailing)


def test_blanks__types_without_paths_and_other_keys(alice):
    """The test host's partners have a UUID as their key."""
    region = Region.objects.create(manager=alice)
    Partner.objects.create(region=region, email="uuid@partner.example")
    message = written(alice, "<p>{{ email }}</p>")
    mailing = world.mailing(alice, Partner.objects.all(), message=message)
    assert Blanks(mailing).needed == ["email"]
    assert blanks(mailing) == []


def test_blanks__one_broken_record_of_the_host_is_passed_over(alice, monkeypatch):
    monkeypatch.setattr(ContactRecipients, "variable_paths", {})
    values = ContactRecipients.values

    def broken(self: Any, contact: Any) -> Any:
        if contact.first_name == "First0":
            raise RuntimeError("the host's own")
        return values(self, contact)

    monkeypatch.setattr(ContactRecipients, "values", broken)
    world.contacts(alice, 2)
    world.contacts(alice, 1, prefix="nameless", first_name="")
    assert blanks(world.mailing(alice, message=written(alice))) == [("first_name", 1, 3, True)]


def test_blanks__nothing_to_say_without_message_or_type(alice, settings):
    world.contacts(alice, 1, first_name="")
    mailing = world.mailing(alice, message=written(alice))
    settings.MASSMAIL_RECIPIENT_TYPES = []
    assert Blanks(mailing).found() == []
    assert not Blanks(mailing).rows("first_name").exists()
    assert Blanks(Mailing(content_type=mailing.content_type)).needed == []


def test_blanks__shown_with_their_list(way, alice):
    world.account(alice)
    world.contacts(alice, 3)
    world.contacts(alice, 2, prefix="nameless", first_name="")
    mailing = world.mailing(alice, message=written(alice))
    found = page(alice, mailing)
    address = f"{url(Delivery, 'changelist')}?mailing__id__exact={mailing.pk}&amp;lacking=first_name"
    assert "2 recipients without “First name”" in found
    assert f'<a href="{address}">Show them</a>' in found
    rows = client_of(alice).get(address.replace("&amp;", "&")).context["cl"].result_list
    assert {row.address for row in rows} == {"nameless0@alice.example", "nameless1@alice.example"}
    every = client_of(alice).get(address.replace("&amp;", "&").replace("first_name", "last_name"))
    assert len(every.context["cl"].result_list) == 5  # not needed, so not a filter


def test_page_of_a_draft__number_of_queries_is_constant(way, alice):
    world.account(alice)
    world.contacts(alice, 1, first_name="")
    mailing = world.mailing(alice, message=written(alice))
    world.contacts(alice, 40, prefix="more", first_name="")
    other = world.mailing(alice, message=written(alice))
    client = client_of(alice)
    client.get(url(mailing, "change"))
    assert queries(client, url(mailing, "change")) == queries(client, url(other, "change"))


def test_variable_paths__are_checked(monkeypatch):
    assert problems(ContactRecipients()) == []
    monkeypatch.setattr(ContactRecipients, "variable_paths", {"nickname": "first_name", "company": "company__nothing"})
    first, second = problems(ContactRecipients())
    assert "'nickname' is not among the variables" in first
    assert "'company__nothing' is not a lookup path" in second


# A message that changes under way -------------------------------------------------------------------------------------


@pytest.fixture
def under_way(alice: Any) -> Mailing:
    world.account(alice)
    world.contacts(alice, 2)
    return world.started(alice, message=written(alice))


def edit(mailing: Mailing, body: str = "<p>Better news, {{ first_name }}</p>") -> Message:
    message = mailing.message
    assert message
    message.content = body + LINK
    message.save()
    return message


def test_new_version__for_those_not_served_yet(alice, under_way):
    old = under_way.version
    tried, fresh = under_way.deliveries.order_by("pk")
    Delivery.objects.filter(pk=tried.pk).update(version=old)
    edit(under_way)
    lifecycle.take_new_version(under_way, by=alice)
    under_way.refresh_from_db()
    assert under_way.status == MailingStatus.PAUSED
    assert under_way.version != old
    assert "Better news" in thaw(under_way.version).text
    lifecycle.resume(under_way, by=alice)
    run(clock=world.clock(), until_idle=True)
    assert b"Better news" not in sent_to(tried)
    assert b"Better news" in sent_to(fresh)
    assert AuditEntry.objects.filter(mailing=under_way, by=alice, action=AuditAction.NEW_VERSION).exists()


def test_new_version__reaches_what_was_read_ahead(alice, under_way, monkeypatch):
    """Fifty candidates are read at a time; they must not get the old version after the new one was taken."""
    world.contacts(alice, 5, prefix="later")
    mailing = world.started(alice, Contact.objects.filter(email__startswith="later"), message=under_way.message)
    lifecycle.cancel(under_way, by=alice)
    deliver = memory.MemoryConnection.deliver

    def deliver_and_change(self: Any, **letter: Any) -> Any:
        if len(memory.outbox) == 2:
            edit(mailing)
            lifecycle.take_new_version(mailing, by=alice)
            lifecycle.resume(mailing, by=alice)
        return deliver(self, **letter)

    monkeypatch.setattr(memory.MemoryConnection, "deliver", deliver_and_change)
    run(clock=world.clock(), until_idle=True)
    assert [b"Better news" in letter.data for letter in memory.outbox] == [False] * 3 + [True] * 2
    assert not mailing.deliveries.exclude(status=DeliveryStatus.SENT).exists()
    assert mailing.deliveries.filter(version=mailing.version).count() == 2


def test_new_version__refused(alice, bob, under_way):
    with pytest.raises(LifecycleError, match="has not changed"):
        lifecycle.take_new_version(under_way, by=alice)
    edit(under_way)
    with pytest.raises(LifecycleError, match="Only its owner"):
        lifecycle.take_new_version(under_way, by=bob)
    edit(under_way, '<a href="/prices">Prices</a>')
    with pytest.raises(LifecycleError, match="/prices"):
        lifecycle.take_new_version(under_way, by=alice)
    edit(under_way, "{{ nickname }}")
    with pytest.raises(LifecycleError, match="nickname"):
        lifecycle.take_new_version(under_way, by=alice)
    under_way.refresh_from_db()
    assert under_way.status == MailingStatus.ACTIVE
    lifecycle.cancel(under_way, by=alice)
    with pytest.raises(LifecycleError, match="cancelled"):
        lifecycle.take_new_version(under_way, by=alice)


def test_new_version__of_a_paused_mailing_clears_nothing(alice, under_way):
    lifecycle.pause(under_way, by=alice, reason="Refused by policy")
    edit(under_way)
    lifecycle.take_new_version(under_way, by=alice)
    under_way.refresh_from_db()
    assert (under_way.status, under_way.pause_reason) == (MailingStatus.PAUSED, "Refused by policy")


def test_new_version__asked_for_after_saving_the_message(alice, under_way):
    other = world.mailing(alice, message=under_way.message)
    client = client_of(alice)
    assert "Take the new version" not in page(alice, under_way)
    response = submit(client, url(under_way.message, "change"), content=f"<p>Better</p>{LINK}")
    told = client.get(response.headers["Location"]).content.decode()
    assert "1 mailing under way goes on with the version it was started with" in told
    assert f'<a href="{url(under_way, "change")}">' in told
    assert f'<a href="{url(other, "change")}">{other}</a>:' not in told
    assert "Take the new version" in page(alice, under_way)
    address = url(under_way, "new-version")
    asked = client.get(address).content.decode()
    assert "<strong>2 recipients</strong> who were not served yet get the new version." in asked
    client.post(address)
    under_way.refresh_from_db()
    assert under_way.status == MailingStatus.PAUSED
    assert "Take the new version" not in page(alice, under_way)


def test_saving__without_a_change_or_mailings_says_nothing(alice, under_way):
    client = client_of(alice)
    response = submit(client, url(under_way.message, "change"))
    assert "under way" not in client.get(response.headers["Location"]).content.decode()


def test_new_version__who_may(alice, bob, carol, boss, under_way):
    edit(under_way)
    address = url(under_way, "new-version")
    found = [client_of(person).post(address).status_code for person in (bob, carol)]
    assert found == [404, 403]
    assert client_of(boss).post(address).status_code == 302
    under_way.refresh_from_db()
    assert under_way.status == MailingStatus.PAUSED


# What was sent --------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(under_way: Mailing) -> Delivery:
    run(clock=world.clock(), until_idle=True)
    return under_way.deliveries.order_by("pk")[0]


def sent_to(delivery: Delivery) -> bytes:
    (data,) = [each.data for each in memory.outbox if each.to.lower() == delivery.address]
    return data


def without_date(data: bytes) -> bytes:
    return b"\n".join(line for line in data.split(b"\n") if not line.startswith(b"Date:"))


def test_as_sent__is_what_was_sent_byte_for_byte(served):
    edit(served.mailing)
    Contact.objects.filter(email=served.address).update(first_name="Renamed")
    made = as_sent(served).data
    assert without_date(made) == without_date(sent_to(served))
    date = message_from_bytes(made, policy=policy.default)["Date"].datetime
    assert abs((date - served.sending_at).total_seconds()) < 1


numbers = count()
ANYTHING = st.text(st.characters(exclude_categories=["Cc", "Cn", "Co", "Cs"]), max_size=40)


@settings_of(
    max_examples=8,
    phases=[Phase.generate],
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(name=ANYTHING, words=ANYTHING.filter(str.strip), file=st.binary(max_size=200), replaced=st.booleans())
def test_as_sent__with_files_that_are_replaced_or_deleted_since(django_user_model, name, words, file, replaced):
    """Whatever stood in the recipient's record, the message, a picture and an attachment, all of them changed later."""
    number = next(numbers)
    owner = django_user_model.objects.create(username=f"ann{number}", email=f"ann{number}@acme.example")
    world.account(owner, f"box{number}")
    (person,) = world.contacts(owner, 1, prefix=f"reader{number}", first_name=name.replace("\0", "")[:30])
    picture = Image(owner=owner, name="logo.png", mime_type="image/png", width=1, height=1)
    picture.file.save("logo.png", ContentFile(file))
    text = f"<p>{escape(words)}</p>".translate({ord(brace): None for brace in "{}%#"} | dict.fromkeys(range(32)))
    message = written(owner, f"<p>{{{{ first_name }}}}</p>{text}<img src=\"{{% cid_media 'logo.png' %}}\" alt=''>")
    attachment = Attachment(message=message, name="Preise März.pdf", mime_type="application/pdf")
    attachment.file.save("prices.pdf", ContentFile(file + b"!"))
    mailing = lifecycle.start(world.mailing(owner, message=message), by=owner)
    memory.clear()
    run(clock=world.clock(), until_idle=True)
    delivery = Delivery.objects.get(mailing=mailing)
    assert delivery.status == DeliveryStatus.SENT
    for stored in (picture.file, attachment.file):
        path = stored.name
        stored.storage.delete(path)
        if replaced:
            stored.storage.save(path, ContentFile(b"something else"))
    Image.objects.all().delete()
    Attachment.objects.all().delete()
    Contact.objects.filter(pk=person.pk).update(first_name="Other")
    Message.objects.update(content=LINK, subject="Other")
    assert without_date(as_sent(delivery).data) == without_date(memory.outbox[-1].data)


def test_start__stopped_by_what_the_template_left_open_and_by_the_servers_limit(alice):
    account = world.account(alice)
    world.contacts(alice, 1)
    mailing = world.mailing(alice, message=written(alice, "<p>Greetings from [your company]</p>"))
    with pytest.raises(LifecycleError, match="your company"):
        lifecycle.start(mailing, by=alice)
    Message.objects.update(content=f"<p>{'words ' * 100}</p>{LINK}")
    EmailAccount.objects.update(size_limit=500)
    mailing = Mailing.objects.get()
    with pytest.raises(LifecycleError, match=rf"“{account.name}” takes 0\.0 MB"):
        lifecycle.start(mailing, by=alice)
    EmailAccount.objects.update(size_limit=50_000)
    assert lifecycle.start(Mailing.objects.get(), by=alice).status == MailingStatus.ACTIVE


def test_as_sent__links_do_nothing_where_the_recipient_is_gone(served):
    token = Recipient.objects.get(object_id=served.object_id).token
    assert token.encode() in as_sent(served).data
    Recipient.objects.all().delete()
    Contact.objects.all().delete()
    served = Delivery.objects.get(pk=served.pk)
    made = as_sent(served).data
    assert token.encode() not in made
    assert b"First0" in made


def test_as_sent__what_is_not_on_record(served):
    Delivery.objects.filter(pk=served.pk).update(account=None)
    with pytest.raises(CompositionError, match="was deleted"):
        as_sent(Delivery.objects.get(pk=served.pk))
    for fields in ({"values": None}, {"version": None}, {"message_id": ""}, {"status": DeliveryStatus.QUEUED}):
        delivery = Delivery.objects.get(pk=served.pk)
        for name, value in fields.items():
            setattr(delivery, name, value)
        with pytest.raises(CompositionError, match="not on record"):
            as_sent(delivery)


def test_source__shown_and_downloaded(alice, served):
    found = page(alice, served)
    address = url(served, "source")
    assert f'href="{address}"' in found
    shown = client_of(alice).get(address)
    assert shown.headers["Content-Type"].startswith("text/plain")
    assert shown.headers["Content-Security-Policy"].startswith("sandbox")
    assert without_date(shown.content) == without_date(sent_to(served))
    file = client_of(alice).get(address, {"as": "file"})
    assert file.headers["Content-Type"] == "message/rfc822"
    assert file.headers["Content-Disposition"] == f'attachment; filename="mail-{served.pk}.eml"'
    assert file.content == shown.content


def test_source__who_may(alice, bob, carol, boss, served):
    found = [client_of(person).get(url(served, "source")).status_code for person in (alice, bob, carol, boss)]
    assert found == [200, 404, 200, 200]
    Delivery.objects.filter(pk=served.pk).update(account=None)
    assert "was deleted" in client_of(alice).get(url(served, "source")).content.decode()


def test_source__not_offered_before_it_was_sent(alice, under_way):
    delivery = under_way.deliveries.first()
    assert url(delivery, "source") not in page(alice, delivery)
    assert "not on record" in client_of(alice).get(url(delivery, "source")).content.decode()
