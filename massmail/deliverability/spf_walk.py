"""Following an SPF record through its includes, as a receiver does (RFC 7208, 4.6.4 and 5.2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_network

from massmail.deliverability.lookups import Address, Answer, Lookups
from massmail.deliverability.spf_records import ASKING, Network, Policy, Term, expand, is_spf, parse

#: Terms that may ask the DNS (4.6.4); void answers (4.6.4); names behind one `mx` or `ptr` (4.6.4).
MOST_LOOKUPS, MOST_VOIDS, MOST_EXCHANGES = 10, 2, 10
#: Where counting ends: the verdict is clear long before, and a hostile record could go on for ever.
COUNTED = 30


@dataclass(slots=True, kw_only=True)
class Walk:
    """What was met on the way; filled by `walk`.

    `lookups` counts the terms that ask the DNS, `voids` those that get nothing, whatever the mail. `judged` tells of
    networks whether they may send; the first that fits counts. `includes` names the records whose servers may.
    `unknown` are names that gave no answer, `macros` terms that depend on the single mail, `broken` names with no
    usable record where one is needed, `loops` names that lead back to themselves, `open` the parts of the first record
    that let everybody send, but for an `all` of its own.
    """

    lookups: int = 0
    voids: int = 0
    judged: list[tuple[Network, bool]] = field(default_factory=list)
    includes: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    macros: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)
    crowded: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether everything could be followed, so that what was not met is not there."""
        return not (self.unknown or self.macros or self.loops or self.lookups > MOST_LOOKUPS)

    @property
    def networks(self) -> list[Network]:
        """Those that may send with "pass"."""
        return [network for network, passes in self.judged if passes]

    def lets(self, address: Address) -> bool:
        """Return whether `address` may send."""
        return next((passes for network, passes in self.judged if address in network), False)

    def covers(self, networks: Iterable[Network]) -> bool:
        """Return whether all of `networks`, and at least one, may send."""
        networks = list(networks)
        return bool(networks) and all(any(_within(small, big) for big in self.networks) for small in networks)


def walk(policy: Policy, domain: str, lookups: Lookups, version: int | None = None) -> Walk:
    """Follow `policy`, the record of `domain`, and all that it includes.

    Addresses behind a and mx are collected of the IP version `version`; of either, where it is None.
    """
    seen = Walk()
    _Walker(seen, lookups, (version,) if version else (4, 6)).policy(policy, (domain,))
    return seen


def _within(small: Network, big: Network) -> bool:
    return small.version == big.version and small.subnet_of(big)  # type: ignore[arg-type]


class _Walker:
    def __init__(self, seen: Walk, lookups: Lookups, versions: tuple[int, ...]) -> None:
        self.seen = seen
        self.lookups = lookups
        self.versions = versions

    def policy(self, policy: Policy, path: tuple[str, ...], *, passes: bool = True) -> None:
        """Follow the record of `path[-1]`, reached by way of the others; `passes`: a match there means "pass" here."""
        for term in policy.effective:
            if passes and term.qualifier == "+":
                self.passed(term, path)
            elif term.network and len(path) == 1:  # in an include it keeps only that from matching (5.2)
                self.seen.judged.append((term.network, False))
            if term.name not in ASKING:
                continue
            self.seen.lookups += 1
            if self.seen.lookups > COUNTED:
                return
            self.term(term, path, passes=passes and term.qualifier in {"+", ""})

    def passed(self, term: Term, path: tuple[str, ...]) -> None:
        """Note whom `term` lets send; `all` in the first record itself is there for everybody to see."""
        if term.network:
            self.seen.judged.append((term.network, True))
        everybody = term.name == "all" or (term.network is not None and term.network.prefixlen == 0)
        if everybody and (term.network or len(path) > 1):
            self.seen.open.append(path[1] if len(path) > 1 else term.text)

    def term(self, term: Term, path: tuple[str, ...], *, passes: bool) -> None:
        name = expand(term.domain, path[-1])
        if name is None or term.name == "ptr":
            self.seen.macros.append(term.text)
        elif term.name in {"include", "redirect"}:
            self.record(name, path, passes=passes)
        elif term.name == "exists":
            self.noted(name, self.lookups.addresses(name, (4,)))
        else:
            self.hosts(term, name, path, passes=passes)

    def record(self, name: str, path: tuple[str, ...], *, passes: bool) -> None:
        if name in path:
            self.seen.loops.append(name)
            return
        if passes:
            self.seen.includes.append(name)
        answer = self.lookups.txt(name)
        self.noted(name, answer)
        records = [text for text in answer.values if is_spf(text)]
        policy = parse(records[0]) if len(records) == 1 else None
        if policy is None or policy.errors:
            # Neither none nor several nor an unreadable one: each makes the whole record an error (5.2, 6.1).
            if not answer.unknown:
                self.seen.broken.append(name)
            return
        self.policy(policy, (*path, name), passes=passes)

    def hosts(self, term: Term, name: str, path: tuple[str, ...], *, passes: bool) -> None:
        hosts = [name]
        if term.name == "mx":
            exchanges = self.lookups.mx(name)
            self.noted(name, exchanges)
            hosts = [exchange.host for exchange in sorted(exchanges.values) if exchange.host]
            if len(hosts) > MOST_EXCHANGES:
                self.seen.crowded.append(name)
        for host in hosts[:MOST_EXCHANGES]:
            answers = [self.lookups.addresses(host, (version,)) for version in self.versions]
            if term.name == "a":
                self.noted(name, *answers)
            elif any(answer.unknown for answer in answers):
                self.seen.unknown.append(host)
            if passes or len(path) == 1:
                found = [_network(address, term) for answer in answers for address in answer.values]
                self.seen.judged += [(network, passes) for network in found]

    def noted(self, name: str, *answers: Answer[object]) -> None:
        """Count a term that got nothing as void, and note a name that gave no answer."""
        if any(answer.unknown for answer in answers):
            self.seen.unknown.append(name)
        elif not any(answer.found for answer in answers):
            self.seen.voids += 1


def _network(address: Address, term: Term) -> Network:
    length = term.lengths[0 if address.version == 4 else 1]
    return ip_network(f"{address}/{length}", strict=False)
