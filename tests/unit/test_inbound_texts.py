"""What people wrote in their answers, and until when they are away."""
# The letters of all languages are meant as they are.
# ruff: noqa: RUF001

from __future__ import annotations

from datetime import date

import pytest

from massmail.inbound.absence import returns
from massmail.inbound.replytext import reply_text
from tests.inbound_corpus import OWN, mail, multipart

QUOTED = "\n\n> Dear Jo,\n>\n> our offers\n"
REPLIES = [
    ("Gmail, English", f"Yes!\n\nJo\n\nOn Tue, 14 May 2024 at 09:30, Anna Berg <{OWN}> wrote:{QUOTED}", "Yes!\n\nJo"),
    ("Gmail, German", f"Ja!\n\nAm Di., 14. Mai 2024 um 09:30 Uhr schrieb Anna Berg <\n{OWN}>:{QUOTED}", "Ja!"),
    ("Gmail, Russian", f"Да!\n\nвт, 14 мая 2024 г. в 09:30, Anna Berg <{OWN}>:{QUOTED}", "Да!"),
    ("Gmail, Ukrainian", f"Так!\n\nвт, 14 трав. 2024 р. о 09:30 Anna Berg <{OWN}> пише:{QUOTED}", "Так!"),
    ("Gmail, French", f"Oui !\n\nLe mar. 14 mai 2024 à 09:30, Anna Berg <{OWN}> a\nécrit :{QUOTED}", "Oui !"),
    ("Gmail, Spanish", f"¡Sí!\n\nEl mar, 14 may 2024 a las 9:30, Anna Berg (<{OWN}>)\nescribió:{QUOTED}", "¡Sí!"),
    (
        "Outlook",
        f"Yes!\n\n{'_' * 32}\nFrom: Anna Berg <{OWN}>\nSent: Tuesday\nTo: Jo\nSubject: News\n\nDear Jo",
        "Yes!",
    ),
    ("Outlook, German", f"Ja!\n\nVon: Anna Berg <{OWN}>\nGesendet: Dienstag\nAn: Jo\nBetreff: News\n\nDear Jo", "Ja!"),
    ("old Outlook", "Yes!\n\n-----Original Message-----\nFrom: Anna Berg\nSent: Tuesday\n\nDear Jo", "Yes!"),
    (
        "iPhone",
        f"Yes!\n\nSent from my iPhone\n\n> On 14 May 2024, at 09:30, Anna Berg <{OWN}> wrote:\n> \n> Dear",
        "Yes!",
    ),
    ("Thunderbird", "Yes!\n\nAm 14.05.24 um 09:30 schrieb Anna Berg:\n> Dear Jo\n", "Yes!"),
    ("below the quotation", f"On 14 May Anna Berg <{OWN}> wrote:\n> Dear Jo\n> offers\n\nYes!", "Yes!"),
    (
        "between the lines",
        f"On 14 May Anna <{OWN}> wrote:\n> Red?\n\nNo, blue.\n\n> Two?\n\nThree.",
        "No, blue.\n\nThree.",
    ),
    ("not quoted at all", "Yes!\nFrom: what I see it is good.", "Yes!\nFrom: what I see it is good."),
    ("the address in the text", f"Write to {OWN}:\nit is hers.\n\nJo", f"Write to {OWN}:\nit is hers.\n\nJo"),
    ("nothing new", f"On 14 May 2024 Anna Berg <{OWN}> wrote:{QUOTED}", ""),
]


@pytest.mark.parametrize(("body", "written"), [pytest.param(*rest, id=name) for name, *rest in REPLIES])
def test_reply_text(body: str, written: str) -> None:
    raw = mail("From: jo@customer.example\nContent-Type: text/plain; charset=utf-8", body)

    assert reply_text(raw, OWN.upper()) == written


@pytest.mark.parametrize(
    "body",
    [
        f"<div>Yes!</div><div>Jo</div><br><div class=q>On Tue, Anna &lt;<a href='mailto:{OWN}'>{OWN}</a>&gt; wrote:<br>"
        "</div>"
        "<blockquote>Dear <blockquote>older</blockquote> Jo</blockquote>",
        f"<p>Yes!<br>Jo</p><hr><p><b>From:</b> Anna &lt;{OWN}&gt;<br><b>Sent:</b> Tue<br><b>To:</b> Jo</p>"
        "<p>Dear Jo</p>",
        "<style>p { color: red }</style><p>Yes!</p>Jo<blockquote>never closed",
    ],
)
def test_reply_text_of_html(body: str) -> None:
    raw = mail("From: jo@customer.example\nContent-Type: text/html; charset=utf-8", body)

    assert [line for line in reply_text(raw, OWN).splitlines() if line] == ["Yes!", "Jo"]


def test_reply_text_prefers_the_plain_alternative() -> None:
    parts = multipart("Content-Type: text/plain\n\nplain", "Content-Type: text/html\n\n<p>html</p>")
    raw = mail('From: jo@customer.example\nContent-Type: multipart/alternative; boundary="=_b"', parts)

    assert reply_text(raw, OWN) == "plain"


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("I am away until 3 June 2024.", date(2024, 6, 3)),
        ("I will be back on June 3rd", date(2024, 6, 3)),
        ("returning 2024-06-03", date(2024, 6, 3)),
        ("Ich bin bis zum 03.06.2024 nicht im Haus", date(2024, 6, 3)),
        ("Ich bin bis 3. Juni im Urlaub", date(2024, 6, 3)),
        ("bis 3.6. abwesend", date(2024, 6, 3)),
        ("bis einschließlich 02.01.", date(2025, 1, 2)),
        ("absent jusqu'au 3 juin", date(2024, 6, 3)),
        ("hasta el 3 de junio de 2024", date(2024, 6, 3)),
        ("fino al 3 giugno", date(2024, 6, 3)),
        ("в отпуске до 3 июня", date(2024, 6, 3)),
        ("until 31/05/2024 and then until 3 June", date(2024, 6, 3)),
        ("until 05/06/2024", None),
        ("until 31 February 2025", None),
        ("until 3 June 2019", None),
        ("I am away. Call 030 1234567.", None),
    ],
)
def test_returns(text: str, day: date | None) -> None:
    assert returns(text, date(2024, 5, 15)) == day
