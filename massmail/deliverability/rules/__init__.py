"""Every kind of finding, by its permanent code: verdict, texts, and whose rule it is."""

from massmail.deliverability.rules.dkim import RULES as DKIM
from massmail.deliverability.rules.dmarc import RULES as DMARC
from massmail.deliverability.rules.mail import RULES as MAIL
from massmail.deliverability.rules.servers import RULES as SERVERS
from massmail.deliverability.rules.spf import RULES as SPF
from massmail.deliverability.rules.types import Rule

__all__ = ["RULES", "Rule"]

RULES: dict[str, Rule] = SERVERS | SPF | DKIM | DMARC | MAIL
