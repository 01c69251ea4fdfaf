"""Who gets the mail where several want the same address: decided purely, for creating and for counting."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from massmail.choices import Exclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One object's claim to an address."""

    object_id: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The object that gets the mail, by address, and the claims that came to nothing with the reason."""

    winners: dict[str, Claim]
    rejected: list[tuple[Claim, Exclusion]]


def contested(claims: Iterable[Claim], holders: Mapping[str, Claim]) -> set[str]:
    """Return the ids of the objects that want an address that another one wants or holds."""
    wanted: dict[str, set[str]] = {}
    for claim in claims:
        wanted.setdefault(claim.address, set()).add(claim.object_id)
    for address, holder in holders.items():
        wanted.get(address, set()).add(holder.object_id)
    return {object_id for rivals in wanted.values() if len(rivals) > 1 for object_id in rivals}


def settle(
    claims: Iterable[Claim],
    *,
    holders: Mapping[str, Claim],
    suppressed: Collection[str],
    ranks: Mapping[str, int],
) -> Settlement:
    """Decide on `claims` to addresses that `holders` may have already; of two the lower of `ranks` wins."""
    winners = dict(holders)
    rejected: list[tuple[Claim, Exclusion]] = []
    for claim in claims:
        rival = winners.get(claim.address)
        if claim.address in suppressed:
            rejected.append((claim, Exclusion.SUPPRESSED))
        elif rival is None:
            winners[claim.address] = claim
        elif rival.object_id != claim.object_id:
            winner, loser = sorted((rival, claim), key=lambda each: ranks.get(each.object_id, 0))
            winners[claim.address] = winner
            rejected.append((loser, Exclusion.DUPLICATE))
    return Settlement(winners=winners, rejected=rejected)
