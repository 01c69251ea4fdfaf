"""The image library: what gets in, who sees it, and how messages find it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image as Picture

from massmail.admin.copying import copy_message
from massmail.composing import check, prepare
from massmail.composing.images import read
from massmail.engine import lifecycle
from massmail.models import Attachment, Image, Message, Signature, VersionFile
from tests import world
from tests.adminpages import act, client_of, queries, submit, url

pytestmark = pytest.mark.django_db

LINK = '<a href="{{ unsubscribe_url }}">Unsubscribe</a>'


@pytest.fixture(autouse=True)
def media(settings: Any, tmp_path: Any) -> Any:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


@pytest.fixture
def sharer(alice: Any) -> Any:
    alice.user_permissions.add(Permission.objects.get(codename="share_image", content_type__app_label="massmail"))
    return alice


def png(colour: str = "navy", size: tuple[int, int] = (60, 30)) -> bytes:
    out = io.BytesIO()
    Picture.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def file(name: str = "logo.png", data: bytes | None = None) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, png() if data is None else data, content_type="image/png")


def add(person: Any, name: str = "", **data: Any) -> Any:
    return client_of(person).post(url(Image, "add"), {"name": name, "upload": file()} | data)


def upload(person: Any, **data: Any) -> Any:
    return client_of(person).post(url(Image, "upload"), {"upload": file()} | data)


def image(person: Any, name: str = "logo.png", **data: Any) -> Image:
    assert add(person, name, **data).status_code == 302
    return Image.objects.latest("pk")


def errors(response: Any) -> str:
    assert response.status_code == 200
    return str(response.context["adminform"].form.errors)


# What gets in ---------------------------------------------------------------------------------------------------------


def test_add__kept_under_a_path_nobody_can_guess(alice, media):
    first = image(alice, "pics/Logo 1.png", upload=file("../../evil.php", png()))
    second = image(alice, "")
    assert (first.owner, first.name, first.mime_type, first.width, first.height) == (
        alice,
        "pics/Logo 1.png",
        "image/png",
        60,
        30,
    )
    assert second.name == "logo.png"
    assert first.file.name != second.file.name
    assert all(path.suffix == ".png" and len(path.stem) == 32 for path in media.rglob("*.*"))
    assert bytes(first.thumbnail).startswith(b"RIFF")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'),
        ("x.png", b"<html><script>alert(1)</script></html>"),
        ("x.gif", b"GIF89a"),
        ("x.png", b""),
    ],
)
def test_add__judged_by_content(name, data, alice):
    found = errors(add(alice, "x", upload=file(name, data)))
    assert "not a readable picture" in found or "empty" in found
    assert upload(alice, upload=file(name, data)).status_code == 400
    assert not Image.objects.exists()


def test_add__size_is_capped_before_it_is_read(alice, monkeypatch):
    monkeypatch.setattr("massmail.admin.message_forms.MAX_UPLOAD", 10)
    assert "larger than 5 MB" in errors(add(alice))


@pytest.mark.parametrize("name", ["a'b", 'a"b', "a%}b", "{{ x }}", "../x", ".png", "a\nb", "a<b", "/etc/passwd"])
def test_add__names_that_would_break_a_template(name, alice):
    assert "Use letters, digits" in errors(add(alice, name))


def test_add__a_name_is_taken_once(alice, bob):
    image(alice)
    assert "There is an image with this name already" in errors(add(alice, "logo.png"))
    assert image(bob).owner == bob


def test_upload__finds_a_free_name(alice):
    names = [upload(alice, upload=file("Our Logo (new).PNG")).json()["name"] for _number in range(3)]
    assert names == ["Our-Logo-new.png", "Our-Logo-new-2.png", "Our-Logo-new-3.png"]


def test_upload__gives_what_the_page_inserts(alice):
    answer = upload(alice, upload=file("wide.png", png(size=(1200, 300)))).json()
    made = Image.objects.get()
    assert answer["tag"].startswith('<img src="{% cid_media \'wide.png\' %}" width="600" height="150" alt=""')
    assert answer["thumbnail"].startswith(url(made, "thumbnail"))
    assert not check(world.message(alice, content=f"{answer['tag']}{LINK}"), variables=[])[1:]


# Who may --------------------------------------------------------------------------------------------------------------


def test_sharing_takes_a_permission(alice, bob, boss):
    assert image(alice, shared="on").owner == alice
    assert upload(boss, shared="on").status_code == 200
    assert not Image.objects.filter(owner=None).exists()
    assert image(boss, "shared.png", shared="on").owner is None


def test_shared__a_name_is_taken_once(sharer):
    image(sharer, shared="on")
    assert "There is a shared image with this name already" in errors(add(sharer, "logo.png", shared="on"))


def statuses(page: str, thing: Image, people: Any) -> tuple[int, ...]:
    return tuple(client_of(person).get(url(thing, page)).status_code for person in people)


def test_who_may(alice, bob, carol, boss, django_user_model):
    clerk = django_user_model.objects.create_user("clerk", is_staff=True)
    own, people = image(alice), (alice, bob, carol, clerk, boss)
    shared = image(boss, "shared.png", shared="on")
    for page in ("change", "thumbnail", "file"):
        assert statuses(page, own, people) == (200, 404, 200, 404, 200)
        assert statuses(page, shared, people) == (200, 200, 200, 403, 200)
    assert statuses("delete", own, people) == (200, 404, 403, 404, 200)
    assert statuses("delete", shared, people) == (403, 403, 403, 403, 200)
    assert client_of(clerk).post(url(Image, "upload")).status_code == 403
    assert client_of(alice).get(url(Image, "upload")).status_code == 405
    assert client_of(bob).post(url(shared, "change"), {"upload": file()}).status_code == 403
    assert client_of(None).get(url(own, "file")).headers["Location"].startswith("/admin/login/")


def test_list__own_and_shared_ones(alice, bob, carol, boss):
    image(alice)
    image(bob)
    image(boss, "shared.png", shared="on")
    shown = [
        len(client_of(person).get(url(Image, "changelist")).context["cl"].result_list) for person in (alice, carol)
    ]
    assert shown == [2, 3]


def test_list__number_of_queries_is_constant(alice):
    image(alice, "0.png")
    client = client_of(alice)
    few = queries(client, url(Image, "changelist"))
    for number in range(1, 12):
        image(alice, f"{number}.png")
    assert queries(client, url(Image, "changelist")) == few


@pytest.mark.parametrize("model", [Message, Signature, Image])
def test_empty_list__says_what_to_do(model, alice):
    page = client_of(alice).get(url(model, "changelist")).content.decode()
    assert f"No {model._meta.verbose_name} yet" in page
    assert f'class="button" href="{url(model, "add")}"' in page
    assert f"0 {model._meta.verbose_name_plural}" not in page
    searched = client_of(alice).get(url(model, "changelist"), {"q": "zzz"}).content.decode()
    assert f"No {model._meta.verbose_name} yet" in searched


def test_files_are_locked_up(alice):
    made, client = image(alice), client_of(alice)
    for page, kind in [("file", "image/png"), ("thumbnail", "image/webp")]:
        headers = client.get(url(made, page)).headers
        assert (headers["Content-Type"], headers["X-Content-Type-Options"]) == (kind, "nosniff")
        assert headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert headers["Cache-Control"].startswith("private")
    made.file.storage.delete(made.file.name)
    assert client.get(url(made, "file")).status_code == 404


# In messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../logo.png", "/etc/passwd", "/dev/zero", "%2e%2e/logo.png", "logo\0.png", "bobs.png", "massmail/../x"]
)
def test_only_rows_of_the_library_are_found(name, alice, bob):
    image(alice)
    image(bob, "bobs.png")
    (error,) = check(Message(owner=alice, subject="x", content=f"\n <img src=\"{{% cid_media '{name}' %}}\">{LINK}"))[
        :1
    ]
    assert (error.field, error.line) == ("content", 2)


def test_own_before_shared_before_the_apps(alice, boss):
    def picture() -> bytes:
        content = f"<img src=\"{{% cid_media 'massmail/offer.png' %}}\">{LINK}"
        return prepare(world.message(alice, content=content)).files[0].data

    app = picture()
    image(boss, "massmail/offer.png", shared="on", upload=file(data=png("red")))
    shared = picture()
    image(alice, "massmail/offer.png", upload=file(data=png("blue")))
    assert len({app, shared, picture()}) == 3


def test_page__tag_and_where_used(alice):
    made = image(alice)
    message = world.message(alice, content=f"<img src=\"{{% cid_media 'logo.png' %}}\">{LINK}")
    page = client_of(alice).get(url(made, "change")).content.decode()
    assert "&lt;img src=&quot;{% cid_media &#x27;logo.png&#x27; %}&quot;" in page
    assert f'href="{url(message, "change")}"' in page
    assert "will lack it" in client_of(alice).get(url(made, "delete")).content.decode()
    unused = image(alice, "unused.png")
    page = act(client_of(alice), Image, "delete_selected", [made, unused]).content.decode()
    assert "These messages use “logo.png” and will lack it:" in page
    assert "These messages use “unused.png”" not in page


def test_message_page__offers_own_and_shared_pictures(alice, bob, boss):
    own, foreign = image(alice), image(bob, "bobs.png")
    shared = image(boss, "shared.png", shared="on")
    page = client_of(alice).get(url(Message, "add")).content.decode()
    assert "{% cid_media &#x27;logo.png&#x27; %}" in page
    assert [url(each, "thumbnail") in page for each in (own, shared, foreign)] == [True, True, False]


def test_replaced_and_deleted_in_mid_run__the_frozen_copy_is_sent(alice, django_capture_on_commit_callbacks):
    world.settings()
    world.account(alice)
    world.contacts(alice, 1)
    made = image(alice)
    old = made.file.name
    content = f"<img src=\"{{% cid_media 'logo.png' %}}\">{LINK}"
    mailing = lifecycle.start(world.mailing(alice, message=world.message(alice, content=content)), by=alice)
    frozen = bytes(VersionFile.objects.get(version=mailing.version).data)
    with django_capture_on_commit_callbacks(execute=True):
        assert submit(client_of(alice), url(made, "change"), upload=file(data=png("red"))).status_code == 302
    made.refresh_from_db()
    assert made.file.name != old
    assert not made.file.storage.exists(old)
    with django_capture_on_commit_callbacks(execute=True):
        client_of(alice).post(url(made, "delete"), {"post": "yes"})
    assert not made.file.storage.exists(made.file.name)
    assert bytes(VersionFile.objects.get().data) == frozen


# Copies of messages ---------------------------------------------------------------------------------------------------


def test_copy__of_ones_own(alice):
    signature = Signature.objects.create(owner=alice, name="Short", content="<p>Alice</p>")
    message = world.message(alice, signature=signature, preheader="Look", plain_text="Hello {{ unsubscribe_url }}")
    attachment = Attachment(message=message, name="a.txt", mime_type="text/plain")
    attachment.file.save("a.txt", file(data=b"attached"))
    response = client_of(alice).post(url(message, "copy"))
    copy = Message.objects.exclude(pk=message.pk).get()
    assert response.headers["Location"] == url(copy, "change")
    for name in ("owner", "subject", "preheader", "content", "plain_text", "signature"):
        assert getattr(copy, name) == getattr(message, name)
    attached = copy.attachments.get()
    assert (attached.name, attached.mime_type, read(attached.file)) == ("a.txt", "text/plain", b"attached")
    assert attached.file.name != attachment.file.name


def test_copy__a_colleagues_without_the_signature(alice, carol):
    signature = Signature.objects.create(owner=alice, name="Short", content="<p>Alice</p>")
    own = Signature.objects.create(owner=carol, name="Mine", content="<p>Carol</p>", default=True)
    message = world.message(alice, signature=signature)
    assert client_of(carol).post(url(message, "copy")).status_code == 302
    copy = Message.objects.get(owner=carol)
    assert (copy.signature, copy.content) == (own, message.content)


def test_copy__a_colleagues_pictures_come_along(alice, carol, boss):
    image(alice, "logo.png", upload=file(data=png("red")))
    image(alice, "other.png", upload=file(data=png("green")))
    image(carol, "logo.png", upload=file(data=png("blue")))
    image(boss, "other.png", shared="on")
    image(boss, "all.png", shared="on")
    names = ("logo.png", "other.png", "all.png", "massmail/offer.png")
    content = "".join(f"<img src=\"{{% cid_media '{name}' %}}\">" for name in names) + LINK
    message = world.message(alice, content=content)
    copy = copy_message(message, owner=carol)
    assert {each.data for each in prepare(copy).files} == {each.data for each in prepare(message).files}
    assert "logo-2.png" in copy.content
    assert "other-2.png" in copy.content
    again = copy_message(message, owner=carol)
    assert again.content == copy.content
    assert Image.objects.filter(owner=carol).count() == 3


def test_copy__of_a_broken_message(alice, carol):
    message = world.message(alice, content="{% cid_media nothing %}{% load x %}")
    assert copy_message(message, owner=carol).content == message.content
