"""One of everything that belongs to Alice: what the tests of who may do what open, press and post."""

from __future__ import annotations

import io
from typing import Any

from django.apps import apps
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image as Picture

from example_project.crm.models import Contact
from massmail.choices import Failure, MailingStatus
from massmail.deliverability.findings import finding
from massmail.engine import lanes, lifecycle
from massmail.engine.checkup.checking import stored
from massmail.engine.checkup.standing import subject_of
from massmail.models import Checkup, Image, Mailing, Message, Signature, Suppression, Tally
from massmail.outcomes import hold_account, suppress
from tests import world


def picture() -> bytes:
    out = io.BytesIO()
    Picture.new("RGB", (60, 40), "navy").save(out, "PNG")
    return out.getvalue()


def pdf() -> SimpleUploadedFile:
    return SimpleUploadedFile("prices.pdf", b"%PDF-1.4\n%%EOF", "application/pdf")


def laid_out(alice: Any, bob: Any) -> dict[str, Any]:
    """Return Alice's things by name, in every state that some page or button is for. One contact is Bob's."""
    settings = world.settings()
    contacts = world.contacts(alice, 3)
    world.contacts(bob, 1)
    signature = Signature.objects.create(owner=alice, name="Short", content="<p>Alice</p>", default=True)
    message = world.message(alice, signature=signature)
    account = world.account(alice, "main", main=True)
    office = world.account(alice, "office")
    everybody = Contact.objects.all()
    mailings = {
        "mailing": world.mailing(alice, everybody, message=message),
        "active": world.started(alice, message=message),
        "edited": world.started(alice, message=world.message(alice, subject="Before")),
        "paused": lifecycle.pause(world.started(alice, message=message), by=alice),
        "done": world.started(alice, message=message),
        "cancelled": lifecycle.cancel(world.started(alice, message=message), by=alice),
    }
    Message.objects.filter(pk=mailings["edited"].message_id).update(subject="After")
    _finish(mailings["done"])
    hold_account(account, "Password refused")
    image = Image.objects.create(
        owner=alice, name="logo.png", mime_type="image/png", width=60, height=40, thumbnail=picture()
    )
    image.file.save("logo.png", ContentFile(picture()))
    lanes.set_vip(Contact.objects.filter(pk=contacts[1].pk), vip=True, by=alice)
    suppress(contacts[2].email, "bounced", source="550 5.1.1 unknown")
    return {
        **mailings,
        "message": message,
        "unused": world.message(alice, subject="Not sent yet"),
        "signature": signature,
        "image": image,
        "account": account,
        "settings": settings,
        "office": office,
        "connected": world.account(alice, "cloud", massmail=False, oauth_provider="acme", oauth_refresh_token="r"),
        "read": world.account(alice, "read", massmail=False, imap_host="127.0.0.1"),
        "red": _red(world.account(alice, "red", massmail=False)),
        "delivery": mailings["mailing"].deliveries.first(),
        "unknown": mailings["done"].deliveries.get(status="unknown"),
        "left_out": mailings["mailing"].left_out.first(),
        "contact": contacts[0],
        "planned": mailings["active"].deliveries.get(object_id=contacts[0].pk),
        "vip": contacts[1],
        "bounced": contacts[2],
        "suppression": Suppression.objects.get(),
        "company": world.company(alice, email="info@acme.example"),
        "lead": world.lead(alice),
    }


def state() -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of the database but for what a login changes: sessions and users."""
    models = [model for model in apps.get_models() if model._meta.managed and model not in (Session, User)]
    return {model._meta.label: sorted(model._default_manager.values_list(), key=repr) for model in models}


def _red(account: Any) -> Any:
    """Note that the domain of `account` does not exist."""
    findings = stored([finding("mx.no_domain", domain=account.domain)])
    Checkup.objects.create(account=account, subject=subject_of(account), checked_at=world.MONDAY, findings=findings)
    return account


def _finish(mailing: Mailing) -> None:
    """End `mailing` with one recipient failed, one of whom nobody knows, and one sent to."""
    ends = {"failed": Failure.BAD_ADDRESS, "unknown": Failure.INTERRUPTED, "sent": ""}
    for delivery, (status, reason) in zip(mailing.deliveries.order_by("pk"), ends.items(), strict=True):
        mailing.deliveries.filter(pk=delivery.pk).update(
            status=status, reason=reason, sending_at=world.MONDAY, sent_at=world.MONDAY if status == "sent" else None
        )
    Tally.objects.create(mailing=mailing, day=world.TODAY, sent=1, failed=1, unknown=1)
    Mailing.objects.filter(pk=mailing.pk).update(status=MailingStatus.DONE, ended_at=world.MONDAY)
