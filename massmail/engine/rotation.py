"""Who comes next: mailings that share an account, accounts that share a mailing. Pure; the forecast asks as well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar


class _Numbered(Protocol):
    @property
    def pk(self) -> Any: ...


Key = TypeVar("Key")
Numbered = TypeVar("Numbered", bound=_Numbered)


def in_turn(mailings: Sequence[Numbered], last: int) -> list[Numbered]:
    """Return `mailings` beginning with the one after `last`: whoever spoke waits until all others had a turn."""
    return [mailing for mailing in mailings if mailing.pk > last] + [
        mailing for mailing in mailings if mailing.pk <= last
    ]


class Turns:
    """Gives out accounts in proportion to their daily limits, evenly mixed (smooth weighted round robin).

    `weights` are the limits by account.
    """

    def __init__(self, weights: Mapping[int, int], *, start: int) -> None:
        self.weights = dict(weights)
        self.credit = dict.fromkeys(self.weights, 0)
        # Chunks that begin elsewhere begin with another account, or a series of mailings to one would all use the
        # first.
        for _ in range(start % (len(self.weights) or 1)):
            self.next()

    def next(self) -> int:
        for key, weight in self.weights.items():
            self.credit[key] += weight
        chosen = max(self.credit, key=self.credit.__getitem__)
        self.credit[chosen] -= sum(self.weights.values())
        return chosen


def shares(weights: Mapping[Key, int], count: int) -> Counter[Key]:
    """Return how many of `count` recipients each account gets by `Turns`, to within one mail or two; or what else."""
    total = sum(weights.values()) or 1
    parts = Counter({key: count * weight // total for key, weight in weights.items()})
    short = sorted(weights, key=lambda key: count * weights[key] % total, reverse=True)
    parts.update(short[: count - parts.total()])
    return parts
