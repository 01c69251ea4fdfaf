"""What inliners lose: each case was seen in somebody's newsletter, and looked different after inlining."""

from __future__ import annotations

import re
from typing import Any

import pytest
from lxml import html as lxml_html

from massmail.composing.inlining import inline_styles


def inlined(css: str, body: str, *, varies: bool = False) -> Any:
    root = lxml_html.document_fromstring(f"<html><head><style>{css}</style></head><body>{body}</body></html>")
    inline_styles(root, varies=varies)
    return root


def style(css: str, body: str, **options: bool) -> str:
    """Return the style of the element with id="x"."""
    return inlined(css, body, **options).get_element_by_id("x").get("style", "")


def sheet(css: str, body: str = '<p id="x" class="a">x</p>', **options: bool) -> str:
    return " ".join(inlined(css, body, **options).xpath("string(//style)").split())


@pytest.mark.parametrize(
    ("css", "expected"),
    [
        ("p{color:red} .a{color:blue} #x{color:green}", "color:green"),
        ("#x{color:green} .a{color:blue} p{color:red}", "color:green"),
        (".a{color:blue} p[class]{color:red} p{color:green}", "color:red"),
        ("p{color:red !important} #x{color:green}", "color:red !important"),
        ("p{color:red} p{color:blue}", "color:blue"),
        ("p{margin-bottom:10px} .a{margin:0}", "margin-bottom:10px; margin:0"),
        ("p{margin:0} .a{margin-bottom:10px} #x{margin:1px}", "margin-bottom:10px; margin:1px"),
        ("p{background:red} .a{background:#eee;background:linear-gradient(red,blue)}", None),
        ('p{font-family:"Helvetica Neue",Arial}', "font-family:'Helvetica Neue',Arial"),
        ("p{color:#336699;mso-line-height-rule:exactly}", "color:#336699; mso-line-height-rule:exactly"),
        ("p{color:red} div, b{color:blue}", "color:red"),
        ("p, div:hover{color:red}", "color:red"),
        ("p:first-child{color:red}", "color:red"),
        ("body p:not(.b){color:red}", "color:red"),
    ],
)
def test_the_cascade(css, expected):
    got = style(css, '<p id="x" class="a">x</p>')
    assert got == (expected or "background:#eee; background:linear-gradient(red,blue)")


def test_the_elements_own_style_comes_last_but_for_important_rules():
    body = '<p id="x" style="margin: 0; color: blue">x</p>'
    assert style("p{margin:0 0 5px;margin-bottom:10px;color:red !important}", body) == (
        "margin-bottom:10px; margin:0; color:red !important"
    )


def test_no_float_is_made_of_text_align_and_no_attribute_overwritten():
    """ZURB's: with align="left" a table stands beside the next one."""
    css = "table{text-align:left;width:100%;background-color:#abc;height:auto} img{width:300px} td{vertical-align:top}"
    body = '<table id="x" align="center"><tr><td><img width="20"></td></tr></table><table id="y" width="9"></table>'
    root = inlined(css, body)
    table, other = root.get_element_by_id("x"), root.get_element_by_id("y")
    assert (table.get("align"), table.get("width"), table.get("bgcolor")) == ("center", "100%", "#aabbcc")
    assert (other.get("align"), other.get("width"), other.get("height")) == (None, "9", None)
    assert root.find(".//img").get("width") == "20"
    assert root.find(".//td").get("valign") == "top"


def test_rules_for_phones_win_where_they_did():
    """ZURB's .hide-for-large: important everywhere, so that the heavier rule for phones must win."""
    css = "p{display:none !important} @media (max-width:600px){p.a{display:block !important}}"
    assert style(css, '<p id="x" class="a">x</p>') == "display:none"
    assert "p.a { display:block !important }" in sheet(css)


def test_rules_for_phones_lose_where_they_did():
    css = "@media (max-width:600px){p{padding-left:16px !important}} .a{padding-left:0 !important}"
    assert style(css, '<p id="x" class="a">x</p>') == "padding-left:0 !important"
    css = "a:hover{color:blue} .b td a{color:white}"
    assert style(css, '<table class="b"><tr><td><a id="x">x</a></table>') == "color:white !important"
    css = "p{color:red} @media (max-width:600px){p{color:green}}"
    assert style(css, '<p id="x">x</p>') == "color:red"
    assert style(css, '<p id="x" style="color:blue">x</p>') == "color:blue !important"


def test_what_depends_on_the_reader_stays_and_insists():
    assert sheet(".a:hover{color:red} p::before{content:'x'}") == (
        ".a:hover { color:red !important } p::before { content:'x' !important }"
    )


def test_a_rule_for_everything_stays_and_does_not_insist():
    """Cerberus': worked into each element it would be longer than the newsletter."""
    assert sheet("*{color:red} p{color:blue}") == "* { color:red }"


def test_rules_for_what_mail_programs_add_stay_and_others_that_match_nothing_go():
    css = ".ExternalClass{width:100%} [data-ogsc] .a{color:white} u + .b .a{color:red} a[x-apple-data-detectors]{x:y}"
    assert sheet(css + ".unused{color:red}").count("{") == 4
    assert "unused" not in sheet(css + ".unused{color:red}")


@pytest.mark.parametrize(
    "rule",
    [
        "@font-face { font-family: x }",
        "@supports (display: grid) {\np { color:red !important }\n}",
        "@page { size: a4 }",
    ],
)
def test_at_rules_stay(rule):
    assert sheet(rule + "p{margin:0}") == " ".join(rule.split())


def test_charset_is_gone_and_selectors_nobody_knows_stay():
    assert sheet("@charset 'utf-8'; p:has(b){color:red} p::-x(1){y:z}") == (
        "p:has(b) { color:red !important } p::-x(1) { y:z !important }"
    )


@pytest.mark.parametrize("selector", ["p + p", "p ~ p", "p:last-child", "p:nth-of-type(2)"])
def test_rules_about_neighbours_stay_where_neighbours_may_be_missing(selector):
    body = '<p>y</p><p id="x">x</p>'
    assert style(f"{selector}{{color:red}}", body) == "color:red"
    assert style(f"{selector}{{color:red}}", body, varies=True) == ""
    assert sheet(f"{selector}{{color:red}}", body, varies=True) == f"{selector} {{ color:red !important }}"


def test_text_after_a_style_element_stays():
    root = lxml_html.document_fromstring("<body><style>p{color:red}</style>words<p>x</p></body>")
    inline_styles(root, varies=False)
    assert "words" in root.text_content()


def test_sheets_for_paper_are_left_alone():
    root = lxml_html.document_fromstring('<body><style media="print">p{color:red}</style><p>x</p></body>')
    inline_styles(root, varies=False)
    assert root.findtext(".//style") == "p{color:red}"
    assert root.find(".//p").get("style") is None


@pytest.mark.parametrize(
    "css", ["p{color:red", "}p{color:red}", "p{color}", "p{;;color:red;;}", "<!-- p{color:red} -->", "{}"]
)
def test_broken_sheets_do_no_harm(css):
    assert re.fullmatch(r"(color:red)?", style(css, '<p id="x">x</p>'))
