"""Puts other people's newsletters through composing and compares what comes out with what went in.

Called by `python -m tests.corpora`. The newsletters are in packages that npm and pip download; none is kept here. They
come as their authors wrote them, but for what `adapted` changes, and with tags of ours put in by `with_tags`. For each:

- elements get styles of their own ("inlined": how many);
- every tag is in the text that is sent;
- filling in after inlining gives the same page as inlining after filling in;
- Chromium shows the same page before and after, in windows for a desk, a tablet and a phone, up to `TOLERANCE`.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxml import html as lxml_html
from PIL import Image, ImageChops

from massmail.composing import Links, prepare, preview
from massmail.composing.templates import compile_source, fill, neutral_locale
from massmail.exceptions import CompositionError
from massmail.models import Message

WIDTHS = (1280, 600, 390)
#: The part of the pixels that may differ visibly (by more than `VISIBLE` of 255) before and after: one in a thousand.
TOLERANCE, VISIBLE = 0.001, 16
LINK = "https://news.example/massmail/u/0123456789abcdef/0"
LINKS = Links(unsubscribe=LINK)
VALUES = {"first_name": "Zoë <Ann> & Co", "company": 'O\'Neill "Metal"', "colour": "#336698", "vip": ""}
TAGS = (
    "{{ first_name }}",
    "{% if company %}",
    "{{ company|urlencode }}",
    "{% else %}",
    "{% endif %}",
    "{{ colour }}",
    "{% if vip %}",
)
#: Put before whatever stands in the body: a tag in text, in an attribute, in a style, around an element with a style.
TAGGED = (
    '<p class="lead" style="margin: 0; color: {{ colour }}" title="{{ first_name }}">Dear {{ first_name }},'
    '{% if company %} <a href="https://example.com/?c={{ company|urlencode }}" style="color: green">{{ company }}</a>'
    '{% else %} <i>you</i>{% endif %}</p>{% if vip %}<p class="lead">Very</p>{% endif %}'
)
UNSUBSCRIBE = '<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p>'
_PRINTED = re.compile(r"<%[-=].*?%>", re.DOTALL)
_ZURB = "foundation-emails@2.5.1"
_MJML = ("mj-carousel", "mj-accordion", "mj-social", "mj-wrapper", "mj-navbar", "mj-hero-fluid", "mj-group", "mj-table")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """Where newsletters come from: `name` as the client of the registry takes it, `files` by patterns inside it."""

    author: str
    name: str
    files: tuple[str, ...]
    sheet: str = ""
    licence: str = "MIT"
    from_pip: bool = False


PACKAGES = (
    Package(author="ZURB", name=_ZURB, files=(".download/templates/*.html",), sheet="dist/foundation-emails.css"),
    Package(author="Lee Munro", name="responsive-html-email-template@1.0.0", files=("email.html",)),
    Package(author="Mailgen", name="mailgen@2.0.36", files=("themes/*/index.html",), licence="Apache-2.0"),
    Package(
        author="Mosaico", name="mosaico@0.18.10", files=("templates/t*/template-t*.html",), licence="GPL-3.0-or-later"
    ),
    Package(
        author="Bootstrap Email",
        name="bootstrap-email==0.4.0",
        files=("tests/output/end-to-end/receipt.html", "tests/output/integration/[cgs]*.html"),
        from_pip=True,
    ),
    Package(
        author="MJML",
        name="mjml==0.12.0",
        files=tuple(f"tests/testdata/{name}-expected.html" for name in _MJML),
        from_pip=True,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Newsletter:
    name: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a newsletter: `complaint` is empty where all is well, `differs` a part of all pixels by width."""

    name: str
    before: int
    after: int
    styled: int
    differs: tuple[float, ...]
    complaint: str

    def __str__(self) -> str:
        pixels = " ".join(f"{1000 * part:7.2f}" for part in self.differs)
        sizes = f"{self.before / 1024:6.1f} {self.after / 1024:6.1f}"
        return f"{self.name:44} {sizes} {self.styled:7} {pixels}  {self.complaint or 'ok'}"


HEADING = f"{'newsletter':44} {'kB':>6} {'sent':>6} {'inlined':>7} " + " ".join(f"{f'‰ {w}':>7}" for w in WIDTHS)


# Getting them ---------------------------------------------------------------------------------------------------------


def newsletters(folder: Path) -> Iterator[Newsletter]:
    """Yield the newsletters of all packages, adapted; what is not in `folder` yet is downloaded into it."""
    for package in PACKAGES:
        top = unpacked(package, folder)
        sheet = (top / package.sheet).read_text() if package.sheet else ""
        for pattern in package.files:
            for file in sorted(top.glob(pattern)):
                stem = file.parent.name if file.stem == "index" else file.stem
                source = file.read_text(encoding="utf-8")
                yield Newsletter(name=f"{package.author}: {stem}", source=with_tags(adapted(source, sheet=sheet)))


def unpacked(package: Package, folder: Path) -> Path:
    """Return the top folder of a package, downloaded with the registry's own client unless it is there."""
    name, _at, version = package.name.replace("==", "@").partition("@")
    target = folder / f"{name}-{version}"
    if not target.is_dir():
        fetched = folder / f"{name}-archive"
        fetched.mkdir(exist_ok=True)
        subprocess.run(download_command(package, fetched), check=True, stdout=subprocess.DEVNULL)
        [archive] = fetched.iterdir()
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
    [top] = target.iterdir()
    return top


def download_command(package: Package, folder: Path) -> list[str]:
    if package.from_pip:
        name = package.name.partition("==")[0]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name]
        return [*pip, "--dest", str(folder), package.name]
    return [shutil.which("npm") or "npm", "pack", "--silent", "--pack-destination", str(folder), package.name]


def adapted(source: str, *, sheet: str = "") -> str:
    """Return a newsletter as a message here has to be written; every change is one that the form asks for.

    - The sheet that a `<link>` names (`sheet`) stands in a `<style>`; links to web fonts, and `@import`, are gone.
    - EJS: what prints becomes a word (in styles: inherit), what decides or loops disappears: each part is there once.
    - There is a link to unsubscribe.
    """
    source = re.sub(r'(?<=style=")[^"<]*<%.*?%>[^"]*', lambda style: _PRINTED.sub("inherit", style[0]), source)
    source = _PRINTED.sub("Words", source)
    source = re.sub(r"<%.*?%>", "", source, flags=re.DOTALL).lstrip()
    rules = f"<style>\n{sheet}\n</style>" if sheet else ""
    source = re.sub(r"<link\b[^>]*stylesheet[^>]*>", lambda _link: rules, source, flags=re.IGNORECASE)
    source = re.sub(r"@import\s+url\([^)]*\)\s*;", "", source)
    end = re.search(r"</body\s*>", source, re.IGNORECASE)
    position = end.start() if end else len(source)
    return source[:position] + UNSUBSCRIBE + source[position:]


def with_tags(source: str) -> str:
    """Return the newsletter with `TAGGED` at the beginning of its body."""
    return re.sub(r"<body\b[^>]*>", lambda body: body[0] + TAGGED, source, count=1, flags=re.IGNORECASE)


# Putting them through -------------------------------------------------------------------------------------------------


def composed(source: str) -> str:
    """Return the template source that `source` is sent as. Raises `CompositionError`."""
    return prepare(Message(subject="News", content=source)).html


def filled(source: str, **values: Any) -> str:
    """Return `source` as one recipient reads it, not composed."""
    with neutral_locale():
        return fill(compile_source(source, field="content"), {**VALUES, "unsubscribe_url": LINK, **values}, escape=True)


def sent(source: str) -> str:
    """Return what one recipient is sent."""
    return preview(prepare(Message(subject="News", content=source)), values=VALUES, links=LINKS).html


def inlined_last(source: str) -> str:
    """Return what would be sent if each recipient's copy were inlined by itself.

    With a condition at its end: without any, rules about neighbours (`td + td`) need not stay in the sheet.
    """
    own = filled(source, unsubscribe_url="{{ unsubscribe_url }}") + "{% if vip %}{% endif %}"
    return preview(prepare(Message(subject="News", content=own)), values={}, links=LINKS).html


def tree(page: str) -> list[object]:
    """Return elements, attributes and texts; white space does not count."""
    return [
        (element.tag, sorted(element.attrib.items()), _words(element.text), _words(element.tail))
        for element in lxml_html.document_fromstring(page).iter()
    ]


def _words(text: str | None) -> str:
    return " ".join((text or "").split())


def complaint_of(source: str, *, tags: tuple[str, ...] = TAGS) -> str:
    """Return what is wrong with what is sent, apart from its looks."""
    template = composed(source)
    lost = [tag for tag in tags if source.count(tag) > template.count(tag)]
    if lost:
        return f"tags lost: {lost}"
    if tree(sent(source)) != tree(inlined_last(source)):
        return "filling in before inlining gives something else"
    return ""


def styled(page: str) -> int:
    """Return how many elements have a style of their own."""
    return len(lxml_html.document_fromstring(page).xpath("//*[@style]"))


# Looking at them ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Chromium without scripts and network: `browser` is Playwright's."""

    browser: Any

    def shot(self, page_source: str, width: int) -> Image.Image:
        """Return the whole page as it looks in a window of `width` pixels."""
        context = self.browser.new_context(java_script_enabled=False, viewport={"width": width, "height": 800})
        try:
            context.route("**/*", lambda route: route.abort())
            page = context.new_page()
            page.set_content(page_source, wait_until="load")
            return Image.open(io.BytesIO(page.screenshot(full_page=True, animations="disabled"))).convert("RGB")
        finally:
            context.close()

    def difference(self, before: str, after: str, width: int) -> float:
        """Return the part of the pixels, of the larger of both pages, that differ visibly."""
        one, other = self.shot(before, width), self.shot(after, width)
        size = max(one.width, other.width), max(one.height, other.height)
        pages = [_on_canvas(picture, size) for picture in (one, other)]
        off = ImageChops.difference(*pages).convert("L").point(lambda value: 255 if value > VISIBLE else 0)
        return off.histogram()[255] / (size[0] * size[1])


def _on_canvas(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    canvas = Image.new("RGB", size, "magenta")
    canvas.paste(picture)
    return canvas


def verdict(newsletter: Newsletter, viewer: Viewer) -> Verdict:
    """Return what became of one newsletter."""
    source = newsletter.source
    try:
        page = sent(source)
        complaint = complaint_of(source)
    except CompositionError as error:
        return Verdict(
            name=newsletter.name, before=len(source), after=0, styled=0, differs=(), complaint=f"refused: {error}"
        )
    differs = tuple(viewer.difference(filled(source), page, width) for width in WIDTHS)
    if not complaint and max(differs) > TOLERANCE:
        complaint = "looks different"
    return Verdict(
        name=newsletter.name,
        before=len(source.encode()),
        after=len(page.encode()),
        styled=styled(page) - styled(filled(source)),
        differs=differs,
        complaint=complaint,
    )


def report(folder: Path, viewer: Viewer, say: Callable[[str], None]) -> int:
    """Print a line for each newsletter and the sum; return how many are not well."""
    say(HEADING)
    found = []
    for newsletter in newsletters(folder):
        found.append(verdict(newsletter, viewer))
        say(str(found[-1]))
    wrong = sum(1 for each in found if each.complaint)
    say(f"Newsletters: {len(found) - wrong} of {len(found)} right")
    return wrong
