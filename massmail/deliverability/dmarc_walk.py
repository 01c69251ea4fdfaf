"""Finding DMARC records and Organizational Domains by the DNS Tree Walk (RFC 9989, 4.10)."""

from __future__ import annotations

from dataclasses import dataclass

from massmail.deliverability.lookups import Lookups
from massmail.deliverability.tags import lenient_tags

VERSION = "DMARC1"
#: Labels of a domain from which on the walk skips the middle, and those that it goes on with (4.10).
MANY_LABELS, LABELS_LEFT = 8, 7
POLICIES = ("none", "quarantine", "reject")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A valid DMARC record, published for `domain`."""

    domain: str
    text: str

    @property
    def name(self) -> str:
        return dmarc_name(self.domain)

    @property
    def tags(self) -> dict[str, str]:
        """The tags by name; parts that can't be read count as absent (4.7)."""
        return lenient_tags(self.text)

    def tag(self, name: str, default: str = "") -> str:
        return self.tags.get(name, default).lower()

    @property
    def psd(self) -> str:
        """Whether the domain is a public suffix: "y", "n", or "u" for "not said"."""
        value = self.tag("psd")
        return value if value in {"y", "n"} else "u"

    def policy(self, *, inherited: bool) -> str:
        """Return what to do with mail that fails, or "" if the record does not say so validly (4.10.1).

        `inherited`: the record is for a domain above the one that sends, which has an `sp` of its own.
        """
        own, below = self.tag("p"), self.tag("sp", self.tag("p"))
        # `np` is for domains that do not exist, but an invalid one spoils the whole record.
        if not {own, below, self.tag("np", own)} <= set(POLICIES):
            return ""
        return below if inherited else own

    @property
    def reports(self) -> bool:
        """Whether there is an address for aggregate reports."""
        return any(uri.strip().startswith("mailto:") for uri in self.tag("rua").split(","))


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeWalk:
    """What a walk up from `start` met: valid records from the longest domain to the shortest.

    `unknown` are the names that gave no answer; `others` are the texts at the start, if it has no valid single record.
    """

    start: str
    asked: tuple[str, ...]
    records: tuple[Published, ...]
    unknown: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def own(self) -> Published | None:
        return next((record for record in self.records if record.domain == self.start), None)

    @property
    def organization(self) -> str | None:
        """The Organizational Domain (4.10.2), or None if a name gave no answer, which might have changed it."""
        if self.unknown:
            return None
        for record in self.records:
            if record.psd == "n":
                return record.domain
            if record.psd == "y" and record.domain != self.start:
                return _one_below(record.domain, self.start)
        return self.records[-1].domain if self.records else self.start

    @property
    def applicable(self) -> Published | None:
        """The record whose policy applies (4.10.1): the domain's own, its organization's, its public suffix's."""
        if self.own:
            return self.own
        organization = self.organization
        by_domain = {record.domain: record for record in self.records}
        suffix = next((record for record in self.records if record.psd == "y"), None)
        return by_domain.get(organization or "", suffix)


def dmarc_name(domain: str) -> str:
    return f"_dmarc.{domain}"


def is_dmarc(text: str) -> bool:
    """Return whether `text` is a record of the current version: `v` comes first and its value fits exactly (4.7)."""
    name, equals, value = text.partition(";")[0].partition("=")
    return bool(equals) and name.strip(" \t").lower() == "v" and value.strip(" \t") == VERSION


def targets(domain: str) -> list[str]:
    """Return the domains that a walk from `domain` asks, at most eight (4.10)."""
    labels = domain.split(".")
    above = labels[1:] if len(labels) < MANY_LABELS else labels[-LABELS_LEFT:]
    return [domain, *(".".join(above[at:]) for at in range(len(above)))]


def tree_walk(start: str, lookups: Lookups) -> TreeWalk:
    """Walk up from the domain `start` (A-labels) until a record ends the walk, or to the top."""
    records: list[Published] = []
    asked: list[str] = []
    unknown: list[str] = []
    others: tuple[str, ...] = ()
    for domain in targets(start):
        asked.append(dmarc_name(domain))
        answer = lookups.txt(asked[-1])
        if answer.unknown:
            unknown.append(asked[-1])
        valid = [Published(domain=domain, text=text) for text in answer.values if is_dmarc(text)]
        if len(valid) != 1:
            # Several are as good as none (4.10, steps 2 and 7).
            others = answer.values if domain == start else others
            continue
        records += valid
        if valid[0].psd == "n" or (valid[0].psd == "y" and domain != start):
            break
    return TreeWalk(start=start, asked=tuple(asked), records=tuple(records), unknown=tuple(unknown), others=others)


def _one_below(suffix: str, domain: str) -> str:
    labels = suffix.count(".") + 2
    return ".".join(domain.split(".")[-labels:])
