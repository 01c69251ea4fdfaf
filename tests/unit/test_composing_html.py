"""One document: inlined CSS, the tags where they were, and the text alternative."""

import re
import socket

import pytest
from django.template import Context, Engine
from lxml import html as lxml_html

from massmail.composing import check, inlining, prepare, preview
from massmail.composing.preparing import _composed
from massmail.composing.types import Links
from massmail.models import Message, Signature

LINK = '<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p>'
LINKS = Links(unsubscribe="https://news.example.com/u/abc?a=1&b=2")

NEWSLETTER = """<!DOCTYPE html>
<html><head><title>News for {{ first_name }}</title>
<style>
  body { font-family: Arial, sans-serif }
  .lead { color: #333333; font-size: 18px }
  td { padding: 4px; color: {{ colour }} }
  td.price { text-align: right }
  a.button { background-color: #0066cc; color: white !important }
  a.button:hover { background-color: #004499 }
  @media (max-width: 600px) { .lead { font-size: 14px !important } td { padding: 1px !important } }
</style></head>
<body>
<h1 class="lead">Dear {% if title %}{{ title }} {% endif %}{{ first_name|default:"customer" }},</h1>
{% if products %}
<table>
<tr><th>Product</th><th>Price</th></tr>
{% for product in products %}
  <tr><td title="{{ product.name|default:"none" }}">{{ product.name }}</td>
  <td class="price">{{ product.price }}</td></tr>
  {% if product.note %}<tr><td colspan="2">{{ product.note }}</td></tr>{% endif %}
{% endfor %}
</table>
{% else %}<p class="lead">Nothing new.</p>{% endif %}
<p {% if vip %}title="VIP"{% endif %}>{% if low < high %}cheap{% endif %}</p>
<p><a class="button" href="https://acme.example/?who={{ first_name|urlencode }}&amp;x=1">Look</a>
<a href="{{ unsubscribe_url }}">Unsubscribe</a></p>
</body></html>
"""

VALUES = {
    "first_name": "Zoë <Ann>",
    "colour": "red",
    "low": 1,
    "high": 2,
    "vip": True,
    "products": [{"name": "A & B", "price": "1.50", "note": "new"}, {"name": "C", "price": "2"}],
}


def message(content: str = "", **fields: object) -> Message:
    return Message(**{"subject": "News", "content": content + LINK, **fields})


def text_of(content: str, **values: object) -> str:
    return preview(prepare(message(content)), values=values, links=LINKS).text.replace(
        "Unsubscribe <https://news.example.com/u/abc?a=1&b=2>\n", "[link]\n"
    )


def tree(source: str) -> list[object]:
    """Elements, attributes and texts of a page; white space between elements does not count."""
    return [
        (
            element.tag,
            sorted(element.attrib.items()),
            " ".join((element.text or "").split()),
            (element.tail or "").strip(),
        )
        for element in lxml_html.document_fromstring(source).iter()
    ]


@pytest.mark.parametrize("values", [VALUES, {**VALUES, "products": []}, {**VALUES, "vip": False, "title": "Dr"}])
def test_inlining_then_rendering_is_rendering_then_inlining(values):
    inlined_first = preview(prepare(message(NEWSLETTER[: -len("</body></html>\n")])), values=values, links=LINKS).html
    page = NEWSLETTER[: -len("</body></html>\n")] + LINK
    plain_engine = Engine()
    filled = plain_engine.from_string(page).render(Context({**values, "unsubscribe_url": LINKS.unsubscribe}))
    root = lxml_html.document_fromstring(filled)
    inlining.inline_styles(root, varies=True)
    rendered_first = lxml_html.tostring(root, encoding="unicode", doctype="<!DOCTYPE html>")
    assert tree(inlined_first) == tree(rendered_first)
    assert "font-size:18px" in inlined_first
    assert ("padding:4px" in inlined_first) == bool(values["products"])


def test_media_queries_keep_important_and_hover_stays():
    html = prepare(message(NEWSLETTER)).html
    sheet = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert re.search(r"@media .*font-size:14px !important", sheet, re.DOTALL)
    assert "a.button:hover" in sheet
    assert "color:white !important" in html


def test_without_style_sheet_nothing_is_restyled():
    html = prepare(message('<p style="color : red">x</p>')).html
    assert '<p style="color : red">x</p>' in html


def test_a_fragment_becomes_a_page_and_loose_text_stays_loose():
    html = prepare(message("{% if x %}Hello{% endif %} you")).html
    assert html.startswith("<!DOCTYPE html>")
    assert "<body>{% if x %}Hello{% endif %} you<p>" in html


def test_what_follows_the_end_of_the_page_still_belongs_to_it():
    prepared = prepare(message("<html><body><p>a</p></body></html>\n<p>b</p>"))
    assert "<p>b</p>" in prepared.html
    assert prepared.html.endswith("</body></html>")


def test_xhtml_prolog_and_other_scripts():
    page = '<?xml version="1.0" encoding="utf-8"?>\n<html><body>Привіт 你好 😀&nbsp;{{ x }}' + LINK + "</body></html>"
    result = preview(prepare(Message(subject="s", content=page)), values={"x": "ß"}, links=LINKS)
    assert "Привіт 你好 😀\xa0ß" in result.html
    assert "Привіт 你好 😀 ß" in result.text


def test_outlook_comments_survive():
    assert "<!--[if mso]><b>{{ x }}</b><![endif]-->" in prepare(message("<!--[if mso]><b>{{ x }}</b><![endif]-->")).html


def test_inlining_never_reaches_for_the_network(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("network")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    css = '@import url("http://127.0.0.1:9/a.css"); @\\69mport "http://127.0.0.1:9/b.css"; p{color:red}'
    root = lxml_html.document_fromstring(
        f'<style>{css}</style><link rel="stylesheet" href="http://127.0.0.1:9/c.css"><p>x</p>'
    )
    inlining.inline_styles(root, varies=False)
    assert root.find(".//p").get("style") == "color:red"


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ('\n<link rel="stylesheet" href="https://x.example/a.css">', 2, "<link>"),
        ("\n\n<style>@import 'a.css';</style>", 3, "@import"),
        ("<style>@\\69mport 'a.css';</style>", 1, "\\69mport"),
        ("<style>.a{color:red}</style>\n<p class='{{ x }}'>x</p>", 2, "{{ x }}"),
        ("<style>.a{color:red}</style>\n<p {% if x %}class='a'{% endif %}>x</p>", 2, "{% if x %}"),
        ("<style>.a{color:red}\n{% if x %}p{color:red}{% endif %}</style><p>x</p>", 2, "{% if x %}"),
        ("<style>p{color:red}</style>\n<p style='{{ x }}'>x</p>", 2, "{{ x }}"),
        ("<style>p{color:red}</style>" + "<p>x</p>" * 30_000, None, "200 kB"),
        ("<div>" * 400, None, "nest"),
    ],
)
def test_what_cannot_be_inlined_is_refused_with_its_line(content, line, words):
    (problem,) = check(message(content))
    assert problem.field == "content"
    assert problem.line == line
    assert words in str(problem)


def test_sheets_marked_to_be_ignored_are_left_alone():
    sheet = '<style data-premailer="ignore">@font-face{font-family:x}</style>'
    html = prepare(message(sheet + "<style>p{color:red}</style><p>x</p>")).html
    assert "<style>@font-face{font-family:x}</style>" in html
    assert '<p style="color:red">x</p>' in html
    assert "data-premailer" not in prepare(message(sheet)).html


@pytest.mark.parametrize(
    "content",
    [
        "<p>Hello</p>",
        "<p>{{ unsubscribe_url }}</p>",
        '<!-- <a href="{{ unsubscribe_url }}">x</a> -->',
        '{% if x %}<a href="{{ unsubscribe_url }}">x</a>{% endif %}',
        '{% for y in x %}<a href="{{ unsubscribe_url }}">x</a>{% endfor %}',
        '{% comment %}<a href="{{ unsubscribe_url }}">x</a>{% endcomment %}',
        '<div style="Display : None"><a href="{{ unsubscribe_url }}">x</a></div>',
        '<style>.h{display:none}</style><div class="h"><a href="{{ unsubscribe_url }}">x</a></div>',
        '<img src="{{ unsubscribe_url }}">',
        '<a href="{{ unsubscribe_urls }}">x</a>',
        '<a href="{{ unsubscribe_url }}"></a>',
        '<a href="{{ unsubscribe_url }}"> &nbsp;&#8203;<!-- x --><style>p{}</style></a>',
        '<a href="{{ unsubscribe_url }}"><img src="https://x.example/a.png"></a>',
        '<a href="{{ unsubscribe_url }}"><img src="https://x.example/a.png" alt=" "></a>',
        '<a href="{{ unsubscribe_url }}"><span style="display:none">x</span></a>',
        '<a href="{{ unsubscribe_url }}">{% if x %}x{% endif %}</a>',
        '<a href="{{ unsubscribe_url }}">{{ label }}</a>',
        '<a href="http://evil.example/?{{ unsubscribe_url }}">x</a>',
        '<a href="{{ unsubscribe_url }}?a=b">x</a>',
        '<a href="{{ unsubscribe_url|cut:1 }}">x</a>',
        '<a href="{{ unsubscribe_url }}{{ unsubscribe_url }}">x</a>',
        '<a href="https://x.example/unsubscribe_url">x</a>',
        "",
    ],
)
def test_a_message_without_a_sure_link_to_unsubscribe(content):
    (problem,) = check(Message(subject="s", content=content))
    assert problem.field == "content"
    assert 'href="{{ unsubscribe_url }}"' in str(problem)


@pytest.mark.parametrize(
    "link",
    [
        '<a href="{{unsubscribe_url}}">x</a>',
        "<A HREF='{{ unsubscribe_url }}'>x</A>",
        "<a href={{unsubscribe_url}}>x</a>",
        '{% with x=1 %}<a href="{{ unsubscribe_url }}">x</a>{% endwith %}',
        '{% if x %}{% endif %}<a href="{{ unsubscribe_url }}">x</a>',
        '<a href="\n {{unsubscribe_url  }} ">x</a>',
        '<a href="{{ unsubscribe_url }}"><img src="https://x.example/a.png" alt="Unsubscribe"></a>',
        '<a href="{{ unsubscribe_url }}"><b>{% if x %}x{% endif %} y</b></a>',
        '<a href="{{ unsubscribe_url }}">{{ unsubscribe_url }}</a>',
        '<map name="m"><area href="{{ unsubscribe_url }}" alt="Unsubscribe"></map>',
        '<a href="{{ unsubscribe_url }}"></a><a href="{{ unsubscribe_url }}">x</a>',
    ],
)
def test_links_to_unsubscribe(link):
    assert check(Message(subject="s", content=link)) == []


def test_the_line_of_a_link_that_is_none():
    (problem,) = check(Message(subject="s", content='Hi\n<a href="http://evil.example/?{{ unsubscribe_url }}">x</a>'))
    assert (problem.field, problem.line) == ("content", 2)
    assert "Nothing else may stand in its href" in str(problem)


def rules(number: int, template: str = ".a%d{margin:0;padding:1px}") -> str:
    return "<style>" + "".join(template % index for index in range(number)) + "</style>"


@pytest.mark.parametrize(
    "content",
    [
        rules(3000) + "<p>x</p>" * 500,
        rules(3000) + "<p>x</p>",
        rules(20, "p~p+p{margin:%dpx}") + "<p>x</p>" * 700,
        rules(60, "div div div div p{margin:%dpx}") + "<div>" * 150 + "<p>x</p>" * 700 + "</div>" * 150,
        rules(900, "p{margin:%dpx}") + "<p>x</p>" * 500,
        rules(900, "p:hover{margin:%dpx}") + "<p>x</p>" * 500,
        "<style>" + "/* " * 30_000 + "p{margin:0}</style>" + rules(3000) + "<p>x</p>",
    ],
)
@pytest.mark.timeout(30)
def test_style_sheets_that_would_take_seconds(content):
    (problem,) = check(message("\n" + content))
    assert (problem.field, problem.line) == ("content", 2)
    assert "too many rules" in str(problem)


def test_style_sheets_of_a_long_newsletter():
    sheet = rules(20) + rules(10, "table td.a%d > a[title~='x']{margin:0;padding:1px;color:red}")
    rows = "".join(f"<tr><td class=a{index % 30}><p class=a{index % 20}>x</p></td></tr>" for index in range(500))
    assert check(message(f"{sheet}<table>{rows}</table>")) == []


def test_styles_are_worked_in_once_for_the_same_texts(monkeypatch):
    _composed.cache_clear()
    runs = []
    inline = inlining.inline_styles
    monkeypatch.setattr(inlining, "inline_styles", lambda *args, **options: runs.append(1) or inline(*args, **options))
    draft = message("<style>p{color:red}</style><p>{{ x }}</p>")
    assert check(draft) == []
    first = prepare(draft)
    assert check(message("<style>p{color:red}</style><p>{{ x }}</p>", subject="Other")) == []
    assert len(runs) == 1
    draft.content += "!"
    assert prepare(draft) != first
    draft.signature = Signature(content="a < b", type="plain")
    plain = prepare(draft).html
    draft.signature = Signature(content="a < b", type="html")
    assert prepare(draft).html != plain
    assert len(runs) == 4
    assert _composed.cache_info().maxsize == 8


def test_the_link_may_stand_in_the_signature():
    draft = Message(subject="s", content="Hi", signature=Signature(content=LINK))
    assert check(draft) == []
    assert "Unsubscribe <https" in preview(prepare(draft), values={}, links=LINKS).text


def test_signature_comes_before_the_end_of_the_body_with_its_styles():
    signature = Signature(content="Loose {{ x }}<style>.s{color:blue}</style><p class='s'>Acme</p>tail")
    html = prepare(message("<html><body><p>a</p>", signature=signature)).html
    assert 'Loose {{ x }}<p class="s" style="color:blue">Acme</p>tail</div></body></html>' in html


def test_preheader_is_the_hidden_first_element_and_not_in_the_text():
    draft = message("First text", preheader="Only <today> {{ x }}")
    result = preview(prepare(draft), values={"x": "&"}, links=LINKS)
    assert re.search(r'<body><div style="display:none[^"]*">Only &lt;today&gt; &amp;</div>First text', result.html)
    assert "today" not in result.text


TEXTS = [
    ("<p>a</p><p>b</p>", "a\n\nb\n\n[link]\n"),
    ("<h1>Head</h1>text<br>line<div>x</div><div>y</div>", "Head\n\ntext\nline\nx\ny\n\n[link]\n"),
    ("<ul><li>a<li><p>b</p><ul><li>c</ul></ul>", "- a\n- b\n\n  - c\n\n[link]\n"),
    ("<ol><li>a</li><li>b</li></ol>", "1. a\n2. b\n\n[link]\n"),
    ("<ol>{% for x in xs %}<li>{{ x }}</li>{% endfor %}</ol>", "- 1\n- 2\n\n[link]\n"),
    ("<p>x</p><ul>\n{% for x in xs %}\n<li>{{ x }}</li>\n{% endfor %}\n</ul>", "x\n\n- 1\n- 2\n\n[link]\n"),
    ("<p>{% for x in xs %}{{ x }}, {% endfor %}</p>", "1, 2, \n\n[link]\n"),
    ("<p>Dear {% if no %}Sir{% else %}Madam{% endif %},</p>", "Dear Madam,\n\n[link]\n"),
    ("<p>Dear {% if yes %}Sir{% else %}Madam{% endif %},</p>", "Dear Sir,\n\n[link]\n"),
    ("<p>a {% if yes %}b {% else %} c{% endif %}d</p>", "a b d\n\n[link]\n"),
    ("<p>a</p>{% if no %}<p>b</p>{% endif %}<p>c</p>", "a\n\nc\n\n[link]\n"),
    ("<p>a</p>{% if yes %}<p>b</p>{% else %}<p>x</p>{% endif %}<p>c</p>", "a\n\nb\n\nc\n\n[link]\n"),
    ("<p>a</p><p>{% if no %}b{% else %}c{% endif %}</p>", "a\n\nc\n\n[link]\n"),
    ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a  b\nc\n\n[link]\n"),
    ("<table><tr><th>a<th>b</tr><tr><td>c<td>d</tr></table>", "a | b\nc | d\n\n[link]\n"),
    ("<table>{% for x in xs %}<tr><td>{{ x }}</td><td>y</td></tr>{% endfor %}</table>", "1  y\n2  y\n\n[link]\n"),
    ("<a href='https://x.example/'>x</a>", "x <https://x.example/>\n\n[link]\n"),
    ("<a href='https://x.example/'>https://x.example/</a>", "https://x.example/\n\n[link]\n"),
    ("<a href='mailto:a@x.example'>a@x.example</a> <a href='mailto:a@x.example'>me</a>",
     "a@x.example me <a@x.example>\n\n[link]\n"),
    ("<a href='#top'>up</a>", "up\n\n[link]\n"),
    ("<a href='https://x.example/'><img src='x' alt='Logo'></a>", "Logo <https://x.example/>\n\n[link]\n"),
    ("<a href='{{ url }}'>{{ name }}</a>", "A&B <https://y.example/?a&b>\n\n[link]\n"),
    ("<pre>a\n  b {{ name }}\n</pre>", "a\n  b A&B\n\n[link]\n"),
    ("a<hr>b", "a\n\n----------------------------------------\n\nb\n\n[link]\n"),
    ("<style>p{}</style><script>x</script><p style='display:none'>x</p>a<!-- b -->c", "ac\n\n[link]\n"),
    ("<p>a{# note #} b{% comment %} x {% endcomment %} c</p>", "a b c\n\n[link]\n"),
    ("<p>Tom &amp; Jerry &lt;3&nbsp;{{ name }}</p>", "Tom & Jerry <3 A&B\n\n[link]\n"),
    ("\n  <div>\n  <div>\n a\n  b </div></div>", "a b\n\n[link]\n"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "text"), TEXTS)
def test_text_alternative(content, text):
    values = {"xs": [1, 2], "yes": True, "no": False, "name": "A&B", "url": "https://y.example/?a&b"}
    assert text_of(content, **values) == text


def test_text_written_by_hand_is_kept_and_gets_the_link_if_it_has_none():
    written = "Hi {{ name }},\r\n\r\n\r\n\r\n  as you like it & more\r\n"
    result = preview(prepare(message(plain_text=written)), values={"name": "A&B"}, links=LINKS)
    assert result.text == (
        "Hi A&B,\n\n\n\n  as you like it & more\n\nUnsubscribe: https://news.example.com/u/abc?a=1&b=2\n"
    )
    own = "Stop: {{ unsubscribe_url }}"
    assert preview(prepare(message(plain_text=own)), values={}, links=LINKS).text == f"Stop: {LINKS.unsubscribe}"
    conditional = "{% if x %}{{ unsubscribe_url }}{% endif %}"
    assert LINKS.unsubscribe in preview(prepare(message(plain_text=conditional)), values={}, links=LINKS).text


def composed(content: str, **values: object) -> tuple[str, str]:
    found = preview(prepare(message(content)), values=values, links=LINKS)
    return found.html, found.text


def test_comments__leave_nothing_behind():
    html, text = composed("<table>{% comment %}<tr><td>old{% if %}{% endcomment %}<tr><td>new</table>")
    assert "<body><table><tr><td>new</td></tr></table><p><a" in html
    assert text.startswith("new")


def test_addresses__spaces_around_them_are_not_sent():
    html, text = composed("""<p><a href=" https://acme.example/a b?x=1 ">Look</a></p>""")
    assert 'href="https://acme.example/a%20b?x=1"' in html
    assert "Look <https://acme.example/a%20b?x=1>" in text


def test_addresses__of_mailboxes_stand_in_the_text_by_themselves():
    assert "Write <ann@acme.example>" in composed('<a href="mailto:ann@acme.example?subject=News now">Write</a>')[1]


def test_a_byte_order_mark_is_no_text():
    letter = Message(subject="News", content=f"\ufeff<p>x</p>{LINK}")
    assert "\ufeff" not in preview(prepare(letter), values={}, links=LINKS).html


def test_an_image_of_one_pixel_is_no_link_to_unsubscribe():
    link = '<a href="{{{{ unsubscribe_url }}}}"><img src="https://acme.example/u.png" alt="Unsubscribe" width="{}"></a>'
    refused = [bool(check(Message(subject="News", content=link.format(width)))) for width in ("1", "1px", "200")]
    assert refused == [True, True, False]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ first_name <b>and</b> {{ company }}", "The {{ before “first_name” has no }}. Close it."),
        ("{{#each articles}}", "“{{#each articles}}” is a placeholder of another program."),
        ("{{ first name }}", "“first name” cannot be read. Write one name without spaces"),
        ("{% if first_name | %}x{% endif %}", "cannot be read. Write one name without spaces"),
    ],
)
def test_errors__of_braces_say_what_to_do(text, words):
    assert words in str(check(message(text))[0])
