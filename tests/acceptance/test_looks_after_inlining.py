"""Messages look in a browser as they were written, though their styles moved into the elements."""

from __future__ import annotations

import re
from typing import Any

import pytest

from massmail.composing.starters import STARTERS
from tests import newsletters

pytestmark = [pytest.mark.browser, pytest.mark.django_db]

#: What other people's newsletters are made of, and inliners lose: see `tests.corpora`.
CONSTRUCTS = """<!DOCTYPE html><html><head><style>
* { -webkit-text-size-adjust: 100%; font-family: sans-serif }
body, .body { background: #f3f3f3 !important; margin: 0 }
table { text-align: left; border-collapse: collapse; width: 100% }
td { padding: 0; vertical-align: top }
p { margin: 0 0 10px; color: #0a0a0a }
p.lead { margin: 0; margin-bottom: 30px; font-size: 20px }
h1, h2 { margin: 0; color: inherit }
h2 { margin-bottom: 12px }
.container { margin: 0 auto; width: 580px; background: #fefefe }
.columns { padding: 16px; background: #ddd; background: linear-gradient(white, #ddd) }
.columns .columns { padding-left: 0 !important; padding-right: 0 !important }
.button td { background: #2199e8; padding: 8px 16px }
a:link { color: purple }
.button td a { color: #fefefe; text-decoration: none }
.hide-for-large { display: none !important; max-height: 0 }
td + td { border-left: 4px solid green }
tr:last-child td { border-bottom: 2px dashed }
@media only screen and (max-width: 596px) {
  .container { width: 95% !important }
  .columns { display: block !important; width: auto !important; padding-left: 16px !important }
  p { color: #444 }
  .hide-for-large.shown { display: block !important; max-height: none !important }
  .float { float: none !important; display: block }
}
</style></head><body><center><style>.late { color: red; letter-spacing: 2px }</style> after the style
<table class="container" align="center"><tr><td class="columns"><h1>Heading</h1><p class="lead">Lead</p>
<p style="margin: 0; color: green">Own style</p><h2>Second</h2><p class="late">Late</p>
<table align="left" width="200"><tr><td class="columns">One</td><td class="columns">Two</td></tr></table>
<table class="button"><tr><td><a href="https://example.com/">Click</a></td></tr></table>
<div class="hide-for-large shown">Phones only</div><img class="float" align="right" width="40" height="40" alt="Logo">
</td></tr><tr><td>{% if vip %}Very{% endif %}Important</td></tr></table></center></body></html>"""
SOURCES = {each.name: re.sub(r"{% cid_media .*?%}", "cid:x", each.content) for each in STARTERS} | {
    "constructs": newsletters.with_tags(newsletters.adapted(CONSTRUCTS))
}


@pytest.mark.parametrize("name", SOURCES)
def test_looks_the_same_before_and_after(browser: Any, name: str) -> None:
    viewer, source = newsletters.Viewer(browser=browser), SOURCES[name]
    assert not newsletters.complaint_of(source, tags=newsletters.TAGS if name == "constructs" else ())
    page = newsletters.sent(source)
    assert "style=" in page
    for width in newsletters.WIDTHS:
        assert viewer.difference(newsletters.filled(source), page, width) <= newsletters.TOLERANCE


def test_differences_are_seen(browser: Any) -> None:
    viewer = newsletters.Viewer(browser=browser)
    assert viewer.difference("<p>One</p>", "<p style='margin-left: 4px'>One</p>", 390) > newsletters.TOLERANCE / 2
