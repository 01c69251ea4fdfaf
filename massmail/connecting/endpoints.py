"""Where and how an account's mail is handed in and fetched."""

from __future__ import annotations

from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from massmail.choices import Obstacle, Phase, Security
from massmail.conf import conf
from massmail.connecting.tokens import access_token
from massmail.fields import Undecryptable
from massmail.models import EmailAccount
from massmail.transport import Endpoint, Reply, TransportError


@sensitive_variables()
def smtp_endpoint(account: EmailAccount) -> Endpoint:
    """Return where mail of `account` is handed in. Raises `TransportError` if password or token can't be had."""
    return _endpoint(
        account,
        host=account.smtp_host,
        port=account.smtp_port,
        security=account.smtp_security,
        username=account.smtp_username,
        password=account.smtp_password,
    )


@sensitive_variables()
def imap_endpoint(account: EmailAccount) -> Endpoint:
    """Return where mail to `account` is fetched; user name and password as for SMTP unless it has others for IMAP.

    Raises `TransportError` if password or token can't be had.
    """
    return _endpoint(
        account,
        host=account.imap_host,
        port=account.imap_port,
        security=account.imap_security,
        username=account.imap_username or account.smtp_username,
        password=_own_or_shared(account),
    )


def _own_or_shared(account: EmailAccount) -> str:
    """Return the password for IMAP; one of its own that can't be opened is not replaced by that for SMTP."""
    own: str = account.imap_password
    return own if own or isinstance(own, Undecryptable) else account.smtp_password


@sensitive_variables()
def _endpoint(account: EmailAccount, *, host: str, port: int, security: str, username: str, password: str) -> Endpoint:
    server = f"{host}:{port}"
    by_token = bool(account.oauth_provider)
    _insist_on_key(account.oauth_refresh_token if by_token else password)
    return Endpoint(
        host=host,
        port=port,
        security=Security(security),
        username=(username or account.from_email) if by_token else username,
        password="" if by_token else password,
        token=access_token(account) if by_token else "",
        timeout=conf.smtp_timeout,
        clear_text=bool({host, server} & set(conf.clear_text_hosts)),
        trusted=server in account.trusted_servers,
    )


def _insist_on_key(secret: str) -> None:
    """Raise `TransportError` for a secret that no key opens: an empty one in its place might lock a mailbox."""
    if isinstance(secret, Undecryptable):
        words = _(
            "The password or token was encrypted with a key that is no longer among MASSMAIL_FIELD_KEYS. "
            "Enter it again, or bring the old key back."
        )
        raise TransportError(Reply(phase=Phase.AUTH, code=None, text=words, local=True, obstacle=Obstacle.NO_TOKEN))
