"""The forms for messages, signatures, images and test mails."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.validators import RegexValidator
from django.db.models import Q
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from massmail.admin.forms import OwnedForm
from massmail.composing import Remark, check, check_signature
from massmail.composing.pictures import MAX_UPLOAD, Picture, read_picture
from massmail.composing.preparing import MAX_FILES
from massmail.conf import conf
from massmail.engine.trial import addresses_of
from massmail.exceptions import CompositionError, PictureError
from massmail.models import Attachment, EmailAccount, Image
from massmail.recipient_types import recipient_types

#: The right to put pictures into everybody's library.
SHARE = "massmail.share_image"
#: The name stands between quotation marks in a template's tag, and on the command lines of nobody.
image_name = RegexValidator(
    r"\A\w[\w .+/-]*\Z",
    gettext_lazy("Use letters, digits, spaces and . - _ / + only, and begin with a letter or digit."),
)


def known_variables() -> set[str]:
    """Return every name that one recipient type or another hands out."""
    return {name for recipient_type in recipient_types() for name in recipient_type.variables}


def in_words(error: CompositionError) -> str:
    """Return the text of an error with its place."""
    place = {"line": error.line, "column": error.column, "error": error}
    if error.line is None:
        return str(error)
    if error.column is None:
        return _("Line %(line)d: %(error)s") % place
    return _("Line %(line)d, column %(column)d: %(error)s") % place


def remark_in_words(remark: Remark) -> str:
    """Return the text of a remark with its place and what to do."""
    words = f"{remark.text} {remark.remedy}"
    return words if remark.line is None else _("Line %(line)d: %(error)s") % {"line": remark.line, "error": words}


class SourceWidget(AdminTextareaWidget):
    """A plain text field that scripts make comfortable: numbered lines, a tab key, marks at errors."""

    def __init__(self, *, rows: int) -> None:
        super().__init__({"rows": rows, "class": "massmail-source", "spellcheck": "false", "data-massmail-source": ""})


def body_widget() -> forms.Widget:
    """Return the widget for the content of messages: the host's own (`MASSMAIL_BODY_WIDGET`), or ours."""
    return import_string(conf.body_widget)() if conf.body_widget else SourceWidget(rows=24)


class SignatureForm(OwnedForm):
    class Meta:
        widgets = {"content": SourceWidget(rows=14)}

    def _post_clean(self) -> None:
        """Refuse what no message with this signature could be sent with."""
        super()._post_clean()  # type: ignore[misc]
        if {"type", "content"} <= self.cleaned_data.keys():
            for error in check_signature(self.instance, variables=known_variables()):
                self.add_error("content", in_words(error))

    def _get_validation_exclusions(self) -> set[str]:
        # A new default takes the place of the old one when it is saved, so there is nothing to object to here.
        return super()._get_validation_exclusions() | {"default"}  # type: ignore[misc]


class MessageForm(OwnedForm):
    owned_choices = ["signature"]

    class Meta:
        widgets = {"content": SourceWidget(rows=24), "plain_text": SourceWidget(rows=10)}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "content" in self.fields and conf.body_widget:
            self.fields["content"].widget = body_widget()

    def _post_clean(self) -> None:
        """Judge the message as a whole, once the instance has the form's values: like Django's own password forms."""
        super()._post_clean()  # type: ignore[misc]
        if {"subject", "content"} <= self.cleaned_data.keys():
            for error in check(self.instance, variables=known_variables()):
                self.add_error(error.field if error.field in self.fields else None, in_words(error))


class AttachmentForm(forms.ModelForm):
    """A file to send along, under the name it was uploaded with."""

    upload = forms.FileField(label=gettext_lazy("File"))

    class Meta:
        model = Attachment
        fields: Sequence[str] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.fields["upload"].required = False
            self.fields["upload"].label = _("Another file")

    def clean_upload(self) -> Any:
        file = self.cleaned_data["upload"]
        if file and file.size > MAX_FILES:
            raise ValidationError(_("The file is larger than 10 MB. Put it on your website and write a link to it."))
        return file

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if file := self.cleaned_data.get("upload"):
            self.instance.name = PurePosixPath(file.name).name[-200:]
            self.instance.mime_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            self.instance.file = file


class ImageForm(OwnedForm):
    """A picture of the library. It is judged by its content and kept as it is written anew."""

    upload = forms.FileField(
        label=gettext_lazy("Picture"),
        help_text=gettext_lazy("PNG, JPEG, GIF or WebP, up to 5 MB."),
        widget=forms.FileInput(attrs={"accept": "image/png,image/jpeg,image/gif,image/webp"}),
    )
    shared = forms.BooleanField(
        label=gettext_lazy("Shared"), required=False, help_text=gettext_lazy("All managers can use it.")
    )
    file_name = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk or not self.user.has_perm(SHARE):
            del self.fields["shared"]
        if "name" in self.fields:
            self.fields["name"].required = False
            self.fields["name"].validators.append(image_name)
            self.fields["name"].help_text = _("What the picture is called in messages. Empty: as its file.")
        if self.instance.pk and "upload" in self.fields:
            self.fields["upload"].required = False
            self.fields["upload"].label = _("Another picture")
            self.fields["upload"].help_text = _(
                "It takes the place of this one in all messages that use it. Mailings that are started keep theirs."
            )

    def clean_upload(self) -> Picture | None:
        file = self.cleaned_data["upload"]
        if file is None:
            return None
        self.file_name = file.name
        if file.size > MAX_UPLOAD:
            raise ValidationError(_("The picture is larger than 5 MB. Make it smaller first."))
        try:
            return read_picture(file.read())
        except PictureError as error:
            raise ValidationError(str(error)) from error

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if self.instance.pk is None:
            if cleaned.get("shared"):
                self.instance.owner = None
            if not cleaned.get("name") and cleaned.get("upload"):
                cleaned["name"] = self.free_name(self.file_name, cleaned["upload"], owner=self.instance.owner)
        return cleaned

    @staticmethod
    def free_name(file_name: str, picture: Picture, *, owner: Any) -> str:
        """Return the name of an uploaded file in the form names have here, with a number if it is taken."""
        stem = re.sub(r"[^\w.+-]+", "-", PurePosixPath(file_name).stem).strip("-._+")[:150] or "image"
        ending = picture.mime_type.removeprefix("image/").replace("jpeg", "jpg")
        library = Image.objects.filter(Q(owner=owner) | Q(owner=None), name__startswith=stem)
        taken, number = set(library.values_list("name", flat=True)), 1
        name = f"{stem}.{ending}"
        while name in taken:
            number += 1
            name = f"{stem}-{number}.{ending}"
        return name

    def _get_validation_exclusions(self) -> set[str]:
        # The owner is not a field of most people's form, yet the name is to be the only one of its kind there.
        return super()._get_validation_exclusions() - {"owner", "name"}  # type: ignore[misc]

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if picture := self.cleaned_data.get("upload"):
            take_picture(self.instance, picture)

    def written_fields(self) -> list[str]:
        if self.cleaned_data.get("upload"):
            return ["file", "mime_type", "width", "height", "thumbnail"]
        return []


def take_picture(image: Image, picture: Picture) -> None:
    """Make `picture` the content of `image`, unsaved. A file that it had stays: it gets a path of its own."""
    image.mime_type, image.width, image.height = picture.mime_type, picture.width, picture.height
    image.thumbnail = picture.thumbnail
    image.file = ContentFile(picture.data, name="picture")


class TestMailForm(forms.Form):
    """Through which account of the user's, to which of the user's addresses, and as whom."""

    account = forms.ModelChoiceField(
        EmailAccount.objects.none(), label=gettext_lazy("Through"), empty_label=None, widget=forms.Select
    )
    address = forms.ChoiceField(label=gettext_lazy("To"))
    recipient = forms.CharField(required=False, max_length=200)

    def __init__(self, data: Mapping[str, Any] | None = None, *, user: Any) -> None:
        super().__init__(data, auto_id="massmail-test-%s")
        own: Any = self.fields["account"]
        own.queryset = EmailAccount.objects.filter(owner=user).order_by("-massmail", "main", "name", "id")
        addresses: Any = self.fields["address"]
        addresses.choices = [(each, each) for each in addresses_of(user)]

    @property
    def accounts(self) -> Sequence[EmailAccount]:
        own: Any = self.fields["account"]
        return list(own.queryset)
