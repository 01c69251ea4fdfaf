"""What helps against a hold by the provider, by the kind of trouble."""

from __future__ import annotations

from django.utils.translation import gettext as _

from massmail.choices import AccountTrouble, Phase
from massmail.connecting.advice import Trouble, advise
from massmail.models import EmailAccount


def advice(account: EmailAccount) -> str:
    """Return in words what the owner of a held `account` can do."""
    match account.hold_trouble:
        case AccountTrouble.LOGIN:
            return _enter_the_password(account)
        case AccountTrouble.CONNECTION:
            return _("Connect the account again on its page.")
        case AccountTrouble.ENCRYPTION:
            return _(
                "Check the server's name, port and security on the account's page; saving them releases the account. "
                "The name must be the one in the server's certificate, which a public authority has signed. "
                "No password was sent."
            )
        case AccountTrouble.SERVER:
            return _(
                "Check the server's name and port on the account's page. A server in a private network has to be "
                "entered by an administrator. Saving it releases the account."
            )
        case AccountTrouble.SENDER:
            return _(
                "The provider must allow this login to send as %(address)s: check the from address and the user name, "
                "or add the address at the provider, then release the account on its page."
            ) % {"address": account.from_email}
        case AccountTrouble.LIMIT:
            return _(
                "It goes on by itself. Lower the account's daily limit, so that the provider's own is not reached "
                "again, or add another account."
            )
        case AccountTrouble.POLICY:
            return _(
                "Find out why its mail is refused before you release the account on its page: the recipients, the "
                "content, or the domain's SPF, DKIM and DMARC."
            )
        case AccountTrouble.RETURNS:
            return _(
                "Look at the recipients that failed, and find out where their addresses come from and whether they "
                "expect this mail. Then release the account on its page."
            )
    return _("Mend what the provider complains about, then release the account on its page.")


def _enter_the_password(account: EmailAccount) -> str:
    usual = advise(Trouble(account=account, protocol="SMTP", phase=Phase.AUTH, obstacle=None))
    return usual + " " + _("Entering it again on the account's page releases the account.")
