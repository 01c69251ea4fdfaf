"""What a check finds before anybody gets the message: failures for everybody, halves of placeholders, signatures."""

import re

import pytest

from massmail.composing import check, check_signature, prepare
from massmail.exceptions import CompositionError
from massmail.models import Message, Signature

LINK = '<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p>'


def message(content: str = "", **fields: object) -> Message:
    """A message nobody has saved."""
    return Message(**{"subject": "News", "content": content + LINK, **fields})


NESTED = "".join(f"{{% for x{number} in first_name %}}" for number in range(12)) + "x" + "{% endfor %}" * 12


@pytest.mark.parametrize(
    ("field", "source", "line", "words"),
    [
        ("content", "\n\n{{ first_name|floatformat:99999999 }}", 3, "20 decimal places"),
        ("content", "\n{% if first_name %}{% else %}{{ 1|floatformat:99 }}{% endif %}", 2, "20 decimal places"),
        ("content", "\n" + NESTED, 2, "repeats too often"),
        ("content", "\n{{ first_name|join:7 }}", 2, "could not be filled in"),
        ("subject", "{{ first_name|cut:7 }}", 1, "could not be filled in"),
        ("preheader", "{{ first_name|cut:7 }}", 1, "could not be filled in"),
        ("plain_text", "\n{{ first_name|cut:7 }}", 2, "could not be filled in"),
        ("signature", "\n{{ first_name|cut:7 }}", 2, "could not be filled in"),
    ],
)
@pytest.mark.parametrize("variables", [None, ["first_name"]])
def test_t3__what_fails_for_everybody_fails_when_checked(field, source, line, words, variables):
    draft = message(source) if field == "content" else message()
    if field == "signature":
        draft.signature = Signature(content=source)
    elif field != "content":
        setattr(draft, field, source)
    (problem,) = check(draft, variables=variables)
    assert (problem.field, problem.line) == (field, line)
    assert words in str(problem)


def test_t3__parts_that_grow_too_long_together():
    draft = message("{{ x }}" * 3 + "y" * 600_000, signature=Signature(content="z" * 600_000))
    (problem,) = check(draft)
    assert (problem.field, problem.line) == ("content", None)
    assert "1 MB" in str(problem)


def test_check__a_loop_over_pairs_cannot_be_judged_without_them():
    assert check(message("{% for a, b in pairs %}{{ a }}{{ b|default:c }}{% endfor %}"), variables=["pairs", "c"]) == []


@pytest.mark.parametrize(
    "source",
    [
        "{{ price|floatformat:2 }} {{ day|date:'Y' }} {{ n|pluralize:'y,ies' }} {{ n|add:'1' }} {{ x|default:y }}",
        "{% for product in products %}{{ title|default:product.name }}{{ product.price|floatformat:2 }}{% endfor %}",
        "{% if price > 5 %}{{ price|yesno:'a,b' }}{% elif price|length < x %}{{ names|join:', ' }}{% endif %}",
        "{% with p=products|first %}{{ p.name|truncatechars:9 }}{% endwith %}{% firstof a b 'c' %}",
    ],
)
def test_check__stand_ins_are_good_enough_for_honest_templates(source):
    assert check(message(source)) == []


@pytest.mark.parametrize("field", ["subject", "preheader", "content", "plain_text", "signature"])
@pytest.mark.parametrize("stray", ["{{ x }", "{{", "{ x }}", "{% if x }", "x %}", "}}"])
def test_half_a_placeholder_is_reported_with_its_line(field, stray):
    draft = message(f"{{{{ a }}}}\n{stray}") if field == "content" else message()
    one_line = field in ("subject", "preheader")
    if field == "signature":
        draft.signature = Signature(content=f"{{# #}}\n{stray}", type="plain")
    elif field != "content":
        setattr(draft, field, stray if one_line else f"{{{{ a }}}}\n{stray}")
    (problem,) = check(draft)
    assert (problem.field, problem.line) == (field, 1 if one_line else 2)
    assert re.search(r"[{%]\{|\}[}%]|\{%|%\}", stray)[0] in str(problem)


def test_half_a_placeholder__over_two_lines():
    assert [problem.line for problem in check(message("a\n{{ first_name\n}}"))] == [2, 3]


def test_half_a_placeholder__is_normal_in_style_sheets_and_scripts_only():
    css = "@media (max-width:9px){p{width:50%}}@media (max-width:8px){p{color:{{ colour }}}}"
    data = '<script type="application/ld+json">{"a":{"b":"{{ x }}"}}</script>'
    assert check(message(f"<STYLE>{css}</style >{data}<p style='color:{{{{ colour }}}}'>x</p>")) == []
    assert [problem.line for problem in check(message("<style>p{color:red}</style>\n<p>}}</p>"))] == [2]
    assert [problem.line for problem in check(message("<style>\np{color:{{ colour }\n</style>"))] == [2]
    assert check(message(signature=Signature(content=f"<style>{css}</style>", type="plain"))) != []


def test_errors_in_a_signature_name_it():
    signature = Signature(name="Sales")
    for content, line in (("\n{{ a }}{{ x", 2), ("\n{{ a.b }}", 2), ("\n\n{{ a|cut:7 }}", 3), ("\n{% nope %}", 2)):
        signature.content = content
        (problem,) = check(message(signature=signature))
        assert (problem.field, problem.line) == ("signature", line)
        (bare,) = check_signature(signature)
        assert (bare.field, bare.line) == ("signature", line)
        assert str(problem) == f"In the signature “Sales”: {bare}"
    signature.content = '<link rel="stylesheet" href="https://x.example/">'
    with pytest.raises(CompositionError) as raised:
        prepare(message(signature=signature))
    for problem in (*check(message(signature=signature)), raised.value):
        assert str(problem).startswith("In the signature “Sales”: Style sheets")
        assert str(problem).count("In the signature") == 1


def test_variables__an_unknown_one_is_reported_once():
    draft = message(
        "a\n{{ z }}{{ z }}", plain_text="{{ z }}{{ y }}", signature=Signature(name="Sales", content="{{ z }}")
    )
    found = [(problem.field, problem.line) for problem in check(draft, variables=["a"])]
    assert found == [("content", 2), ("plain_text", 1)]


@pytest.mark.parametrize(
    ("field", "text", "place"),
    [
        ("subject", "News {{ nickname }}", (1, 6)),
        ("content", f"<p>\n  {{% load x %}}</p>{LINK}", (2, 3)),
        ("content", f"<p>\r\n  <b>{{{{ x|ljust:9 }}}}</b></p>{LINK}", (2, 6)),
        ("content", f"<p>\n}} }}}}</p>{LINK}", (2, 3)),
        ("content", f"a {{% cid_media 'no.png' %}}{LINK}", (1, 3)),
        ("content", f"{LINK} {{% cid_media no.png %}}", (1, len(LINK) + 2)),
        ("content", f"<p>\n\n é {{% if x %}}</p>{LINK}", (3, 4)),
        ("content", f"a\x00b{LINK}", (1, 2)),
        ("content", f"{LINK}{{% with a=1 %}}{{{{ a|add:b.c }}}}{{% endwith %}}", (1, len(LINK) + 15)),
    ],
)
@pytest.mark.django_db
def test_errors_have_line_and_column(field, text, place):
    message = Message(**({"subject": "x", "content": LINK} | {field: text}))
    error = check(message, variables=["x"])[0]
    assert (error.field, error.line, error.column) == (field, *place)


@pytest.mark.django_db
def test_columns_after_a_picture(monkeypatch):
    """Pictures are taken out before a text is compiled; what follows on their line stays in its place."""
    text = f"{{% cid_media 'massmail/offer.png' %}}{{{{ nickname }}}}{LINK}"
    (error,) = check(Message(subject="x", content=text), variables=[])
    assert (error.line, error.column) == (1, len("{% cid_media 'massmail/offer.png' %}") + 1)
