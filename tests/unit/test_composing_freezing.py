"""Pictures, attachments and frozen versions: what comes from rows and files."""

import email
import email.policy
from types import SimpleNamespace

import pytest
from django.core.files.base import ContentFile

from massmail.composing import (
    Links,
    check,
    freeze,
    new_message_id,
    prepare,
    preview,
    render,
    thaw,
    with_pictures,
)
from massmail.composing.freezing import _thaw
from massmail.exceptions import CompositionError
from massmail.models import Attachment, Image, Message, MessageVersion, Signature, VersionFile

LINK = '<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p>'
LINKS = Links(unsubscribe="https://news.example.com/u/abc")
LOGO = b"\x89PNG\r\n\x1a\nlogo"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def media(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    _thaw.cache_clear()


@pytest.fixture
def ann(django_user_model):
    return django_user_model.objects.create(username="ann")


@pytest.fixture
def ben(django_user_model):
    return django_user_model.objects.create(username="ben")


def add_image(name, *, owner=None, data=LOGO):
    return Image.objects.create(owner=owner, name=name, file=ContentFile(data, name="x.png"), mime_type="image/png")


def attach(message, name, data=b"%PDF", mime_type="application/pdf"):
    file = ContentFile(data, name="x.bin")
    return Attachment.objects.create(message=message, name=name, file=file, mime_type=mime_type)


def saved(owner, content="", **fields):
    return Message.objects.create(**{"owner": owner, "subject": "Hi {{ name }}", "content": content + LINK, **fields})


def sent(prepared, **values):
    return email.message_from_bytes(sent_bytes(prepared, **values), policy=email.policy.default)


def sent_bytes(prepared, **values):
    return render(
        prepared,
        sender=SimpleNamespace(from_email="ann@acme.example", from_name="Ann", reply_to=""),
        to="joe@example.com",
        values=values,
        message_id=new_message_id("acme.example"),
        links=LINKS,
    ).data


def test_pictures__are_found_by_owner_and_name_then_shared(ann, ben):
    add_image("pics/logo.png", data=b"shared")
    add_image("pics/logo.png", owner=ben, data=b"ben's")
    source = "<img src=\"{% cid_media 'pics/logo.png' %}\" alt='Logo'>"
    assert [file.data for file in prepare(saved(ann, source)).files] == [b"shared"]
    add_image("pics/logo.png", owner=ann, data=b"ann's")
    (file,) = prepare(saved(ann, source)).files
    assert (file.data, file.name, file.mime_type) == (b"ann's", "logo.png", "image/png")
    assert f'src="cid:{file.content_id}"' in prepare(saved(ann, source)).html


def test_pictures__a_message_nobody_owns_yet_sees_shared_ones(ann):
    add_image("a.png", data=b"shared")
    add_image("b.png", owner=ann)
    assert check(Message(subject="s", content="<img src=\"{% cid_media 'a.png' %}\">" + LINK)) == []
    assert check(Message(subject="s", content="<img src=\"{% cid_media 'b.png' %}\">" + LINK))[0].line == 1


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "/etc/passwd",
        "/dev/zero",
        "pics/../../x",
        "%2e%2e/x",
        "logo.png\0",
        "nobody.png",
        "",
        "ben.png",
    ],
)
def test_t7__pictures_are_rows_not_paths(ann, ben, name):
    add_image("logo.png", owner=ann)
    add_image("ben.png", owner=ben)
    draft = saved(ann)
    # Not saved: PostgreSQL would not even take the name with NUL.
    draft.content = f"{draft.content}\n<img src=\"{{% cid_media '{name}' %}}\">"
    (problem,) = check(draft)
    assert (problem.field, problem.line) == ("content", 2)
    with pytest.raises(CompositionError):
        prepare(draft)


@pytest.mark.parametrize("argument", ["", "name", "'a' 'b'", "'a.png'|upper", "'a"])
def test_t7__the_name_is_a_constant(ann, argument):
    add_image("a.png", owner=ann)
    (problem,) = check(saved(ann, f"\n\n{{% cid_media {argument} %}}"))
    assert problem.line == 3
    assert "quotation marks" in str(problem)


def test_pictures__in_a_comment_are_not_asked_for(ann):
    assert check(saved(ann, "{# {% cid_media 'nobody.png' %} #}")) == []


def test_pictures__have_no_place_in_subject_and_text(ann):
    add_image("a.png", owner=ann)
    draft = saved(ann, subject="{% cid_media 'a.png' %}", plain_text="{% cid_media 'a.png' %}")
    assert {problem.field for problem in check(draft)} == {"subject", "plain_text"}


def test_pictures__used_twice_travel_once(ann):
    add_image("a.png", owner=ann)
    add_image("b.png", owner=ann)
    tags = (
        "<img src=\"{% cid_media 'a.png' %}\"><img src='{%cid_media \"a.png\"%}'><img src=\"{% cid_media 'b.png' %}\">"
    )
    signature = Signature.objects.create(owner=ann, name="s", content="<img src=\"{% cid_media 'a.png' %}\">")
    message = sent(prepare(saved(ann, tags, signature=signature)))
    images = [part for part in message.walk() if part.get_content_maintype() == "image"]
    assert len(images) == 1
    assert images[0]["Content-ID"].strip("<>") in message.get_body(("html",)).get_content()
    assert message.get_body(("html",)).get_content().count("cid:") == 4


def test_pictures__of_which_the_file_is_gone(ann):
    image = add_image("a.png", owner=ann)
    image.file.storage.delete(image.file.name)
    assert "Upload it again" in str(check(saved(ann, "<img src=\"{% cid_media 'a.png' %}\">"))[0])


def test_with_pictures__shows_them_in_a_browser(ann):
    add_image("a.png", owner=ann)
    prepared = prepare(saved(ann, "<img src=\"{% cid_media 'a.png' %}\">"))
    html = preview(prepared, values={}, links=LINKS).html
    assert 'src="data:image/png;base64,iVBORw0KGgpsb2dv"' in with_pictures(html, prepared)


def test_structure__with_pictures_and_attachments(ann):
    add_image("a.png", owner=ann)
    draft = saved(ann, "<img src=\"{% cid_media 'a.png' %}\">")
    attach(draft, "Прайс-лист 2026.pdf", b"\x00\r\n.\r\n%PDF" * 500)
    attach(draft, "mail.eml", b"x", "message/rfc822")
    attach(draft, "bad\r\nname.bin", b"y", "no type\r\n")
    message = sent(prepare(draft), name="Joe")
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "application/pdf",
        "application/octet-stream",
        "application/octet-stream",
    ]
    related = message.get_payload(0).get_payload(1)
    assert related.get_param("type") == "text/html"
    assert related.get_payload(1).get_content_disposition() == "inline"
    assert related.get_payload(1).get_content() == LOGO
    files = list(message.iter_attachments())[-3:]
    assert [file.get_filename() for file in files] == ["Прайс-лист 2026.pdf", "mail.eml", "bad name.bin"]
    assert files[0].get_content() == b"\x00\r\n.\r\n%PDF" * 500


@pytest.mark.parametrize("name", ["a" * 196 + ".pdf", "报价" * 60 + ".pdf", 'q"uo\\te;x=1.pdf'])
def test_structure__long_and_odd_file_names(ann, name):
    draft = saved(ann)
    attach(draft, name)
    data = sent_bytes(prepare(draft))
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert [file.get_filename() for file in message.iter_attachments()] == [name]
    assert max(map(len, data.split(b"\r\n"))) <= 998


def test_attachments__sum_is_capped(ann):
    draft = saved(ann)
    attach(draft, "big.bin", b"x" * (6 * 1024 * 1024))
    assert check(draft) == []
    attach(draft, "big2.bin", b"x" * (6 * 1024 * 1024))
    assert "10 MB" in str(check(draft)[0])


def test_freeze__the_same_message_is_the_same_row(ann):
    add_image("a.png", owner=ann)
    draft = saved(ann, "<style>p{color:red}</style><p>x</p><img src=\"{% cid_media 'a.png' %}\">")
    attach(draft, "a.pdf")
    version = freeze(draft)
    assert freeze(Message.objects.get(pk=draft.pk)) == version
    assert MessageVersion.objects.count() == 1
    assert VersionFile.objects.count() == 2
    assert len(version.digest) == 64


@pytest.mark.parametrize("field", ["subject", "preheader", "content", "plain_text"])
def test_freeze__a_changed_message_is_another_row(ann, field):
    draft = saved(ann)
    version = freeze(draft)
    setattr(draft, field, LINK + "changed" if field == "content" else "changed")
    other = freeze(draft)
    assert other.digest != version.digest
    assert thaw(version) != thaw(other)


def test_freeze__changed_signature_or_file_is_another_row(ann):
    signature = Signature.objects.create(owner=ann, name="s", content="One")
    draft = saved(ann, signature=signature)
    attachment = attach(draft, "a.pdf", b"one")
    digests = {freeze(draft).digest}
    signature.content = "Two"
    digests.add(freeze(draft).digest)
    attachment.file.save("x.bin", ContentFile(b"two"))
    digests.add(freeze(draft).digest)
    attachment.name = "b.pdf"
    attachment.save()
    digests.add(freeze(draft).digest)
    assert len(digests) == 4


def test_freeze__nothing_can_be_changed_afterwards(ann):
    version = freeze(saved(ann))
    version.subject = "other"
    with pytest.raises(TypeError):
        version.save()


def test_freeze__refuses_a_broken_message(ann):
    with pytest.raises(CompositionError):
        freeze(saved(ann, "{% load x %}"))
    assert MessageVersion.objects.count() == 0


def test_thaw__sends_what_was_frozen_though_all_of_it_is_gone(ann):
    image = add_image("a.png", owner=ann)
    draft = saved(ann, "<img src=\"{% cid_media 'a.png' %}\"><p>{{ name }}</p>")
    attachment = attach(draft, "a.pdf", b"frozen")
    prepared = prepare(draft)
    version = freeze(draft)
    attachment.file.storage.delete(attachment.file.name)
    image.file.save("x.png", ContentFile(b"replaced"))
    draft.delete()
    version = MessageVersion.objects.get(pk=version.pk)
    assert thaw(version) == prepared
    message = sent(thaw(version), name="Joe")
    assert message["Subject"] == "Hi Joe"
    assert [file.get_content() for file in message.iter_attachments()][-1] == b"frozen"


def test_thaw__compiles_once_and_forgets(ann, django_assert_num_queries):
    version = freeze(saved(ann))
    first = thaw(version)
    with django_assert_num_queries(0):
        assert thaw(version) is first
    assert _thaw.cache_info().maxsize == 8
