"""What authors are told about their messages: a good and a bad case of every rule."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from massmail.choices import Level, Rule, SignatureType
from massmail.composing import check
from massmail.composing.linting import MOST_ALIKE, Remark, lint, variables_needed
from massmail.composing.linting.wording import CLIPPED_AT
from massmail.models import EmailAccount, Message, Signature

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[2]
LINK = '<a href="{{ unsubscribe_url }}">Unsubscribe</a>'


def written(body: str = "<p>News</p>", **fields: Any) -> Message:
    texts = {"subject": "News of spring", "preheader": "What is new", "content": f"<p>Words</p>{body}\n<p>{LINK}</p>"}
    return Message(**{**texts, **fields})


def named(*names: str, **fields: Any) -> list[EmailAccount]:
    return [EmailAccount(from_name=name, name="Second", **fields) for name in names]


def said(message: Message, **options: Any) -> list[tuple[Rule, Level]]:
    return [(remark.rule, remark.level) for remark in lint(message, **options)]


def only(body: str = "<p>News</p>", **fields: Any) -> Remark:
    (remark,) = lint(written(body, **fields))
    return remark


def test_nothing_to_say():
    assert lint(written()) == []


# Addresses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("href", "rule", "level"),
    [
        ("/prices", Rule.RELATIVE_LINK, Level.ERROR),
        ("prices.html", Rule.RELATIVE_LINK, Level.ERROR),
        ("www.acme.example/prices", Rule.RELATIVE_LINK, Level.ERROR),
        ("//acme.example/", Rule.RELATIVE_LINK, Level.ERROR),
        ("http://acme.example/", Rule.INSECURE_LINK, Level.WARNING),
        ("HTTP://acme.example/{{ code }}", Rule.INSECURE_LINK, Level.WARNING),
        ("", Rule.BROKEN_LINK, Level.WARNING),
        ("#", Rule.BROKEN_LINK, Level.WARNING),
        ("#nowhere", Rule.BROKEN_LINK, Level.WARNING),
        ("https://", Rule.BROKEN_LINK, Level.ERROR),
        ("https://intranet/", Rule.BROKEN_LINK, Level.ERROR),
        ("http://localhost:8000/", Rule.BROKEN_LINK, Level.ERROR),
        ("https://acme .example/", Rule.BROKEN_LINK, Level.ERROR),
        ("https://[acme/", Rule.BROKEN_LINK, Level.ERROR),
        ("https://..example/", Rule.BROKEN_LINK, Level.ERROR),
        ("javascript:alert(1)", Rule.BROKEN_LINK, Level.ERROR),
        ("file:///C:/a.html", Rule.BROKEN_LINK, Level.ERROR),
        ("C:\\a.html", Rule.BROKEN_LINK, Level.ERROR),
        ("mailto:ann", Rule.BROKEN_LINK, Level.ERROR),
    ],
)
def test_links__bad(href, rule, level):
    remark = only(f'<p>\n<a href="{href}">Here</a></p>')
    assert (remark.rule, remark.level, remark.field, remark.line) == (rule, level, "content", 2)


@pytest.mark.parametrize(
    "href",
    [
        "https://acme.example/a?b=c#d",
        "https://bücher.example/",
        "https://acme.example/Price list.pdf",
        "https://acme.example:8443/{{ code }}",
        "https://{{ host }}/",
        "{{ link }}",
        "{% if vip %}https://acme.example/vip{% else %}https://acme.example/{% endif %}",
        "mailto:ann@acme.example?subject=Hi there",
        "mailto:{{ mail }}",
        "tel:+4930123",
        "#below",
    ],
)
def test_links__good(href):
    assert lint(written(f'<p><a href="{href}">Here</a></p><h2 id="below">Below</h2>')) == []


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("logo.png", Rule.RELATIVE_LINK),
        ("", Rule.BROKEN_LINK),
        ("http://acme.example/logo.png", Rule.INSECURE_LINK),
        ("data:image/png;base64,AAAA", Rule.EMBEDDED_IMAGE),
        ("file:///logo.png", Rule.BROKEN_LINK),
    ],
)
def test_addresses_of_images(source, rule):
    assert only(f'<img src="{source}" alt="Logo" width="10" height="10">').rule is rule


def test_addresses__of_backgrounds():
    assert lint(written('<table background=""><tr><td>a</td></tr></table>')) == []
    assert only('<table background="sky.png"><tr><td>a</td></tr></table>').rule is Rule.RELATIVE_LINK


@pytest.mark.parametrize(
    ("text", "href"),
    [
        ("www.bank.example", "https://other.example/"),
        ("https://bank.example/login", "https://bank.example.evil.example/login"),
        ("bank.com", "https://other.example/"),
        ("ann@bank.example", "mailto:eve@other.example"),
    ],
)
def test_link_text__is_another_address(text, href):
    remark = only(f'<a href="{href}"><b>{text}</b></a>')
    assert (remark.rule, remark.level) == (Rule.MISLEADING_LINK, Level.WARNING)
    assert text in remark.text
    assert href in remark.text


@pytest.mark.parametrize(
    ("text", "href"),
    [
        ("www.bank.example", "https://bank.example/login?x=y"),
        ("bank.com", "https://shop.bank.com/"),
        ("www.bücher.example", "https://xn--bcher-kva.example/"),
        ("Node.js", "https://nodejs.org/"),
        ("our shop", "https://other.example/"),
        ("ANN@bank.example", "mailto:ann@bank.example?subject=Hi"),
        ("www.bank.example", "{{ link }}"),
        ("{{ site }}", "https://other.example/"),
    ],
)
def test_link_text__is_its_address(text, href):
    assert lint(written(f'<a href="{href}">{text}</a>')) == []


# Images ---------------------------------------------------------------------------------------------------------------


def test_images__without_alt_or_size():
    message = written('<p>\n<img src="https://a.example/logo.png?x=1"></p>')
    no_alt, no_size = lint(message)
    assert (no_alt.rule, no_alt.line, no_size.rule, no_size.line) == (Rule.NO_ALT, 2, Rule.NO_SIZE, 2)
    assert "“logo.png”" in no_alt.text


@pytest.mark.parametrize(
    "attributes", ['width="10" height="5"', 'width="10"', 'style="width: 100%"', 'style="height: 5px"']
)
def test_images__with_a_size(attributes):
    assert lint(written(f'<img src="https://a.example/a.png" alt="" {attributes}>')) == []


def test_images__a_link_of_nothing_else():
    image = '<img src="https://a.example/a.png" width="10" alt="%s">'
    assert only(f'<a href="https://a.example/">{image % ""}</a>').rule is Rule.NO_ALT
    assert lint(written(f'<a href="https://a.example/">{image % "Shop"}</a>')) == []
    assert lint(written(f'<a href="https://a.example/">{image % ""} Shop</a>')) == []


def test_active_content():
    assert only("<form><p>a</p></form>").rule is Rule.ACTIVE_CONTENT
    assert "script" in only("<script>let a = 1</script>").text


# The link to unsubscribe ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        '<p style="visibility: hidden">{}</p>',
        '<p style="opacity:0.0">{}</p>',
        '<div style="opacity: .05"><p>{}</p></div>',
        '<p style="font-size: 0">{}</p>',
        '<p style="font-size:1px !important">{}</p>',
        '<p style="color: #fff"><span style="color: #FFFFFF">{}</span></p>',
        '<table bgcolor="#336699"><tr><td style="color: rgb(51, 102, 153)">{}</td></tr></table>',
        '<div style="max-height: 0; overflow: hidden">{}</div>',
        "<style>.faint, .faint a { color: white }</style><p class='faint'>{}</p>",
        "<style>a { font-size: 0 }</style><p>{}</p>",
    ],
)
def test_unsubscribing__hidden(body):
    message = written(content="<p>News</p>\n" + body.replace("{}", LINK))
    assert check(message) == []
    (remark,) = lint(message)
    assert (remark.rule, remark.level, remark.line) == (Rule.HIDDEN_UNSUBSCRIBE, Level.ERROR, 2)


@pytest.mark.parametrize(
    "body",
    [
        '<p style="visibility: hidden"><span style="visibility: visible">{}</span></p>',
        '<p style="font-size: 0"><span style="font-size: 14px">{}</span></p>',
        '<p style="color: #fff; background: #000">{}</p>',
        '<div style="background: url(https://a.example/a.png)"><p style="color: white">{}</p></div>',
        '<p style="color: {{ colour }}">{}</p>',
        '<p style="font-size: 0">{}</p><p>{}</p>',
        '<p style="color: #777">{}</p>',
        '<p style="opacity: 0.8; font-size: 0.8em">{}</p>',
    ],
)
def test_unsubscribing__to_be_seen(body):
    assert lint(written(content="<p>News</p>" + body.replace("{}", LINK))) == []


@pytest.mark.parametrize(
    "content",
    [
        f"<p>News</p><!-- {LINK} -->",
        f"<p>News</p><!--[if mso]>{LINK}<![endif]-->",
        f'<p>News</p><p style="display:none">{LINK}</p>',
        f"<style>.x {{ display: none }}</style><p>News</p><p class='x'>{LINK}</p>",
        f"<p>News</p>{{% comment %}}{LINK}{{% endcomment %}}",
    ],
)
def test_unsubscribing__what_check_refuses_already(content):
    assert check(written(content=content)) != []


# Words ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "rule"),
    [
        ("{{ name }}", Rule.EMPTY_SUBJECT),
        ("a" * 71, Rule.LONG_SUBJECT),
        ("Dear {{ first_name }}, " + "a" * 60, Rule.LONG_SUBJECT),
        ("GREAT NEWS FOR YOU", Rule.SHOUTING),
        ("ВЕЛИКИЕ НОВОСТИ", Rule.SHOUTING),
        ("Great news!!!", Rule.SHOUTING),
        ("Really ? !", Rule.SHOUTING),
        ("ne\u200bws", Rule.DISGUISE),
        ("\u202eswen", Rule.DISGUISE),
        ("P\u0430ypal has news", Rule.DISGUISE),
    ],
)
def test_subject__bad(subject, rule):
    remark = only(subject=subject)
    assert (remark.rule, remark.level, remark.field) == (rule, Level.WARNING, "subject")


@pytest.mark.parametrize(
    "subject",
    [
        "News for {{ first_name }}!",
        "a" * 70,
        "ISO 9001 at IBM",
        "नमस्ते क्\u200dष",
        "👩\u200d💻 at work",
        "Привет, Ann",
        "新しいお知らせ",
    ],
)
def test_subject__good(subject):
    assert lint(written(subject=subject)) == []


def test_preheader():
    remark = only(preheader="")
    assert (remark.rule, remark.field) == (Rule.NO_PREHEADER, "preheader")


def test_names_of_senders():
    assert lint(written(), senders=named("Ann Lee", "Анна", "")) == []
    remarks = lint(written(), senders=named("Ann\u202e", "Ann\u202e", "P\u0430ypal"))
    assert [(each.rule, each.field) for each in remarks] == [(Rule.DISGUISE, "")] * 2
    assert "\u202e" not in remarks[0].text


def test_plain_text__without_words():
    image = '<img src="https://a.example/a.png" alt="" width="600">'
    assert only(content=f"{image}<p>{LINK}</p>").rule is Rule.NO_TEXT
    remark = only(plain_text="* * *\n{{ unsubscribe_url }}")
    assert (remark.rule, remark.field) == (Rule.NO_TEXT, "plain_text")
    assert lint(written(plain_text="News\n{{ unsubscribe_url }}")) == []
    assert lint(written(content=image.replace('alt=""', 'alt="News"') + LINK)) == []
    assert lint(written(content=f'<a href="https://a.example/">Prices</a>{LINK}')) == []
    assert only(content=f"{{% if a %}}{{% endif %}}{LINK}").rule is Rule.NO_TEXT


def test_sizes():
    assert only("<p>" + "a " * (CLIPPED_AT // 2) + "</p>").rule is Rule.CLIPPED
    assert lint(written("<p>" + "a " * (CLIPPED_AT // 2 - 500) + "</p>")) == []


def test_sizes__over_what_an_account_takes():
    words = "x" * 3_000
    assert lint(written(f"<p>{words}</p>"), senders=named("Ann", size_limit=20_000)) == []
    assert lint(written(f"<p>{words}</p>"), senders=named("Ann", size_limit=None)) == []
    large = written(f"<p>{words * 250}</p>", plain_text="News")
    remark, clipped = lint(large, senders=named("Ann", size_limit=500_000))
    assert clipped.rule is Rule.CLIPPED
    assert (remark.rule, remark.stops) == (Rule.TOO_LARGE, True)
    assert "0.8 MB" in remark.text
    assert "“Second” takes 0.5 MB" in remark.text


@pytest.mark.parametrize(
    ("fields", "field", "line"),
    [
        ({"subject": "News of [your company]"}, "subject", 1),
        ({"content": f"<p>[Your company],\n[YOUR street and town]</p>{LINK}"}, "content", 1),
        ({"plain_text": "Hello\n[ your words ]"}, "plain_text", 2),
    ],
)
def test_leftovers_of_a_template(fields, field, line):
    remark = lint(written(**fields))[0]
    assert (remark.rule, remark.stops, remark.field, remark.line) == (Rule.LEFTOVER, True, field, line)


def test_leftovers__not_what_people_write():
    assert lint(written("<p>[1] [yours] [your] See [below]. <a href='https://a.example/'>Your company</a></p>")) == []


@pytest.mark.parametrize("host", ["example.com", "www.example.org", "EXAMPLE.net"])
def test_leftovers__addresses_that_are_nobodys(host):
    remark = only(f'<a href="https://{host}/x">Look</a>')
    assert (remark.rule, remark.stops) == (Rule.LEFTOVER, False)
    assert lint(written('<a href="https://example.com.acme.example/">Look</a>')) == []


def test_sizes__of_the_whole_mail(monkeypatch):
    message = written("<p>" + "a" * 1000 + "</p>")
    assert lint(message) == []
    monkeypatch.setattr("massmail.composing.linting.wording.LARGEST_MAIL", 1500)
    assert only("<p>" + "a" * 1001 + "</p>").rule is Rule.TOO_LARGE


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("Dear *|FNAME|*", Level.ERROR),
        ("Dear %%FIRST NAME%%", Level.ERROR),
        ("Dear %recipient.name%", Level.ERROR),
        ("Dear <%= name %>", Level.ERROR),
        ("Dear [[name]]", Level.WARNING),
        ("Dear ${user.name}", Level.WARNING),
    ],
)
def test_foreign_syntax(text, level):
    remark = only(
        f"<p>a</p>\n<p>{text.replace('<', '&lt;')}</p>" if "<" not in text else "<p>a</p>",
        plain_text=f"a\n{text} {{{{ unsubscribe_url }}}}" if "<" in text else "",
    )
    assert (remark.rule, remark.level, remark.line) == (Rule.FOREIGN_SYNTAX, level, 2)


@pytest.mark.parametrize("text", ["{{#each items}}", "{{/each}}", "{{{name}}}", "{{> footer}}"])
def test_foreign_syntax__that_is_no_template_either(text):
    message = written(f"<p>a</p>\n<p>{text}</p>")
    assert check(message) != []
    assert (Rule.FOREIGN_SYNTAX, Level.ERROR) in said(message)


def test_foreign_syntax__is_normal_in_style_sheets_and_prices():
    assert lint(written("<style>p { width: 50%% } /* [[a]] ${b} */</style><p>50%, 100% more, 5 || 6, a[1]</p>")) == []


# Conditions and holes -------------------------------------------------------------------------------------------------


def test_branches__that_only_a_certain_value_reaches():
    message = written(
        '<p>{% if kind == "vip" %}\n{% for a, b in name %}x{% endfor %}{% elif kind == "new" %}a'
        "{% else %}b{% endif %}</p>"
    )
    assert check(message) == []
    assert lint(message) == []  # may be a list of pairs
    message = written('<p>{% if kind == "vip" %}\n{% for x in n %}{{ x.0|add:x }}{% endfor %}{% endif %}</p>')
    assert lint(message) == []


def test_branches__failing():
    message = written('<p>a\n{% if kind == "vip" and name %}{{ name|floatformat:"99" }}{% endif %}</p>')
    assert check(message) == []
    (remark,) = lint(message)
    assert (remark.rule, remark.level, remark.line) == (Rule.FAILING_BRANCH, Level.ERROR, 2)
    assert "“vip”" in remark.text


@pytest.mark.parametrize(
    ("body", "needed"),
    [
        ("{{ a }}", {"a"}),
        ("{{ a|upper }} {{ b|default:'x' }} {{ c|default_if_none:a }}", {"a"}),
        ("{% if a %}Dear {{ a }} {{ b }}{% else %}Hello {{ c }}{% endif %}", {"b", "c"}),
        ("{% if a and not b == 'x' %}{{ a }}{{ b }}{% endif %}{{ b }}", {"b"}),
        ("{% for each in a %}{{ each }} {{ forloop.counter }} {{ b }}{% endfor %}", {"b"}),
        ("{% with x=a %}{{ x }}{% endwith %}{% firstof a b 'c' %}", set()),
        ("{% comment %}{{ a }}{% endcomment %}", set()),
    ],
)
def test_variables_needed(body, needed):
    assert variables_needed(written(f"<p>{body}</p>")) == needed


def test_variables_needed__of_all_texts():
    signature = Signature(type=SignatureType.PLAIN, content="{{ d }}")
    message = written("<p>{{ a }}</p>", subject="{{ b }}", preheader="{{ c }}", signature=signature)
    assert variables_needed(message) == {"a", "b", "c", "d"}


# All together ---------------------------------------------------------------------------------------------------------


def test_errors_come_first_and_the_like_are_counted():
    body = '<img src="https://a.example/a.png" alt="">' * (MOST_ALIKE + 3) + '<a href="/x">Here</a>'
    body = body.replace("a.png", "%d.png")
    for number in range(MOST_ALIKE + 3):
        body = body.replace("%d", str(number), 1)
    remarks = lint(written(body))
    assert [each.rule for each in remarks] == [Rule.RELATIVE_LINK, *[Rule.NO_SIZE] * MOST_ALIKE]
    assert "3 more" in remarks[-1].text


def test_signature__with_its_own_lines():
    signature = Signature(type=SignatureType.HTML, content='<p>Yours</p>\n<a href="/x">Shop</a>')
    remark = only(signature=signature)
    assert (remark.rule, remark.field, remark.line) == (Rule.RELATIVE_LINK, "signature", 2)


def test_unreadable__says_what_can_be_said():
    message = written('<a href="/x">a</a>{% load x %}')
    assert check(message) != []
    assert (Rule.RELATIVE_LINK, Level.ERROR) in said(message)


def test_computed_once_per_change(monkeypatch):
    message = written("<p>Computed once</p>")
    lint(message)
    monkeypatch.setattr("massmail.composing.linting.RULES", (lambda draft: pytest.fail("again"),))
    assert lint(message) == []


WORDS = (
    "< > </ a img p td style href src alt width = \" ' # / : ; { } {{ }} {% %} x if endif == for in endfor comment "
    "style= color opacity font-size 0 px https:// [ ] . mailto: @ % %% *| |* ${ <!-- --> <![CDATA[ \n \0 \u202e é "
    "\U0001d4b3 &#x0; unsubscribe_url"
)
PIECES = st.sampled_from(re.split(" ", WORDS))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES | st.text(max_size=5), max_size=40).map("".join), st.booleans())
def test_never_raises(text, is_signature):
    signature = Signature(type=SignatureType.HTML, content=text) if is_signature else None
    message = written("" if is_signature else text, subject=text, preheader=text, signature=signature)
    for remark in lint(message, senders=named(text)):
        assert remark.text
        assert remark.remedy


def test_every_rule_is_documented():
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/messages.md").read_text(), re.MULTILINE)
    assert listed == [rule.value for rule in Rule]
