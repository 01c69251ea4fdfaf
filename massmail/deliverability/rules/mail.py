"""Findings about the account's own mail: how it was signed, and what the server that took it says of it."""

from django.utils.translation import gettext_lazy as _

from massmail.choices import Verdict
from massmail.deliverability.rules.types import Rule

_BULK = "Gmail and Yahoo sender requirements (February 2024)"
_ALL_FAIL = _("Other receivers see the same: they refuse such mail or file it as spam.")

RULES = {
    "mail.covered": Rule(
        verdict=Verdict.GOOD,
        seen=_("Signed by %(domain)s with the selector “%(selector)s”, the sender and both unsubscribe headers too."),
        why=_("Gmail, Yahoo and others show their own unsubscribe button, which people press instead of “spam”."),
        source=f"RFC 8058, 4; {_BULK}",
    ),
    "mail.uncovered": Rule(
        verdict=Verdict.WARNING,
        seen=_("The signature of %(domain)s (selector “%(selector)s”) leaves out: %(headers)s"),
        why=_(
            "One-click unsubscribing counts only if a signature covers both headers. Gmail and Yahoo require it of "
            "bulk senders."
        ),
        fix=_(
            "Have your provider, or whoever runs the server, sign these headers as well. With OpenDKIM: "
            "SignHeaders *,+list-unsubscribe,+list-unsubscribe-post"
        ),
        source=f"RFC 8058, 4; {_BULK}",
    ),
    "mail.no_from": Rule(
        verdict=Verdict.BAD,
        seen=_("The signature of %(domain)s (selector “%(selector)s”) does not cover “From”."),
        why=_("Receivers must not accept such a signature."),
        fix=_("Have your provider, or whoever runs the server, sign “From”."),
        source="RFC 6376, 5.4 and 6.1.1",
    ),
    "mail.unsigned": Rule(
        verdict=Verdict.WARNING,
        seen=_("The test mail has no DKIM signature."),
        why=_(
            "Gmail, Yahoo and Microsoft require one of bulk senders. Some providers do not sign mail that stays with "
            "them: then this says nothing about mail that goes elsewhere."
        ),
        fix=_("Switch on DKIM for the domain at your provider, and publish the key that it shows."),
        source=f"{_BULK}, Microsoft's (May 2025)",
    ),
    "mail.passed": Rule(
        verdict=Verdict.GOOD,
        seen=_("%(server)s, which took the mail, says: %(results)s"),
        why=_("A receiver has looked at the mail as others will."),
        source="RFC 8601, 2.7",
    ),
    "mail.failed": Rule(
        verdict=Verdict.BAD,
        seen=_("%(server)s, which took the mail, says: %(result)s"),
        why=_ALL_FAIL,
        fix=_("Do what stands here under SPF, DKIM and DMARC, then send the test mail again."),
        source=f"RFC 8601, 2.7; {_BULK}, Microsoft's (May 2025)",
    ),
    "mail.weak": Rule(
        verdict=Verdict.WARNING,
        seen=_("%(server)s, which took the mail, says: %(result)s"),
        why=_("The mail does not pass this check. It may pass DMARC all the same, but one leg is missing."),
        fix=_("Do what stands here under SPF and DKIM, then send the test mail again."),
        source="RFC 8601, 2.7; RFC 9989, 4.4",
    ),
    "mail.undecided": Rule(
        verdict=Verdict.UNKNOWN,
        seen=_("%(server)s, which took the mail, could not tell: %(result)s"),
        why=_("The DNS did not answer it."),
        fix=_("Send the test mail again."),
        source="RFC 8601, 2.7",
    ),
    "mail.silent": Rule(
        verdict=Verdict.UNKNOWN,
        seen=_("The server that took the mail wrote down no results (“Authentication-Results”)."),
        why=_("What it thinks of SPF, DKIM and DMARC can't be seen. Many do not look at mail of their own users."),
        fix=_("To see what others think, write to a mailbox elsewhere and look at the headers there."),
        source="RFC 8601, 5",
        counts=False,
    ),
    "mail.junk": Rule(
        verdict=Verdict.WARNING,
        seen=_("The test mail was filed as spam."),
        why=_("If your own provider takes it for spam, others will."),
        fix=_("Mend what else stands here. Mark the mail as “not spam” in the mailbox."),
        source="Gmail sender guidelines",
    ),
    "mail.lost": Rule(
        verdict=Verdict.UNKNOWN,
        seen=_("The test mail was not found in the inbox within %(minutes)s minutes."),
        why=_("Whether it is signed, and how, is not known."),
        fix=_("Look into the mailbox: a filter may have moved it. Or send the test mail again."),
        source="RFC 5321, 6.1",
    ),
    "mail.unreadable": Rule(
        verdict=Verdict.UNKNOWN,
        seen=_("The mailbox could not be read: %(words)s"),
        why=_("Whether the test mail is signed, and how, is not known."),
        fix=_("Press “Test connection” on the account's page. When that is good, send the test mail again."),
        source="RFC 9051, 6.2",
    ),
}
