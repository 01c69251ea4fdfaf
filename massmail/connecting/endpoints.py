"""Where and how an account's mail is handed in and fetched."""

from __future__ import annotations

from django.views.decorators.debug import sensitive_variables

from massmail.choices import Security
from massmail.conf import conf
from massmail.connecting.tokens import access_token
from massmail.models import EmailAccount
from massmail.transport import Endpoint


@sensitive_variables()
def smtp_endpoint(account: EmailAccount) -> Endpoint:
    """Return where mail of `account` is handed in. Raises `TransportError` if no OAuth2 token can be had."""
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

    Raises `TransportError` if no OAuth2 token can be had.
    """
    return _endpoint(
        account,
        host=account.imap_host,
        port=account.imap_port,
        security=account.imap_security,
        username=account.imap_username or account.smtp_username,
        password=account.imap_password or account.smtp_password,
    )


@sensitive_variables()
def _endpoint(account: EmailAccount, *, host: str, port: int, security: str, username: str, password: str) -> Endpoint:
    server = f"{host}:{port}"
    by_token = bool(account.oauth_provider)
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
