"""The image library: each manager's own pictures, and those that all share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.template.loader import render_to_string
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from massmail.admin.message_forms import SHARE, ImageForm
from massmail.admin.owned import VIEW_ALL, OwnedModelAdmin
from massmail.admin.places import page_url
from massmail.composing.images import image_tag, read
from massmail.exceptions import CompositionError
from massmail.models import Attachment, Image, Message

#: Messages that are named on the page of an image they show.
USES_SHOWN = 20
#: A stored picture is never overwritten: browsers may keep it as long as its page does not name another file.
CACHED = "private, max-age=86400"


class ImageAdmin(OwnedModelAdmin):
    form = ImageForm
    list_display = ["picture", "name", "size", "usable_by"]
    list_display_links = ["name"]
    list_per_page = 50
    list_select_related = ["owner"]
    search_fields = ["name"]
    none_yet = gettext_lazy("No image yet")
    what_for = gettext_lazy(
        "Images are what your messages and signatures show, a logo for example. They travel with the mail."
    )
    #: Whose a shared picture is, in the filter.
    empty_value_display = gettext_lazy("everybody")
    fieldsets = [(None, {"fields": ["name", "upload", "shared"]})]

    class Media:
        css = {"all": ["massmail/admin.css", "massmail/message.css"]}

    # What is allowed ---------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return one's own pictures and those that are shared; holders of `view_all` see everybody's."""
        images = admin.ModelAdmin.get_queryset(self, request).defer("thumbnail")
        return images if request.user.has_perm(VIEW_ALL) else images.filter(Q(owner=request.user) | Q(owner=None))

    def owns(self, request: HttpRequest, obj: Image) -> bool:
        if obj.owner_id is None:
            return request.user.has_perm(SHARE)
        return super().owns(request, obj)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        shared = obj is not None and obj.owner_id is None
        return super().has_view_permission(request, None if shared else obj)

    def get_list_display(self, request: HttpRequest) -> Any:
        return self.list_display  # the column `usable_by` names the owner

    def get_list_filter(self, request: HttpRequest) -> Any:
        return super().get_list_filter(request) if request.user.has_perm(VIEW_ALL) else []

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Offer to share something new to those who may; leave out the upload for those who may only look."""
        names = ["name", "upload", "shared"]
        if obj is not None or not request.user.has_perm(SHARE):
            names.remove("shared")
        if obj is not None and not self.has_change_permission(request, obj):
            names.remove("upload")
        return [(None, {"fields": names})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Keep the name, by which messages ask for the picture."""
        return [] if obj is None else ["name"]

    # The list ----------------------------------------------------------------------------------------------------

    @admin.display(description=gettext_lazy("picture"))
    def picture(self, image: Image) -> str:
        return render_to_string("massmail/admin/thumbnail.html", {"url": thumbnail_url(self.admin_site, image)})

    @admin.display(description=gettext_lazy("size"), ordering="width")
    def size(self, image: Image) -> str:
        return f"{image.width} × {image.height}"  # noqa: RUF001  a multiplication sign

    @admin.display(description=gettext_lazy("usable by"), ordering="owner")
    def usable_by(self, image: Image) -> str:
        return _("everybody") if image.owner is None else str(image.owner)

    # Pages -------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        def wrap(view: Callable[..., HttpResponse]) -> Any:
            return self.admin_site.admin_view(view, cacheable=True)

        return [
            path("upload/", self.admin_site.admin_view(self.upload_view), name="massmail_image_upload"),
            path("<path:object_id>/thumbnail/", wrap(self.thumbnail_view), name="massmail_image_thumbnail"),
            path("<path:object_id>/file/", wrap(self.file_view), name="massmail_image_file"),
            *super().get_urls(),
        ]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        if obj := kwargs.get("obj"):
            uses = list(using(obj)[:USES_SHOWN])
            context |= {
                "image": obj,
                "file_url": image_url(self.admin_site, obj, "file"),
                "tag": image_tag(obj),
                "kind": obj.mime_type.partition("/")[2].upper(),
                "uses": [(message, page_url(self.admin_site, Message, "change", message.pk)) for message in uses],
            }
        return super().render_change_form(request, context, *args, **kwargs)

    # Views -------------------------------------------------------------------------------------------------------

    def upload_view(self, request: HttpRequest) -> JsonResponse | HttpResponseNotAllowed:
        """Take a picture into the user's own library, from the page of a message: by POST."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_add_permission(request):
            raise PermissionDenied
        own = {name: value for name, value in request.POST.items() if name != "shared"}
        form = self.get_form(request)(own, request.FILES)
        if not form.is_valid():
            errors = [str(error) for errors in form.errors.values() for error in errors]
            return JsonResponse({"errors": errors}, status=400)
        image = form.save(commit=False)
        self.save_model(request, image, form, change=False)
        self.log_addition(request, image, [{"added": {}}])
        return JsonResponse(
            {"name": image.name, "tag": image_tag(image), "thumbnail": thumbnail_url(self.admin_site, image)}
        )

    def thumbnail_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        image = self._visible(request, object_id)
        return _picture(bytes(image.thumbnail), "image/webp")

    def file_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        image = self._visible(request, object_id)
        try:
            return _picture(read(image.file), image.mime_type)
        except CompositionError as error:
            return HttpResponse(str(error), content_type="text/plain; charset=utf-8", status=404)

    def _visible(self, request: HttpRequest, object_id: str) -> Image:
        image = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, image):
            raise PermissionDenied
        return image

    # Writing -----------------------------------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: Image, form: Any, change: bool) -> None:
        """Write a picture, and remove the file whose place it takes once that is certain."""
        old = Image.objects.filter(pk=obj.pk).first() if change and form.cleaned_data.get("upload") else None
        super().save_model(request, obj, form, change)
        if old is not None:
            remove_file(old)

    def delete_model(self, request: HttpRequest, obj: Image) -> None:
        super().delete_model(request, obj)
        remove_file(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        images = list(queryset)
        super().delete_queryset(request, queryset)
        for image in images:
            remove_file(image)

    def get_deleted_objects(self, objs: Iterable[Any], request: HttpRequest) -> Any:
        """Say which messages will lack the picture."""
        images = list(objs)
        to_delete, counts, lacking, protected = super().get_deleted_objects(images, request)
        for image, messages in used(images).items():
            titles: Any = [str(message) for message in messages[:USES_SHOWN]]
            to_delete += [_("These messages use “%(image)s” and will lack it:") % {"image": image}, titles]
        return to_delete, counts, lacking, protected


def image_url(site: AdminSite, image: Image, page: str) -> str:
    # The file's name tells a replaced picture from the one that the browser has kept.
    return f"{page_url(site, Image, page, image.pk)}?{str(image.file.name)[-12:]}"


def thumbnail_url(site: AdminSite, image: Image) -> str:
    return image_url(site, image, "thumbnail")


def using(image: Image) -> QuerySet[Message]:
    """Return the messages that ask for `image` by its name, in their content or their signature."""
    tag = f"'{image.name}'"
    messages = Message.objects.filter(
        Q(content__contains=tag)
        | Q(signature__content__contains=tag)
        | Q(content__contains=f'"{image.name}"')
        | Q(signature__content__contains=f'"{image.name}"')
    )
    return messages if image.owner_id is None else messages.filter(owner=image.owner_id)


def used(images: Sequence[Image]) -> dict[Image, list[Message]]:
    """Return the messages that ask for each of `images`, if any do: what `using` finds, for all of them at once."""
    messages = Message.objects.filter(Q(content__contains="cid_media") | Q(signature__content__contains="cid_media"))
    if all(image.owner_id is not None for image in images):
        messages = messages.filter(owner__in={image.owner_id for image in images})
    found: dict[Image, list[Message]] = defaultdict(list)
    for message in messages.select_related("signature").order_by("pk"):
        text = message.content + (message.signature.content if message.signature else "")
        for image in images:
            if image.owner_id in (None, message.owner_id) and (f"'{image.name}'" in text or f'"{image.name}"' in text):
                found[image].append(message)
    return found


def remove_file(row: Image | Attachment) -> None:
    """Remove the stored file of `row` as soon as the database agrees. What was sent has its bytes elsewhere."""
    storage, name = row.file.storage, str(row.file.name)
    transaction.on_commit(lambda: storage.delete(name))


def _picture(data: bytes, mime_type: str) -> HttpResponse:
    response = HttpResponse(data, content_type=mime_type)
    response.headers["Cache-Control"] = CACHED
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response
