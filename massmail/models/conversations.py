"""Correspondence that is kept with the host's requests and deals. Written only by `massmail.inbound.conversations`."""

from __future__ import annotations

import secrets

from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.utils.translation import gettext_lazy as _

from massmail.choices import DeliveryStatus, Direction, InboundKind
from massmail.models.accounts import EmailAccount
from massmail.models.inbound import InboundMessage
from massmail.models.mailings import Delivery


class Conversation(models.Model):
    """Mail that belongs together, known by its ticket; `about` is the host's request, or the deal that came of it."""

    ticket = models.CharField(_("ticket"), max_length=32, unique=True)
    account = models.ForeignKey(
        EmailAccount, models.SET_NULL, null=True, related_name="+", verbose_name=_("email account")
    )
    content_type = models.ForeignKey(ContentType, models.CASCADE, related_name="+", verbose_name=_("type"))
    object_id = models.CharField(_("object id"), max_length=64, help_text=_("The object's key as text."))
    about = GenericForeignKey("content_type", "object_id")
    created = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        indexes = [models.Index(fields=["content_type", "object_id"], name="massmail_conversation_about")]

    def __str__(self) -> str:
        return self.ticket


class Correspondence(models.Model):
    """One mail of a conversation: what somebody wrote as text, never as HTML.

    `status` and `reply` (the server's words) are those of an answer that was written here. Of a mail that came in
    `unfetched` says that it was too long to be read at once, `cut` that not all of its files are kept.
    """

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="mails", verbose_name=_("conversation"))
    account = models.ForeignKey(
        EmailAccount, models.SET_NULL, null=True, related_name="+", verbose_name=_("email account")
    )
    inbound = models.ForeignKey(
        InboundMessage, models.SET_NULL, null=True, related_name="+", verbose_name=_("inbound message")
    )
    delivery = models.ForeignKey(Delivery, models.SET_NULL, null=True, related_name="+", verbose_name=_("answers"))
    direction = models.CharField(_("direction"), max_length=3, choices=Direction.choices)
    kind = models.CharField(_("kind"), max_length=20, choices=InboundKind.choices, blank=True)
    status = models.CharField(_("status"), max_length=10, choices=DeliveryStatus.choices, blank=True)
    reply = models.TextField(_("the server's words"), blank=True)
    identity = models.CharField(_("identity"), max_length=64, help_text=_("The same for every copy of the mail."))
    message_id = models.CharField(_("Message-ID"), max_length=250, blank=True)
    from_address = models.CharField(_("from"), max_length=320, blank=True)
    from_name = models.CharField(_("name of the sender"), max_length=200, blank=True)
    reply_to = models.CharField(_("reply to"), max_length=320, blank=True)
    to = models.TextField(_("to"), blank=True)
    subject = models.TextField(_("subject"), blank=True)
    text = models.TextField(_("text"), blank=True)
    quoting = models.TextField(_("text with what it quotes"), blank=True)
    at = models.DateTimeField(_("at"))
    unfetched = models.BooleanField(_("to be fetched in full"), default=False)
    cut = models.BooleanField(_("too large to be kept in full"), default=False)

    class Meta:
        verbose_name = _("correspondence")
        verbose_name_plural = _("correspondence")
        ordering = ["at", "id"]
        constraints = [models.UniqueConstraint(fields=["conversation", "identity"], name="massmail_one_row_per_letter")]
        indexes = [
            models.Index(fields=["message_id"], name="massmail_letter_message_id"),
            models.Index(fields=["identity"], name="massmail_letter_identity"),
            models.Index(fields=["account"], condition=models.Q(unfetched=True), name="massmail_letter_unfetched"),
        ]

    def __str__(self) -> str:
        return f"{self.from_address}: {self.subject}"

    @property
    def answers_go_to(self) -> str:
        return self.reply_to or self.from_address


def file_path(file: CorrespondenceFile, filename: str) -> str:
    """Return a path nobody can guess. Without an ending, no web server takes the file for a page or a program."""
    return f"massmail/correspondence/{secrets.token_hex(16)}"


class CorrespondenceFile(models.Model):
    """An attachment as it came. The app never opens it."""

    correspondence = models.ForeignKey(
        Correspondence, models.CASCADE, related_name="files", verbose_name=_("correspondence")
    )
    name = models.CharField(_("file name"), max_length=200)
    file = models.FileField(_("file"), upload_to=file_path)
    size = models.PositiveBigIntegerField(_("size in bytes"))

    class Meta:
        verbose_name = _("file of the correspondence")
        verbose_name_plural = _("files of the correspondence")
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name
