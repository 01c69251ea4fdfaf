"""Words by which subjects tell what a mail is, in the languages that mail programs and servers write."""
# The letters of all languages are meant as they are.
# ruff: noqa: RUF001

from __future__ import annotations

import re

from massmail.inbound.reading import Part

#: "Re:" as mail programs of the world put it before a subject, with a number or not.
_REPLY = re.compile(
    r"^\s*(?:\[[^\]]{1,40}\]\s*)?"
    r"(?:re|aw|antw|antwort|sv|vs|vá|odp|res|rif|rép|réf|ref|r|ynt|απ|σχετ|отв|ответ|відп|на|回复|答复|回覆|返信"
    r"|답장|ats|ang|bls|ad)"
    r"(?:\s?[\[(^]?\d{1,3}[\])]?)?\s?[:：]",
    re.IGNORECASE,
)
_FORWARD = re.compile(
    r"^\s*(?:fwd?|wg|tr|rv|vb|vl|i|enc|doorst|pd|пересл|转发|轉寄|転送|전달|ilt|πρθ|továbbítás)\s?[:：]",
    re.IGNORECASE,
)
_BOUNCE = re.compile(
    r"\bundeliver(?:ed|able)|\bundelivery|\bnon[- ]?(?:delivery|deliverable|remis)|\breturned (?:e-?mail|mail"
    r"|message)"
    r"|returning (?:message|mail)? ?to sender|\bfailure notice|^failed (?:e-?mail|mail)\b|\bfailure delivery"
    r"|\bdelivery (?:status|failure|failed|problem|report|notification|has failed|error|unsuccessful|delay|warning)"
    r"|\b(?:e-?mail|mail) (?:delivery (?:failed|failure|problem|error|warning|status)|system error|not delivered"
    r"|error\b)"
    r"|\b(?:e-?mail|mail|message) (?:could not|cannot|can't|couldn't) be (?:delivered|sent)|\bnot be delivered"
    r"|\bmessage (?:delivery (?:has )?(?:failed|failure)|delayed|undeliverable|not delivered)"
    r"|^warning: (?:message|could not)"
    r"|^(?:mail|message|delayed) (?:delayed|mail)|\bautomatically rejected mail|\bmail error\b|\bprocessing error\b"
    r"|\b(?:user|recipient) unknown|\bunknown (?:user|recipient)"
    r"|unzustellbar|nicht zustellbar|nicht zugestellt|\bzustellung(?:sfehler|sversuch)? (?:fehlgeschlagen"
    r"|gescheitert)"
    r"|zustellungsfehler|zustellungsbericht|non remis|non distribu|non recensé|échec de (?:la )?(?:remise"
    r"|distribution)"
    r"|no se (?:ha )?(?:pudo|podido) entregar|no entregado|correo devuelto|error de entrega|mancato recapito"
    r"|mancata consegna|impossibile (?:recapitare|consegnare)|não (?:foi )?entreg|falha na entrega|onbestelbaar"
    r"|niet (?:bezorgd|afgeleverd)|недостав|не\s?достав|не доставлен|ошибка доставки|не вдалося доставити"
    r"|niedostarcz|nie dostarczono|nedoručit|nedoručen|kézbesíthetetlen|kan ikke leveres|kunde inte levereras"
    r"|ikke leveret|teslim edilemedi|ei voitu toimittaa|配信不能|配信できません|送信できません|配送できません"
    r"|退信|无法投递"
    r"|投递失败|無法傳遞|傳送失敗|배달되지|반송된",
    re.IGNORECASE,
)
_BOUNCE_AT_END = re.compile(r":\s*(?:non remis|not delivered|undeliverable|unzustellbar)\b[^:]*$", re.I)
_DELAY = re.compile(
    r"\bdelay(?:ed)?\b|still being retried|not yet (?:been )?delivered|^warning: (?:could not send|message)"
    r"|\bverzöger|\bretard[ée]|\bretrasad|задерж",
    re.IGNORECASE,
)
_DELAY_TEXT = re.compile(
    r"not yet been delivered|has been delayed|delivery attempts? will (?:continue|be)|message will be retried"
    r"|will (?:keep|continue) (?:trying|to try)|this is (?:just )?(?:a|only a) warning|you do not need to re-?send"
    r"|no action is required on your part",
    re.IGNORECASE,
)
_FINAL_TEXT = re.compile(
    r"permanent(?:ly)? (?:error|fail)|giv(?:en?|ing) up|could not be delivered|no longer be retried|returned to you"
    r"|has failed|fatal error|not (?:be )?delivered|undeliverable|unable to deliver|delivery (?:has )?failed",
    re.IGNORECASE,
)


def is_reply_subject(subject: str) -> bool:
    return bool(_REPLY.match(subject))


def is_forward_subject(subject: str) -> bool:
    return bool(_FORWARD.match(subject))


def is_bounce_subject(subject: str) -> bool:
    """Return whether only a bounce has such a subject; that of an answer to one is not."""
    if is_reply_subject(subject) or is_forward_subject(subject):
        return bool(_BOUNCE_AT_END.search(subject))
    return bool(_BOUNCE.search(subject))


def is_delay(subject: str, text: str) -> bool:
    """Return whether a report tells that the server still tries."""
    if _DELAY.search(subject):
        return True
    return bool(_DELAY_TEXT.search(text)) and not _FINAL_TEXT.search(text)


def says_failed(text: str) -> bool:
    """Return whether a text tells in so many words that a message did not arrive."""
    return bool(_FINAL_TEXT.search(text))


def is_list(mail: Part) -> bool:
    """Return whether `mail` went to many: a newsletter or a mailing list (RFC 2369, RFC 2919)."""
    return mail.has("list-id", "list-unsubscribe", "list-post", "x-mailman-version")


def is_bulk(mail: Part) -> bool:
    return mail.header("precedence").strip().lower() in {"bulk", "junk", "list"}
