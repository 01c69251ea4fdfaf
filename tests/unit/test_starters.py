"""The templates to start from: what a picky reader, a mail program and the app's own checks ask of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from lxml import html
from PIL import Image as Picture

from massmail.choices import Rule
from massmail.composing import Links, check, lint, prepare, preview
from massmail.composing.preparing import variables_used
from massmail.composing.starters import STARTERS, Starter
from massmail.models import Message

pytestmark = pytest.mark.django_db


def message(each: Starter) -> Message:
    return Message(subject=each.subject, preheader=each.preheader, content=each.content)


@pytest.fixture(params=STARTERS, ids=lambda each: each.name)
def each(request: pytest.FixtureRequest) -> Starter:
    return request.param


def test_can_be_sent_to_any_type(each):
    assert check(message(each), variables=[]) == []
    assert variables_used(message(each)) == set()
    assert each.preheader


def test_starts_no_mailing_before_the_author_has_written_what_is_left_open(each):
    remarks = lint(message(each))
    assert {remark.rule for remark in remarks} == {Rule.LEFTOVER}
    assert any(remark.stops and "[Your company]" in remark.text for remark in remarks)


def test_names_no_day_that_goes_by(each):
    assert not re.search(r"\b20\d\d\b|(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day,", each.content + each.preheader)


def test_is_small_and_has_a_text_part(each):
    """Gmail cuts HTML at 102 kB; pictures travel with every mail."""
    prepared = prepare(message(each))
    rendered = preview(prepared, values={}, links=Links(unsubscribe="https://news.example/u/"))
    assert len(rendered.html) < 10_000
    assert sum(len(file.data) for file in prepared.files) < 25_000
    assert "https://news.example/u/" in rendered.text
    assert len(rendered.text.split()) > 40


def test_is_accessible_and_fits_a_phone(each):
    page = html.document_fromstring(each.content)
    assert page.get("lang")
    assert page.findtext("head/title")
    assert page.xpath("//meta[@name='viewport']")
    assert page.xpath("//meta[@name='color-scheme']/@content") == ["light dark"]
    assert "prefers-color-scheme: dark" in each.content
    assert "max-width: 620px" in each.content
    assert {table.get("role") for table in page.iter("table")} == {"presentation"}
    for image in page.iter("img"):
        assert image.get("alt")
        assert int(image.get("width")) <= 600
        assert int(image.get("height"))
    for link in page.iter("a"):
        assert re.fullmatch(r"https://www\.example\.com/|\{\{ unsubscribe_url \}\}", link.get("href"))
        assert link.text_content().strip()


def test_pictures_have_the_shape_they_are_shown_in(each):
    here = Path(__file__).resolve().parents[2] / "massmail" / "composing" / "starters"
    for name, width, height in re.findall(
        r"cid_media 'massmail/([\w-]+\.png)' %\}\" width=\"(\d+)\" height=\"(\d+)\"", each.content
    ):
        with Picture.open(here / name) as picture:
            assert picture.width == 2 * int(width)
            assert picture.height == 2 * int(height)


def test_thumbnail(each):
    path = finders.find(f"massmail/starters/{each.name}.webp")
    assert Path(path).stat().st_size < 20_000
    with Picture.open(path) as picture:
        assert picture.size == (240, 300)
