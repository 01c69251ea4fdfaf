"""What is sent: messages, signatures, pictures, and the frozen versions of messages."""

from __future__ import annotations

import re
import secrets
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from massmail.choices import SignatureType

_PLACEHOLDER = re.compile(r"\{\{\s*(\w*)[^{}]*\}\}|\{[%#].*?[%#]\}")


def in_words(template: str) -> str:
    """Return a one-line template as lists name it: `first name` in angle quotes for `{{ first_name }}`, and no tags."""
    words = _PLACEHOLDER.sub(lambda found: f"\u2039{found[1].replace('_', ' ')}\u203a" if found[1] else "", template)
    return " ".join(words.split()) or template


class Signature(models.Model):
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="massmail_signatures", verbose_name=_("owner")
    )
    name = models.CharField(_("name"), max_length=100)
    type = models.CharField(_("type"), max_length=10, choices=SignatureType.choices, default=SignatureType.HTML)
    content = models.TextField(_("content"))
    default = models.BooleanField(
        _("default"),
        default=False,
        help_text=_("Chosen for new messages. Each owner has one default signature."),
    )

    class Meta:
        verbose_name = _("signature")
        verbose_name_plural = _("signatures")
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["owner"],
                condition=Q(default=True),
                name="massmail_one_default_signature",
                violation_error_message=_("This owner already has a default signature."),
            )
        ]

    def __str__(self) -> str:
        return self.name


class Message(models.Model):
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="massmail_messages", verbose_name=_("owner")
    )
    subject = models.CharField(_("subject"), max_length=250)
    preheader = models.CharField(
        _("preheader"),
        max_length=250,
        blank=True,
        help_text=_("The line that inboxes show after the subject."),
    )
    content = models.TextField(
        _("content"),
        help_text=_(
            'HTML with placeholders such as {{ first_name }}. It must contain a link with href="{{ unsubscribe_url }}".'
        ),
    )
    plain_text = models.TextField(_("plain text"), blank=True, help_text=_("Empty: made from the content."))
    signature = models.ForeignKey(
        Signature,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="messages",
        verbose_name=_("signature"),
    )
    created = models.DateTimeField(_("created"), auto_now_add=True)
    updated = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering = ["-updated", "-id"]

    def __str__(self) -> str:
        return in_words(self.subject)


def attachment_path(attachment: Attachment, filename: str) -> str:
    """Return a path nobody can guess. Without an ending, no web server takes the file for a page or a program."""
    return f"massmail/attachments/{secrets.token_hex(16)}"


def image_path(image: Image, filename: str) -> str:
    """Return a path nobody can guess, under which nothing is overwritten; its ending follows from the content."""
    return f"massmail/images/{secrets.token_hex(16)}.{image.mime_type.removeprefix('image/')}"


class Attachment(models.Model):
    message = models.ForeignKey(Message, models.CASCADE, related_name="attachments", verbose_name=_("message"))
    name = models.CharField(_("file name"), max_length=200)
    file = models.FileField(_("file"), upload_to=attachment_path)
    mime_type = models.CharField(_("MIME type"), max_length=100, default="application/octet-stream")

    class Meta:
        verbose_name = _("attachment")
        verbose_name_plural = _("attachments")
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name


class Image(models.Model):
    """A picture of the library; `{% cid_media 'pics/logo.png' %}` finds it by owner and name, never by a path."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="massmail_images",
        verbose_name=_("owner"),
        help_text=_("Empty: shared by all."),
    )
    name = models.CharField(_("name"), max_length=200)
    file = models.FileField(_("file"), upload_to=image_path)
    mime_type = models.CharField(_("MIME type"), max_length=100, default="image/png")
    width = models.PositiveIntegerField(_("width"), default=0)
    height = models.PositiveIntegerField(_("height"), default=0)
    thumbnail = models.BinaryField(_("thumbnail"), default=bytes, blank=True, help_text=_("A small WebP, for lists."))

    class Meta:
        verbose_name = _("image")
        verbose_name_plural = _("images")
        ordering = ["name", "id"]
        permissions = [("share_image", _("Can share images with all managers"))]
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "name"],
                name="massmail_one_image_per_name",
                violation_error_message=_("There is an image with this name already. Choose another name."),
            ),
            models.UniqueConstraint(
                fields=["name"],
                condition=Q(owner__isnull=True),
                name="massmail_one_shared_image_per_name",
                violation_error_message=_("There is a shared image with this name already. Choose another name."),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class MessageVersion(models.Model):
    """A message frozen for sending. Immutable: a changed message gets another version."""

    message = models.ForeignKey(Message, models.SET_NULL, null=True, related_name="versions", verbose_name=_("message"))
    digest = models.CharField(_("digest"), max_length=64, help_text=_("SHA-256 of everything below."))
    subject = models.CharField(_("subject"), max_length=250)
    html = models.TextField(_("HTML, CSS inlined"))
    text = models.TextField(_("plain text"))
    created = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("message version")
        verbose_name_plural = _("message versions")
        constraints = [models.UniqueConstraint(fields=["message", "digest"], name="massmail_one_version_per_digest")]

    def __str__(self) -> str:
        return f"{self.subject_in_words} ({self.digest[:8]})"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("A message version is immutable; freeze the message again.")
        super().save(*args, **kwargs)

    @property
    def subject_in_words(self) -> str:
        return in_words(self.subject)


class VersionFile(models.Model):
    """A file of a frozen message: the bytes themselves, so that a replaced upload changes nothing under way."""

    version = models.ForeignKey(MessageVersion, models.CASCADE, related_name="files", verbose_name=_("message version"))
    name = models.CharField(_("file name"), max_length=200)
    mime_type = models.CharField(_("MIME type"), max_length=100)
    content_id = models.CharField(
        _("content id"),
        max_length=100,
        blank=True,
        help_text=_("Empty: an attachment. Else: an inline image."),
    )
    data = models.BinaryField(_("data"))

    class Meta:
        verbose_name = _("version file")
        verbose_name_plural = _("version files")
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name
