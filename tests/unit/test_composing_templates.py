"""The sandbox: what authors may write, what a customer's data may do, and what each error says."""

import datetime
from decimal import Decimal

import pytest
from django.test import override_settings
from django.utils import translation
from django.utils.safestring import mark_safe
from hypothesis import example, given, settings
from hypothesis import strategies as st

from massmail.composing import check, prepare, preview, templates, variables_used
from massmail.composing.metering import MAX_SIZE
from massmail.composing.templates import compile_source, fill, plain
from massmail.composing.types import Links
from massmail.exceptions import CompositionError
from massmail.models import Message, Signature

LINK = '<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p>'
LINKS = Links(unsubscribe="https://news.example.com/u/abc?a=1&b=2")


def message(content: str = "", **fields: object) -> Message:
    """A message nobody has saved."""
    return Message(**{"subject": "News", "content": content + LINK, **fields})


def rendered(source: str, *, escape: bool = True, **values: object) -> str:
    return fill(compile_source(source, field="content"), plain(values), escape=escape)


FORBIDDEN = [
    "{% load static %}",
    "{% include 'admin/base.html' %}",
    "{% extends 'admin/base.html' %}",
    "{% debug %}",
    "{% url 'admin:index' %}",
    "{% csrf_token %}",
    "{% autoescape off %}x{% endautoescape %}",
    "{% lorem 1000000 %}",
    "{% ssi '/etc/passwd' %}",
    "{% verbatim %}{% endverbatim %}",
]


@pytest.mark.parametrize("tag", FORBIDDEN)
@pytest.mark.parametrize("field", ["subject", "preheader", "content", "plain_text", "signature"])
def test_t1__forbidden_tag(tag, field):
    draft = message()
    if field == "signature":
        draft.signature = Signature(content=f"\n\n{tag}")
    elif field in ("subject", "preheader"):
        setattr(draft, field, tag)
    else:
        setattr(draft, field, f"\n\n{tag}{LINK}")
    (problem,) = check(draft)
    assert problem.field == field
    assert problem.line == (1 if field in ("subject", "preheader") else 3)
    assert tag.split()[1] in str(problem)
    with pytest.raises(CompositionError):
        prepare(draft)


@pytest.mark.parametrize("filter_", ["safe", "center:30", "ljust:'30000000'", "rjust:9", "pprint", "safeseq", "random"])
def test_t3__filters_that_are_absent(filter_):
    (problem,) = check(message("\n{{ x|" + filter_ + " }}"))
    assert problem.line == 2
    assert filter_.split(":")[0] in str(problem)


@pytest.mark.parametrize(
    "variable", ["recipient.owner.password", "request", "settings.SECRET_KEY", "obj.delete", "user|default:perms"]
)
def test_t2__unknown_variables(variable):
    problems = check(message("\n{{ " + variable + " }}"), variables=["first_name"])
    assert [problem.line for problem in problems] == [2] * len(problems)
    assert variable.split(".")[0].split("|")[0] in str(problems[0])
    assert "first_name" in str(problems[0])
    # Without a dot, it may be one; with a dot, it can't be filled in whatever it is.
    assert bool(check(message("{{ " + variable + " }}"))) == ("." in variable)


@pytest.mark.parametrize("expression", ["x.__class__", "x.__class__.__mro__", "_x"])
def test_t2__private_attributes(expression):
    assert check(message("{{ " + expression + " }}"), variables=["x"])[0].line == 1


def test_t2__only_plain_values_reach_a_template():
    class Row:
        password = "secret"

        def delete(self):
            raise AssertionError("called from a template")

        def __str__(self):
            return "Row 1"

    assert rendered("{{ x }}|{{ x.password }}|{{ x.delete }}", x=Row()) == "Row 1||"


@pytest.mark.parametrize("expression", ["first_name.delete", "first_name.upper", "x|default:first_name.0"])
def test_t2__nothing_is_taken_out_of_a_variable(expression):
    for variables in (None, ["first_name", "x"]):
        (problem,) = check(message("\n{{ " + expression + " }}"), variables=variables)
        assert (problem.field, problem.line) == ("content", 2)
        assert "“first_name”" in str(problem)
        assert "dot" in str(problem)
    with pytest.raises(CompositionError):
        prepare(message("{{ " + expression + " }}"))


@pytest.mark.parametrize(
    "name",
    ["upper", "encode", "split", "isdigit", "0", "real", "bit_length", "items", "keys", "append", "x"],
)
@pytest.mark.parametrize("value", ["text", 7, [1.5], {"a": 1}, datetime.date(2026, 3, 1)])
def test_t2__only_keys_and_indexes(name, value):
    expected = "1.5" if name == "0" and isinstance(value, list) else ""
    assert rendered("{% for y in x %}{{ y." + name + " }}{% endfor %}", x=[value]) == expected
    assert rendered("{{ x|default:z." + name + " }}", x="", z=value) == expected


def test_t2__loops_over_mappings_lists_and_their_counters():
    source = (
        "{% for row in rows %}{{ row.name }}{{ row.tags.1 }}"
        "{% for tag in row.tags %}{{ forloop.parentloop.counter }}{{ tag }}{% endfor %}{% endfor %}"
    )
    assert check(message(source), variables=["rows"]) == []
    assert rendered(source, rows=[{"name": "A", "tags": ["b", "c"]}]) == "Ac1b1c"


def test_plain__keeps_data_and_escapes_what_was_safe():
    day = datetime.date(2026, 3, 1)
    assert plain([1, 2.5, Decimal("1.1"), None, True, day]) == [1, 2.5, Decimal("1.1"), None, True, day]
    assert plain({"a": (translation.gettext_lazy("Yes"),)}) == {"a": ["Yes"]}
    assert type(plain(mark_safe("<b>"))) is str
    assert type(plain(translation.gettext_lazy("Yes"))) is str
    assert rendered("{{ x }}", x=mark_safe("<b>")) == "&lt;b&gt;"
    assert plain("a\x00\x07\ud800b\n") == "ab\n"


BOMBS = [
    "{% for a in x %}{% for b in x %}{% for c in x %}{% for d in x %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in x %}{% for b in x %}" + "y" * 1000 + "{% endfor %}{% endfor %}",
    "{% with b=x|join:x %}" + "{{ b }}" * 200 + "{% endwith %}",
    "{{ x|join:x|join:x }}",
    "".join("{% with x=x|add:x %}" for _ in range(15)) + "{{ x }}" + "{% endwith %}" * 15,
    "{{ 1|floatformat:2000000 }}",
    "{{ 1|floatformat:'9999999999999999999g' }}",
    "{% firstof big %}" * 30,
]


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.timeout(10)
def test_t3__bombs(bomb):
    prepared = prepare(message(bomb))
    with pytest.raises(CompositionError):
        preview(prepared, values={"x": "x" * 300, "big": "b" * 90_000}, links=LINKS)


def test_t3__too_many_blocks_inside_each_other():
    source = "{% if x %}" * 500 + "{% endif %}" * 500
    assert "inside each other" in str(check(message(source))[0])


def test_t3__a_source_over_the_size_cap():
    (problem,) = check(message("x" * 1_000_001))
    assert "1 MB" in str(problem)


def test_t3__too_many_tags():
    (problem,) = check(message("{{ x }}y" * 5001))
    assert "5000" in str(problem)
    assert check(message("{{ x }}y" * 4999)) == []


def test_t3__honest_tables_are_not_stopped():
    rows = [{"name": f"Product {number}", "price": number} for number in range(500)]
    source = "{% for row in rows %}<tr><td>{{ row.name }}</td><td>{{ row.price|floatformat:2 }}</td></tr>{% endfor %}"
    assert rendered(source, rows=rows).count("<tr>") == 500


def test_t4__customer_data_is_never_parsed_again():
    prepared = prepare(message("<p>{{ name }}</p>", subject="{{ name }}"))
    name = "{{ 7|add:7 }}{% load x %}<script>alert(1)</script>&"
    result = preview(prepared, values={"name": name}, links=LINKS)
    assert result.subject == name
    assert "<p>{{ 7|add:7 }}{% load x %}&lt;script&gt;alert(1)&lt;/script&gt;&amp;</p>" in result.html
    assert name in result.text
    assert "14" not in result.html + result.text


def test_t4__braces_written_as_entities_stay_text():
    source = "<p title='&#123;&#37; load x &#37;&#125;'>&#123;&#123; 7|add:7 &#125;&#125; &#123;{{ name }}</p>"
    result = preview(prepare(message(source)), values={"name": "Ann"}, links=LINKS)
    assert '<p title="{% load x %}">{{ 7|add:7 }} {Ann</p>' in result.html
    assert "{{ 7|add:7 }} {Ann" in result.text


def test_t5__a_broken_message_is_reported_not_raised():
    broken = message("{% if %}", subject="{{ x", preheader="{% endif %}", plain_text="{{ a|nope }}")
    problems = {problem.field: problem for problem in check(broken)}
    assert set(problems) == {"subject", "preheader", "content", "plain_text"}
    assert all(problem.line == 1 for problem in problems.values())
    with pytest.raises(CompositionError):
        variables_used(broken)


@pytest.mark.parametrize("bad", ["\n", "\r", "\0", "\x07", "\u2028", "\u2029", "\x85", "\t", "\x1b"])
@pytest.mark.parametrize("field", ["subject", "preheader"])
def test_t6__controls_in_one_line_fields(bad, field):
    (problem,) = check(message(**{field: f"a{bad}b"}))
    assert problem.field == field


def test_t6__subject_is_one_unescaped_line():
    prepared = prepare(message(subject="For {{ name }} & Co"))
    result = preview(prepared, values={"name": " <Ann>\r\nBcc: x@example.com\u2028\x00\u202e "}, links=LINKS)
    assert result.subject == "For <Ann> Bcc: x@example.com & Co"


def test_subject__too_long_when_filled_in():
    with pytest.raises(CompositionError, match="1000"):
        preview(prepare(message(subject="{{ x }}")), values={"x": "y" * 1001}, links=LINKS)


def test_subject__empty():
    assert check(message(subject="  "))[0].field == "subject"


def test_content__control_character_with_its_line():
    (problem,) = check(message("a\nb\x00"))
    assert (problem.field, problem.line) == ("content", 2)
    assert "U+0000" in str(problem)


def test_variables__scopes_of_loops_and_with():
    source = (
        "{% for p in products %}{{ p.name }}{{ forloop.counter }}{% empty %}{{ none }}{% endfor %}{{ p }}"
        "{% with a=b c=d %}{{ a }}{{ c }}{% endwith %}{% with e as f %}{{ f }}{% endwith %}"
        "{% firstof g h as i %}{{ i }}{% now 'Y' as year %}{{ year }}"
        "{% if j and k == True or l|default:m %}{% elif n %}{% endif %}{% comment %}{{ o }}{% endcomment %}"
    )
    assert variables_used(message(source)) == {*"bdeghjklmnp", "none", "products"}


def test_variables__lines_and_fields():
    draft = message(
        "a\n{% if x %}\n{% elif y %}\n{{ z }}{% endif %}",
        subject="{{ s }}",
        signature=Signature(content="-\n{{ t }}", type="plain"),
    )
    found = [(problem.field, problem.line) for problem in check(draft, variables=[])]
    assert found == [("subject", 1), ("content", 2), ("content", 3), ("content", 4), ("signature", 2)]


def test_undefined__renders_empty():
    assert rendered("[{{ missing }}{% if missing %}x{% endif %}{{ missing.deeper|upper }}]") == "[]"


def test_unclosed_and_stray_tags():
    assert check(message("\n{% if x %}"))[0].line == 2
    assert "no beginning" in str(check(message("{% endfor %}"))[0])


def test_failure_for_one_recipient():
    prepared = prepare(message("{% for a, b in pairs %}{{ a }}{% endfor %}"))
    assert preview(prepared, values={"pairs": [(1, 2)]}, links=LINKS)
    with pytest.raises(CompositionError, match="could not be filled in"):
        preview(prepared, values={"pairs": [(1, 2, 3)]}, links=LINKS)


@pytest.mark.parametrize(
    ("source", "html", "text"),
    [
        ("{{ x|linebreaksbr }}", "a &amp;<br>b", "a &\nb"),
        ("{{ x|linebreaks }}", "<p>a &amp;<br>b</p>", "a &\nb"),
        ("{{ x|escape }}", "a &amp;\nb", "a &\nb"),
        ("{{ xs|join:'<br>' }}", "1&lt;<br>2", "1<\n2"),
        ("{{ xs|join:', ' }}", "1&lt;, 2", "1<, 2"),
        ("{{ 5|join:', ' }}", "5", "5"),
        ("{{ n|floatformat:2 }}", "2.50", "2.50"),
        ("{{ x|title|cut:'&'|striptags }}", "A \nB", "A \nB"),
        ("{{ d|date:'Y-m-d' }}", "2026-03-01", "2026-03-01"),
        ("{% firstof none x %}", "a &amp;\nb", "a &\nb"),
    ],
)
def test_filters__in_html_and_in_text(source, html, text):
    values = {"x": "a &\nb", "xs": ["1<", "2"], "n": 2.5, "d": datetime.date(2026, 3, 1)}
    assert rendered(source, **values) == html
    assert rendered(source, escape=False, **values) == text


PIECES = st.lists(
    st.sampled_from(
        [
            *(
                "{{ a }}",
                "{{ b }}",
                "{{ missing }}",
                "{{ None }}",
                "{{ a.b }}",
                "{{ a|upper }}",
                "{{ 'text' }}",
                "{{ 1 }}",
            ),
            *(
                "<p>",
                "{% if a %}{{ b }}{% endif %}",
                "{% firstof b a as c %}",
                "{{ c }}",
                "{% for x in a %}{{ x }}{% endfor %}",
            ),
        ]
    ),
    max_size=8,
)
PLAIN = st.one_of(
    st.text(max_size=20), st.integers(), st.none(), st.floats(allow_nan=False), st.lists(st.text(), max_size=2)
)


@settings(deadline=None, max_examples=150)
@given(pieces=PIECES, a=PLAIN, b=PLAIN, escape=st.booleans())
@example(pieces=["{{ a }}", "{{ b }}"], a="<&>\"'", b="x", escape=True)
@example(pieces=["{{ a }}{{ b }}"], a="x" * MAX_SIZE, b="", escape=False)
@example(pieces=["{{ a }}{{ b }}"], a="x" * MAX_SIZE, b="x", escape=False)
@example(pieces=["{{ a }}"] * 12, a="<" * 100_000, b="", escape=True)
def test_gaps__short_cut_and_long_way_agree(pieces, a, b, escape):
    template = compile_source("".join(pieces), field="content")
    values = plain({"a": a, "b": b})

    def outcome(fill):
        try:
            return fill(template, dict(values), escape=escape, field="content")
        except CompositionError as error:
            return str(error), error.line, error.column

    assert outcome(templates.fill_gaps) == outcome(long_way)


def long_way(*args, **options):
    with templates.neutral_locale():
        return templates._rendered(*args, **options)


def test_gaps__names_of_texts_need_no_template_engine(monkeypatch):
    """What nearly all newsletters are made of; the engine takes ten times as long."""
    monkeypatch.setattr(templates, "_rendered", None)
    assert rendered("Dear {{ a }},<br>{{ b }}{{ a }}", a="<Ann>", b="Lee") == "Dear &lt;Ann&gt;,<br>Lee&lt;Ann&gt;"
    with pytest.raises(TypeError):
        rendered("{{ a|upper }}", a="Ann")


@override_settings(LANGUAGE_CODE="en")
def test_preview__does_not_follow_the_language_of_who_looks():
    prepared = prepare(message("<p>{{ price }} {{ day|date:'F' }}</p>"))
    with translation.override("de"):
        result = preview(prepared, values={"price": 1.5, "day": datetime.date(2026, 3, 1)}, links=LINKS)
    assert "<p>1.5 March</p>" in result.html


def test_values__cannot_replace_the_unsubscribe_link():
    result = preview(prepare(message()), values={"unsubscribe_url": "https://evil.example"}, links=LINKS)
    assert "evil" not in result.html + result.text
    assert 'href="https://news.example.com/u/abc?a=1&amp;b=2"' in result.html
    assert LINKS.unsubscribe in result.text


def test_signature__of_plain_text_keeps_tags_lines_and_signs():
    draft = message(signature=Signature(type="plain", content="Best <regards>\r\n{{ first_name }}\n\nAcme & Co"))
    result = preview(prepare(draft), values={"first_name": "<Ann>"}, links=LINKS)
    assert "<p>Best &lt;regards&gt;<br>&lt;Ann&gt;</p>" in result.html
    assert "Best <regards>\n<Ann>\n\nAcme & Co" in result.text
