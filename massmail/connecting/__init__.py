"""From an account to its servers: where they are, how to log in there, and whether that works."""

from massmail.connecting.endpoints import imap_endpoint, smtp_endpoint
from massmail.connecting.handing_in import hand_in
from massmail.connecting.opening import open_imap, open_smtp
from massmail.connecting.providers import find_provider, providers
from massmail.connecting.tokens import connect, disconnect

__all__ = [
    "connect",
    "disconnect",
    "find_provider",
    "hand_in",
    "imap_endpoint",
    "open_imap",
    "open_smtp",
    "providers",
    "smtp_endpoint",
]
