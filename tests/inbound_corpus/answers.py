"""What people and their mail programs answer."""
# The letters of all languages are meant as they are.
# ruff: noqa: RUF001

from __future__ import annotations

from tests.inbound_corpus import BODY, GONE, MESSAGE_ID, ORIGINAL, OWN, Case, mail, multipart

ANSWERS = f"From: Jo Doe <{GONE}>\nIn-Reply-To: {MESSAGE_ID}\nReferences: <older@acme.example> {MESSAGE_ID}\n"
FROM = f"From: Jo Doe <{GONE}>\n"
QUOTED = f"""\
On Tue, 14 May 2024 at 09:30, Anna Berg <{OWN}> wrote:

> Dear Jo,
>
> our spring offers are here.
"""


def _auto(name: str, headers: str, body: str = "I am away.", *, known: bool = True) -> Case:
    return Case(name=name, raw=mail(headers, body), known=known)


AUTO_REPLIES = [
    _auto(
        "Exchange Online, English",
        ANSWERS
        + "Subject: Automatic reply: Spring news\nAuto-Submitted: auto-generated\nX-Auto-Response-Suppress: All",
        "I am out of the office until 3 June 2024.",
    ),
    _auto(
        "Exchange, German, from a null sender",
        "Return-Path: <>\n" + ANSWERS + "Subject: Automatische Antwort: Spring news\nX-Auto-Response-Suppress: All",
        "Ich bin bis zum 03.06.2024 nicht im Haus.",
    ),
    _auto(
        "Gmail vacation",
        ANSWERS + "Subject: Re: Spring news\nAuto-Submitted: auto-replied\nPrecedence: bulk\nX-Autoreply: yes",
        "Back on June 3, 2024.",
    ),
    _auto(
        "Notes",
        FROM + "Subject: AUTO: Jo Doe is out of the office (returning 03.06.2024)\nX-Mailer: Lotus Domino",
        'I am out of the office. Note: This is an automated response to your message "Spring news".',
        known=False,
    ),
    _auto(
        "French, Outlook", ANSWERS + "Subject: =?utf-8?q?R=C3=A9ponse_automatique?= : Spring news", "Je suis absent."
    ),
    _auto("Spanish", ANSWERS + "Subject: =?utf-8?q?Respuesta_autom=C3=A1tica=3A?= Spring news"),
    _auto("Italian", ANSWERS + "Subject: Risposta automatica: Spring news"),
    _auto("Portuguese", ANSWERS + "Subject: =?utf-8?q?Resposta_autom=C3=A1tica=3A?= Spring news"),
    _auto("Dutch", ANSWERS + "Subject: Automatisch antwoord: Spring news"),
    _auto(
        "Russian", ANSWERS + "Subject: =?utf-8?b?0JDQstGC0L7QvNCw0YLQuNGH0LXRgdC60LjQuSDQvtGC0LLQtdGCOg==?= Spring news"
    ),
    _auto("Ukrainian", ANSWERS + "Subject: Автоматична відповідь: Spring news", "Я у відпустці."),
    _auto("Polish", ANSWERS + "Subject: =?utf-8?q?Odpowied=C5=BA_automatyczna=3A?= Spring news"),
    _auto("Swedish", ANSWERS + "Subject: Autosvar: Spring news"),
    _auto("Japanese", ANSWERS + "Subject: =?utf-8?b?6Ieq5YuV6L+U5L+hOg==?= Spring news"),
    _auto("Chinese", ANSWERS + "Subject: 自动回复: Spring news"),
    _auto("Czech", ANSWERS + "Subject: Automatická odpověď: Spring news"),
    _auto("Turkish", ANSWERS + "Subject: Otomatik Yanıt: Spring news"),
    _auto("Abwesenheitsnotiz", FROM + "Subject: Abwesenheitsnotiz: Spring news", known=False),
    _auto("the word with a colon only", FROM + "Subject: Auto: Spring news", known=False),
    _auto(
        "vacation(1), by its Precedence",
        ANSWERS + "Subject: away from my mail\nPrecedence: junk",
        "I will not be reading my mail, I am on vacation.",
    ),
    _auto("a responder's own header", FROM + "Subject: Thank you\nX-Autorespond: Spring news", known=False),
    _auto("Precedence: auto_reply", FROM + "Subject: Auto reply\nPrecedence: auto_reply", "Gracias!", known=False),
    _auto(
        "a ticket system",
        ANSWERS + "Subject: [Ticket#2024051410000123] Spring news\nAuto-Submitted: auto-generated",
        "We have received your request.",
    ),
    _auto(
        "Dovecot's vacation, with the original below",
        ANSWERS + "Subject: Auto: Spring news\nAuto-Submitted: auto-replied (vacation)\nPrecedence: bulk",
        "550 5.1.1 is what I am.\n\n" + QUOTED,
    ),
    Case(
        name="an absence that gives the original back",
        raw=mail(
            ANSWERS + "Return-Path: <>\nSubject: Out of office: Spring news\n"
            'Content-Type: multipart/mixed; boundary="=_b"',
            multipart(
                "Content-Type: text/plain\n\nI am away.",
                f"Content-Type: message/rfc822\n\n{ORIGINAL}{BODY}",
            ),
        ),
    ),
    Case(
        name="a read receipt",
        raw=mail(
            FROM + "Subject: Read: Spring news\n"
            'Content-Type: multipart/report; report-type=disposition-notification; boundary="=_b"',
            multipart(
                "Content-Type: text/plain\n\nYour message was read.",
                f"Content-Type: message/disposition-notification\n\nFinal-Recipient: rfc822; {GONE}\n"
                f"Original-Message-ID: {MESSAGE_ID}\nDisposition: manual-action/MDN-sent-manually; displayed\n",
            ),
        ),
        known=False,
    ),
]

REPLIES = [
    Case(
        name="a person pastes a report into a new mail",
        raw=mail(
            ANSWERS + "Subject: What does this mean?",
            "Final-Recipient: rfc822; other@customer.example\nAction: failed\nStatus: 5.1.1\n",
        ),
    ),
    Case(name="Gmail", raw=mail(ANSWERS + "Subject: Re: Spring news", "Yes, please!\n\n" + QUOTED)),
    Case(name="without a subject", raw=mail(ANSWERS, "Yes, please!")),
    Case(
        name="Outlook without references",
        raw=mail(
            FROM + "Subject: AW: Spring news",
            f"Ja, gern.\n\n-----Ursprüngliche Nachricht-----\nVon: Anna Berg <{OWN}>\nBetreff: Spring news\n\nDear Jo,",
        ),
        known=False,
    ),
    Case(name="Swedish prefix, quoted", raw=mail(FROM + "Subject: SV: Spring news", "Ja!\n\n" + QUOTED), known=False),
    Case(
        name="numbered prefix, Russian",
        raw=mail(FROM + "Subject: =?utf-8?b?0J7RgtCy?=[2]: Spring news", "Да\n\n" + QUOTED),
        known=False,
    ),
    Case(
        name="a person asks about a bounce and quotes it",
        raw=mail(
            ANSWERS + "Subject: Re: Undelivered Mail Returned to Sender",
            "Why do I get this?\n\n> This is the mail system at host mx.acme.example.\n>\n"
            "> <other@customer.example>: host mx.customer.example[192.0.2.9] said: 550 5.1.1\n>     User unknown\n",
        ),
    ),
    Case(
        name="a person forwards a bounce as an attachment",
        raw=mail(
            ANSWERS + 'Subject: Fwd: Mail delivery failed\nContent-Type: multipart/mixed; boundary="=_b"',
            multipart(
                "Content-Type: text/plain\n\nSee below, please write to me instead.",
                "Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.acme.example\n\n"
                "Final-Recipient: rfc822; other@customer.example\nAction: failed\nStatus: 5.1.1",
            ),
        ),
    ),
    Case(
        name="an answer to an absence",
        raw=mail(
            ANSWERS + "Subject: Re: Automatic reply: Spring news", "I am back now. Send me the list.\n\n" + QUOTED
        ),
    ),
    Case(
        name="a person writes about holidays",
        raw=mail(
            ANSWERS + "Subject: Re: Spring news", "I am out of the office next week. Call me on Monday!\n\n" + QUOTED
        ),
    ),
    Case(
        name="HTML only",
        raw=mail(
            ANSWERS + "Subject: RE: Spring news\nContent-Type: text/html; charset=utf-8",
            f"<p>Yes!</p><blockquote>On Tue Anna &lt;{OWN}&gt; wrote: <p>Dear Jo</p></blockquote>",
        ),
    ),
    Case(
        name="asks not to be answered by machine",
        raw=mail(ANSWERS + "Subject: RE: Spring news\nX-Auto-Response-Suppress: OOF\nAuto-Submitted: no", "Yes!"),
    ),
    Case(
        name="wants to leave in its own words", raw=mail(ANSWERS + "Subject: Re: Spring news", "Please unsubscribe me.")
    ),
    Case(
        name="a forward with our Message-ID",
        raw=mail(FROM + f"References: {MESSAGE_ID}\nSubject: WG: Spring news", "Is this for us?"),
    ),
]
