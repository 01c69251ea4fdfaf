"""Findings about DKIM keys (RFC 6376, 8301, 8463)."""

from dataclasses import replace

from django.utils.translation import gettext_lazy as _

from massmail.choices import Verdict
from massmail.deliverability.rules.types import Rule

_ALL_FAIL = _("Every signature of the account's mail fails. Gmail and Yahoo require a valid one from bulk senders.")

_RULES = {
    "dkim.good": Rule(
        verdict=Verdict.GOOD,
        seen=_("The key at %(name)s is in order: %(kind)s, %(bits)s bits."),
        why=_("Receivers can check the signatures of the account's mail."),
        source="RFC 6376, 3.6.1; RFC 8301, 3.2",
    ),
    "dkim.guess": Rule(
        verdict=Verdict.GOOD,
        seen=_("A guess: there is a key at %(name)s: %(kind)s, %(bits)s bits."),
        why=_(
            "DKIM is set up for the domain. Whether this account's mail is signed with that key shows only in a mail."
        ),
        fix=_("Press “Send a test mail to itself”: it shows how the account's mail is signed."),
        source="RFC 6376, 3.6.2",
        guessed=True,
    ),
    "dkim.no_guess": Rule(
        verdict=Verdict.UNKNOWN,
        seen=_("A guess: no usable key at the usual names of %(domain)s: %(names)s"),
        why=_("The DNS can't be asked for all keys of a domain: there may be one under another name."),
        fix=_("Press “Send a test mail to itself”. If that mail has no signature, ask your provider for DKIM."),
        source="RFC 6376, 3.1 and 3.6.2",
        guessed=True,
    ),
    "dkim.guess_unknown": Rule(
        verdict=Verdict.UNKNOWN,
        seen=_("A guess: the DNS gave no answer for usual names of keys: %(names)s"),
        why=_("Whether DKIM is set up for the domain is not known."),
        fix=_("Check again later, or press “Send a test mail to itself”: it shows how the account's mail is signed."),
        source="RFC 6376, 6.1.2",
        guessed=True,
    ),
    "dkim.unknown": Rule(
        verdict=Verdict.UNKNOWN,
        seen=_("The DNS gave no answer for the key at %(name)s."),
        why=_("Whether receivers can check the signatures is not known."),
        fix=_("Check again later. If it stays so, the name servers of the domain are in trouble."),
        source="RFC 6376, 6.1.2",
    ),
    "dkim.missing": Rule(
        verdict=Verdict.BAD,
        seen=_("The account's mail is signed with the key at %(name)s, and there is none."),
        why=_ALL_FAIL,
        fix=_("Publish the record that your provider shows for this selector. It looks like this, or is a CNAME."),
        source="RFC 6376, 6.1.2",
    ),
    "dkim.several": Rule(
        verdict=Verdict.BAD,
        seen=_("There are %(count)s keys at %(name)s: %(text)s"),
        why=_("Which of them a receiver takes is left to chance, so that signatures fail now and then."),
        fix=_("Remove all but the one that your provider shows."),
        source="RFC 6376, 3.6.2.2",
    ),
    "dkim.broken": Rule(
        verdict=Verdict.BAD,
        seen=_("The key at %(name)s can't be read: %(text)s"),
        why=_ALL_FAIL,
        fix=_("Publish the key again as your provider shows it, as one text without breaks."),
        source="RFC 6376, 3.6.1",
    ),
    "dkim.revoked": Rule(
        verdict=Verdict.BAD,
        seen=_("The key at %(name)s was revoked: its “p=” is empty."),
        why=_ALL_FAIL,
        fix=_("Publish the key that your provider shows, or have it sign with another selector."),
        source="RFC 6376, 3.6.1",
    ),
    "dkim.too_short": Rule(
        verdict=Verdict.BAD,
        seen=_("The key at %(name)s has %(bits)s bits."),
        why=_("Receivers must not accept keys below 1024 bits: they can be broken in hours."),
        fix=_("Have your provider make a key of 2048 bits and publish that one."),
        source="RFC 8301, 3.2",
    ),
    "dkim.short": Rule(
        verdict=Verdict.WARNING,
        seen=_("The key at %(name)s has %(bits)s bits."),
        why=_("Signers should use 2048 bits or more. Receivers still accept this key today."),
        fix=_("Have your provider make a key of 2048 bits and publish that one."),
        source="RFC 8301, 3.2",
    ),
    "dkim.ed25519": Rule(
        verdict=Verdict.WARNING,
        seen=_("The only key of %(domain)s is an Ed25519 key, at %(name)s."),
        why=_("Many receivers can't check such signatures yet and take the mail as unsigned."),
        fix=_("Have your mail signed with an RSA key of 2048 bits as well."),
        source="RFC 8463, 5",
    ),
    "dkim.testing": Rule(
        verdict=Verdict.WARNING,
        seen=_("The key at %(name)s is marked as a test (“t=y”)."),
        why=_("Receivers treat mail signed with it like unsigned mail."),
        fix=_("Publish the record without this mark."),
        source="RFC 6376, 3.6.1",
    ),
    "dkim.not_for_mail": Rule(
        verdict=Verdict.BAD,
        seen=_("The key at %(name)s may not be used for email: %(text)s"),
        why=_ALL_FAIL,
        fix=_("Publish the record without “s=”."),
        source="RFC 6376, 3.6.1",
    ),
    "dkim.sha1": Rule(
        verdict=Verdict.BAD,
        seen=_("The key at %(name)s allows no signature with SHA-256: %(text)s"),
        why=_("Signatures with SHA-1 must not be accepted any more."),
        fix=_("Publish the record without “h=”."),
        source="RFC 8301, 3.1",
    ),
}

#: Behind the code of a bad key whose signature mail can do without.
SPARE = "_spare"
#: The same, where another signature of the mail is in order.
_SPARE = {
    f"{code}{SPARE}": replace(
        rule,
        verdict=Verdict.WARNING,
        why=_("The mail has another signature that is in order, so it still passes. Some receivers look at one only."),
        source=f"{rule.source}; RFC 6376, 4.2",
    )
    for code, rule in _RULES.items()
    if rule.verdict is Verdict.BAD
}
RULES = _RULES | _SPARE
