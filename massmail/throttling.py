"""How often the public pages may be asked for, counted in the default cache.

Two things are counted, by the minute. Requests with one link: once done, the rest is repetition, so turning them away
loses nothing. And links that lead nowhere, by visitor: who tries many is guessing, and finds the pages closed, whether
or not the next guess is right. One-click requests of mail programs are never judged by where they come from, since a
large provider unsubscribes thousands of people from a few addresses.
"""

from __future__ import annotations

import ipaddress
import logging
import time

from django.core.cache import cache
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from massmail.conf import conf

logger = logging.getLogger("massmail")


class Throttle:
    """Counts what comes with `request`, by hashes that nobody can read a token or an address from."""

    #: For how long is counted.
    seconds = 60

    def __init__(self, request: HttpRequest) -> None:
        self.visitor = visitor(str(request.META.get("REMOTE_ADDR", "")))

    def too_often(self, token: str) -> bool:
        """Count a request with the link `token`; True if it is one too many."""
        return 0 < conf.unsubscribe_rate < self._count("link", token)

    def note_guess(self) -> None:
        """Count that the visitor came with a link that leads nowhere."""
        if self.visitor and conf.unsubscribe_rate:
            self._count("guess", self.visitor)

    def guesses_too_often(self) -> bool:
        """Tell whether the visitor came with too many links that lead nowhere."""
        return bool(self.visitor) and 0 < conf.unsubscribe_rate < self._count("guess", self.visitor, by=0)

    def _count(self, kind: str, value: str, *, by: int = 1) -> int:
        """Return how often `value` was counted this minute, `by` included; 0 if the cache is out of order."""
        minute = int(time.time() // self.seconds)
        key = f"massmail:{kind}:{minute}:{salted_hmac('massmail.throttling', value).hexdigest()}"
        try:
            if not by:
                return int(cache.get(key) or 0)
            return by if cache.add(key, by, self.seconds) else cache.incr(key, by)
        except ValueError:
            return 0  # the cache keeps nothing, or has just dropped it
        except Exception:
            # Who wants to unsubscribe must not be turned away because the cache is down.
            logger.exception("Requests to unsubscribe could not be counted")
            return 0


def visitor(address: str) -> str:
    """Return whom the network `address` stands for: a host, or a customer's whole network in IPv6 (RFC 6177).

    "" for an address that is not public: it is our own proxy's, which tells everybody's requests from nobody's.
    """
    try:
        host = ipaddress.ip_address(address)
    except ValueError:
        return ""  # a socket of the machine itself
    if not host.is_global:
        return ""
    return str(ipaddress.ip_network((host, 64), strict=False)) if host.version == 6 else str(host)
