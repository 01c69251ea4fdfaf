"""Findings about the servers of a domain: the ones that take its mail (MX), and the own relay that sends it."""

from django.utils.translation import gettext_lazy as _

from massmail.choices import Verdict
from massmail.deliverability.rules.types import Rule

_NO_WAY_BACK = _("Replies and bounces can't come back, and many receivers refuse mail from such a domain at once.")

RULES = {
    "mx.good": Rule(
        verdict=Verdict.GOOD,
        seen=_("Mail servers of %(domain)s: %(names)s"),
        why=_("Replies and bounces come back."),
        source="RFC 5321, 5.1",
    ),
    "mx.unknown": Rule(
        verdict=Verdict.UNKNOWN,
        seen=_("The DNS gave no answer for the mail servers of %(domain)s."),
        why=_("Whether replies and bounces can come back is not known."),
        fix=_("Check again later. If it stays so, the name servers of the domain are in trouble."),
        source="RFC 5321, 5.1",
    ),
    "mx.invalid": Rule(
        verdict=Verdict.BAD,
        seen=_("“%(domain)s” is not a domain name."),
        why=_NO_WAY_BACK,
        fix=_("Correct the from address of the account."),
        source="RFC 5321, 2.3.5",
    ),
    "mx.no_domain": Rule(
        verdict=Verdict.BAD,
        seen=_("The domain %(domain)s does not exist."),
        why=_NO_WAY_BACK,
        fix=_("Correct the from address of the account, or register the domain."),
        source="RFC 8020; RFC 5321, 5.1",
    ),
    "mx.null": Rule(
        verdict=Verdict.BAD,
        seen=_("%(domain)s says that it accepts no mail (null MX)."),
        why=_NO_WAY_BACK,
        fix=_("Replace the null MX by your mail server, or send from a domain that takes mail."),
        source="RFC 7505, 4.2",
    ),
    "mx.mixed": Rule(
        verdict=Verdict.WARNING,
        seen=_("%(domain)s has a null MX beside real mail servers: %(names)s"),
        why=_("The two contradict each other. Some senders give up at the null MX, and replies are lost."),
        fix=_("Remove the MX record with the empty name (“.”)."),
        source="RFC 7505, 3",
    ),
    "mx.implicit": Rule(
        verdict=Verdict.WARNING,
        seen=_("%(domain)s has an address, but no MX record."),
        why=_("Replies are then tried at the address of the domain itself, often a web server. Some receivers mind."),
        fix=_("Publish an MX record with the name of your mail server."),
        source="RFC 5321, 5.1",
    ),
    "mx.none": Rule(
        verdict=Verdict.BAD,
        seen=_("%(domain)s has neither an MX record nor an address."),
        why=_NO_WAY_BACK,
        fix=_("Publish an MX record with the name of your mail server."),
        source="RFC 5321, 5.1",
    ),
    "mx.dead": Rule(
        verdict=Verdict.BAD,
        seen=_("The mail servers of %(domain)s have no address: %(names)s"),
        why=_NO_WAY_BACK,
        fix=_("Correct the names in the MX records. They have to be names, not addresses."),
        source="RFC 5321, 5.1; RFC 2181, 10.3",
    ),
    "reverse.good": Rule(
        verdict=Verdict.GOOD,
        seen=_("%(address)s is %(name)s, and back."),
        why=_("Receivers see that the relay has a name and that its owner stands by it."),
        source="RFC 1912, 2.1; Gmail sender guidelines",
    ),
    "reverse.unknown": Rule(
        verdict=Verdict.UNKNOWN,
        seen=_("The DNS gave no answer about the name of %(address)s."),
        why=_("Whether the relay has a name that leads back to it is not known."),
        fix=_("Check again later."),
        source="RFC 1912, 2.1",
    ),
    "reverse.private": Rule(
        verdict=Verdict.UNKNOWN,
        seen=_("%(address)s is not a public address."),
        why=_("Receivers see another address, and that one has to have a name in reverse DNS."),
        fix=_("Enter the address with which the relay appears in the internet."),
        source="RFC 6890",
    ),
    "reverse.missing": Rule(
        verdict=Verdict.BAD,
        seen=_("%(address)s has no name in reverse DNS."),
        why=_("Gmail and most other large receivers refuse mail from addresses without a name."),
        fix=_("Have whoever provides the address publish this record, with the name of your relay."),
        source="RFC 1912, 2.1; Gmail sender guidelines",
    ),
    "reverse.mismatch": Rule(
        verdict=Verdict.BAD,
        seen=_("%(address)s is called %(names)s, but that name does not lead back to it."),
        why=_("Anybody can write any name into reverse DNS. Receivers believe it only if the name confirms it."),
        fix=_("Publish this record, or correct the reverse DNS of the address."),
        source="RFC 1912, 2.1; Gmail sender guidelines",
    ),
}
