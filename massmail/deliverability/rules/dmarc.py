"""Findings about DMARC and alignment (RFC 9989)."""

from django.utils.translation import gettext_lazy as _

from massmail.choices import Verdict
from massmail.deliverability.rules.types import Rule

_AS_IF_NONE = _(
    "Receivers act as if there was none. Gmail, Yahoo and Microsoft require DMARC from 5,000 mails a day on."
)
_PROTECTS = _("Receivers know what to do with forged mail of the domain, and trust the true one more.")

RULES = {
    "dmarc.none": Rule(
        verdict=Verdict.GOOD,
        seen=_("Policy “none”, at %(name)s: %(text)s"),
        why=_(
            "That is what Gmail and Yahoo require at least. It only watches: forged mail of the domain is not stopped."
        ),
        fix=_("When the reports show that all your own mail passes, go on to “quarantine” and “reject”."),
        source="RFC 9989, 4.7; Gmail and Yahoo sender requirements (February 2024)",
    ),
    "dmarc.quarantine": Rule(
        verdict=Verdict.GOOD,
        seen=_("Policy “quarantine”, at %(name)s: %(text)s"),
        why=_PROTECTS,
        source="RFC 9989, 4.7",
    ),
    "dmarc.reject": Rule(
        verdict=Verdict.GOOD,
        seen=_("Policy “reject”, at %(name)s: %(text)s"),
        why=_PROTECTS,
        source="RFC 9989, 4.7",
    ),
    "dmarc.unknown": Rule(
        verdict=Verdict.UNKNOWN,
        seen=_("The DNS gave no answer for %(names)s."),
        why=_("Which DMARC policy applies to the domain is not known."),
        fix=_("Check again later. If it stays so, the name servers of the domain are in trouble."),
        source="RFC 9989, 4.10.1",
    ),
    "dmarc.missing": Rule(
        verdict=Verdict.WARNING,
        seen=_("No DMARC record for %(domain)s. Looked for at: %(names)s"),
        why=_AS_IF_NONE,
        fix=_("Publish this record; take an address for the reports that somebody reads, or a service that does."),
        source="RFC 9989, 4.10; Gmail and Yahoo sender requirements (February 2024), Microsoft's (May 2025)",
    ),
    "dmarc.mistyped": Rule(
        verdict=Verdict.BAD,
        seen=_("The text at %(name)s was probably meant to be a DMARC record: %(text)s"),
        why=_AS_IF_NONE,
        fix=_("Publish it in this form: it begins with “v=DMARC1”, in capitals, and a semicolon."),
        source="RFC 9989, 4.7 and 4.10",
    ),
    "dmarc.several": Rule(
        verdict=Verdict.BAD,
        seen=_("There are %(count)s DMARC records at %(name)s: %(text)s"),
        why=_AS_IF_NONE,
        fix=_("Keep one of them and remove the others."),
        source="RFC 9989, 4.10",
    ),
    "dmarc.broken": Rule(
        verdict=Verdict.BAD,
        seen=_("The DMARC record at %(name)s has no policy that receivers understand: %(text)s"),
        why=_AS_IF_NONE,
        fix=_("Give a policy: “p=none”, “p=quarantine” or “p=reject”."),
        source="RFC 9989, 4.7 and 4.10.1",
    ),
    "dmarc.recovered": Rule(
        verdict=Verdict.WARNING,
        seen=_("The DMARC record at %(name)s has no valid policy: %(text)s"),
        why=_("Receivers act as if it said “p=none”, because it asks for reports. Older ones may ignore it."),
        fix=_("Give a policy: “p=none”, “p=quarantine” or “p=reject”."),
        source="RFC 9989, 4.10.1",
    ),
    "dmarc.testing": Rule(
        verdict=Verdict.WARNING,
        seen=_("The DMARC record at %(name)s is in test mode: %(text)s"),
        why=_("Receivers do not apply the policy, or to a part of the mail only."),
        fix=_("When the reports show that all your own mail passes, publish the record without “t” and “pct”."),
        source="RFC 9989, 4.7",
    ),
    "dmarc.no_reports": Rule(
        verdict=Verdict.WARNING,
        seen=_("The DMARC record at %(name)s asks for no reports: %(text)s"),
        why=_("Without “rua” nobody tells you when your own mail fails, or who sends in your name."),
        fix=_("Add an address for reports."),
        source="RFC 9989, 4.7",
    ),
    "alignment.both": Rule(
        verdict=Verdict.GOOD,
        seen=_("SPF checks %(spf)s and DKIM signs for %(dkim)s; both belong to %(domain)s."),
        why=_("Mail passes DMARC even where one of the two fails, as SPF does when mail is forwarded."),
        source="RFC 9989, 4.4",
    ),
    "alignment.spf": Rule(
        verdict=Verdict.WARNING,
        seen=_("Only SPF belongs to %(domain)s. DKIM signs for %(dkim)s."),
        why=_("Forwarded mail fails DMARC: SPF does not survive forwarding."),
        fix=_("Have your provider sign with a key of %(domain)s."),
        source="RFC 9989, 4.4.1",
    ),
    "alignment.dkim": Rule(
        verdict=Verdict.GOOD,
        seen=_("DKIM signs for %(dkim)s, which belongs to %(domain)s. SPF checks %(spf)s."),
        why=_("DKIM alone is enough to pass DMARC."),
        source="RFC 9989, 4.4.1",
    ),
    "alignment.neither": Rule(
        verdict=Verdict.BAD,
        seen=_("Neither SPF (%(spf)s) nor DKIM (%(dkim)s) belongs to %(domain)s."),
        why=_("All mail of the account fails DMARC, whether SPF and DKIM pass or not."),
        fix=_("Have your provider sign with a key of %(domain)s, or send with an address of the domain that signs."),
        source="RFC 9989, 4.4; Gmail sender guidelines",
    ),
    "alignment.spf_so_far": Rule(
        verdict=Verdict.GOOD,
        seen=_("SPF checks %(spf)s, which belongs to %(domain)s. For which domain DKIM signs is not known yet."),
        why=_("SPF alone is enough to pass DMARC, as long as mail is not forwarded."),
        fix=_("Press “Send a test mail to itself” to see whether DKIM signs for the same domain."),
        source="RFC 9989, 4.4.2",
    ),
    "alignment.unknown": Rule(
        verdict=Verdict.UNKNOWN,
        seen=_("Whether SPF (%(spf)s) or DKIM (%(dkim)s) belongs to %(domain)s is not known."),
        why=_("At least one of them has to, or all mail of the account fails DMARC."),
        fix=_("Press “Send a test mail to itself”, and check again later."),
        source="RFC 9989, 4.4",
    ),
}
