"""Findings about SPF (RFC 7208)."""

from django.utils.translation import gettext_lazy as _

from massmail.choices import Verdict
from massmail.deliverability.rules.types import Rule

_AN_ERROR = _(
    "Receivers take such a record for an error (“permerror”) and treat the mail as if it had no SPF, or refuse it."
)

RULES = {
    "spf.good": Rule(
        verdict=Verdict.GOOD,
        seen=_("%(text)s"),
        why=_("Receivers can tell that the servers of %(domain)s may send its mail. DNS lookups needed: %(lookups)s."),
        source="RFC 7208, 4.6.4",
    ),
    "spf.unknown": Rule(
        verdict=Verdict.UNKNOWN,
        seen=_("The DNS gave no answer for the text records of %(domain)s."),
        why=_("Whether there is an SPF record is not known."),
        fix=_("Check again later. If it stays so, the name servers of the domain are in trouble."),
        source="RFC 7208, 4.4",
    ),
    "spf.missing": Rule(
        verdict=Verdict.BAD,
        seen=_("%(domain)s has no SPF record."),
        why=_(
            "Gmail, Yahoo and Microsoft refuse mail, or file it as spam, if nothing says who may send for its domain."
        ),
        fix=_("Publish this record. Add whatever else sends mail for the domain."),
        source="RFC 7208, 4.5; Gmail and Yahoo sender requirements (February 2024), Microsoft's (May 2025)",
    ),
    "spf.mistyped": Rule(
        verdict=Verdict.BAD,
        seen=_("This text was probably meant to be an SPF record: %(text)s"),
        why=_("Receivers take a text for an SPF record only if it begins with “v=spf1” and a space, without quotes."),
        fix=_("Publish it in this form."),
        source="RFC 7208, 4.5",
    ),
    "spf.several": Rule(
        verdict=Verdict.BAD,
        seen=_("%(domain)s has %(count)s SPF records: %(text)s"),
        why=_AN_ERROR,
        fix=_("Put all of it into one record and remove the others."),
        source="RFC 7208, 3.2 and 4.5",
    ),
    "spf.syntax": Rule(
        verdict=Verdict.BAD,
        seen=_("Parts of the SPF record can't be read: %(parts)s"),
        why=_AN_ERROR,
        fix=_("Correct these parts. This is the record without them."),
        source="RFC 7208, 4.6 and 12",
    ),
    "spf.lookups": Rule(
        verdict=Verdict.BAD,
        seen=_("The SPF record needs %(lookups)s DNS lookups; 10 are allowed. Record: %(text)s"),
        why=_AN_ERROR,
        fix=_(
            "Remove includes of services that no longer send, or give the addresses of your own servers by ip4 and ip6."
        ),
        source="RFC 7208, 4.6.4",
    ),
    "spf.voids": Rule(
        verdict=Verdict.WARNING,
        seen=_("%(voids)s parts of the SPF record lead to names without any data; 2 are allowed. Record: %(text)s"),
        why=_AN_ERROR,
        fix=_("Remove the parts whose names no longer exist."),
        source="RFC 7208, 4.6.4",
    ),
    "spf.crowded": Rule(
        verdict=Verdict.BAD,
        seen=_("“mx” in the SPF record leads to more than 10 mail servers: %(names)s"),
        why=_AN_ERROR,
        fix=_("Give the addresses of the servers that send by ip4 and ip6 in place of “mx”."),
        source="RFC 7208, 4.6.4",
    ),
    "spf.loop": Rule(
        verdict=Verdict.BAD,
        seen=_("The SPF record comes back to itself by way of %(names)s."),
        why=_AN_ERROR,
        fix=_("Remove the include or redirect that leads back."),
        source="RFC 7208, 4.6.4",
    ),
    "spf.broken_include": Rule(
        verdict=Verdict.BAD,
        seen=_("The SPF record relies on the record of another name, where there is no usable one: %(names)s"),
        why=_AN_ERROR,
        fix=_("Remove or correct these includes."),
        source="RFC 7208, 5.2 and 6.1",
    ),
    "spf.unfollowed": Rule(
        verdict=Verdict.UNKNOWN,
        seen=_("The DNS gave no answer for names that the SPF record relies on: %(names)s"),
        why=_("As long as they do not answer, receivers can't tell who may send, and may defer the mail."),
        fix=_("Check again later."),
        source="RFC 7208, 2.6.6",
    ),
    "spf.pass_all": Rule(
        verdict=Verdict.BAD,
        seen=_("The SPF record ends with “+all”: %(text)s"),
        why=_(
            "It lets the whole world send mail for the domain. Receivers trust such a domain less than one without SPF."
        ),
        fix=_("End the record with “~all” or “-all”."),
        source="RFC 7208, 5.1 and 11",
    ),
    "spf.pass_world": Rule(
        verdict=Verdict.BAD,
        seen=_("The SPF record lets the whole world send mail for the domain, by way of %(names)s."),
        why=_("Receivers trust such a domain less than one without SPF, and anybody can send in its name."),
        fix=_("Remove that part. If it is another name, only whoever runs it can correct the record there."),
        source="RFC 7208, 5.2, 5.6 and 11",
    ),
    "spf.neutral_all": Rule(
        verdict=Verdict.WARNING,
        seen=_("The SPF record ends with “?all”: %(text)s"),
        why=_("It says nothing about servers that are not listed, so it protects nobody from forged mail."),
        fix=_("End the record with “~all” or “-all”."),
        source="RFC 7208, 5.1 and 8.2",
    ),
    "spf.no_all": Rule(
        verdict=Verdict.WARNING,
        seen=_("The SPF record has no end: neither “all” nor “redirect”. Record: %(text)s"),
        why=_("Servers that are not listed count as “neutral”, as if it ended with “?all”."),
        fix=_("End the record with “~all” or “-all”."),
        source="RFC 7208, 4.7",
    ),
    "spf.after_all": Rule(
        verdict=Verdict.WARNING,
        seen=_("Parts of the SPF record stand behind its end, “all”: %(parts)s"),
        why=_("Receivers stop at “all” and never look at what comes behind it."),
        fix=_("Move these parts before “all”, or remove them."),
        source="RFC 7208, 5.1",
    ),
    "spf.ptr": Rule(
        verdict=Verdict.WARNING,
        seen=_("The SPF record uses “ptr”: %(text)s"),
        why=_("It is slow and unreliable, must not be used any more, and some large receivers ignore it."),
        fix=_("Give the addresses of the servers by ip4 and ip6 in its place."),
        source="RFC 7208, 5.5",
    ),
    "spf.long": Rule(
        verdict=Verdict.WARNING,
        seen=_("The SPF record is %(length)s bytes long: %(text)s"),
        why=_("Beyond 450 bytes an answer may not fit into one packet, and some receivers then find no record at all."),
        fix=_("Shorten it: remove what no longer sends, or move a part to a name of its own and include that."),
        source="RFC 7208, 3.4",
    ),
    "spf.provider": Rule(
        verdict=Verdict.BAD,
        seen=_("The SPF record does not allow the servers of %(provider)s: %(text)s"),
        why=_("The account sends through %(provider)s. Its mail fails SPF at every receiver."),
        fix=_("Add “include:%(include)s” to the record."),
        source="RFC 7208, 5.2; instructions of the provider",
    ),
    "spf.relay": Rule(
        verdict=Verdict.BAD,
        seen=_("The SPF record does not allow the address of your relay, %(address)s: %(text)s"),
        why=_("The mail of the account leaves from that address. It fails SPF at every receiver."),
        fix=_("Add “%(mechanism)s” to the record."),
        source="RFC 7208, 5.6",
    ),
    "spf.relay_unknown": Rule(
        verdict=Verdict.UNKNOWN,
        seen=_("Whether the SPF record allows the address of your relay, %(address)s, can't be told: %(text)s"),
        why=_("A part of the record depends on the single mail, or could not be followed."),
        fix=_("Add “%(mechanism)s” to the record to be sure."),
        source="RFC 7208, 7",
    ),
}
