"""SPF of a sending domain (RFC 7208): is there one usable record, and does it allow the account's server?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from massmail.deliverability.findings import Finding, Record, finding
from massmail.deliverability.lookups import Address, Lookups
from massmail.deliverability.providers import Provider
from massmail.deliverability.spf_records import VERSION, Policy, is_mistyped, is_spf, merged, parse, retyped, rewritten
from massmail.deliverability.spf_walk import COUNTED, MOST_LOOKUPS, MOST_VOIDS, Walk, walk

#: Bytes of name and record that fit into one packet with the rest of the answer (3.4).
ONE_PACKET = 450
#: Records that are merged into one suggestion.
MERGED = 5
#: What a rewritten record mends, each by all that is wrong with it: there is one record to publish, not one for each.
MENDED = frozenset(
    {
        "spf.syntax",
        "spf.pass_all",
        "spf.neutral_all",
        "spf.no_all",
        "spf.after_all",
        "spf.provider",
        "spf.relay",
        "spf.relay_unknown",
        "spf.broken_include",
    }
)


def check_spf(domain: str, lookups: Lookups, provider: Provider | None, relay: Address | None) -> Iterator[Finding]:
    """Yield what is found about the SPF record of `domain` (A-labels).

    `provider` runs the account's SMTP server; `relay` is the public address of an own one.
    """
    answer = lookups.txt(domain)
    records = [text for text in answer.values if is_spf(text)]
    if answer.unknown:
        yield finding("spf.unknown", domain=domain)
    elif not records:
        yield _missing(domain, answer.values, provider, relay)
    elif len(records) > 1:
        one = merged(parse(text) for text in records[:MERGED])
        yield finding(
            "spf.several", record=_record(domain, one), domain=domain, count=len(records), text=" | ".join(records)
        )
    else:
        yield from _one_record(domain, records[0], lookups, provider, relay)


def _missing(domain: str, texts: Sequence[str], provider: Provider | None, relay: Address | None) -> Finding:
    mistyped = next((text for text in texts if is_mistyped(text)), None)
    if mistyped is not None:
        return finding("spf.mistyped", record=_record(domain, retyped(mistyped)), text=mistyped)
    if provider and provider.includes:
        allowed = f"include:{provider.includes[0]}"
    else:
        allowed = _mechanism(relay) if relay else "mx"
    return finding("spf.missing", record=_record(domain, f"{VERSION} {allowed} ~all"), domain=domain)


def _one_record(
    domain: str, text: str, lookups: Lookups, provider: Provider | None, relay: Address | None
) -> Iterator[Finding]:
    policy = parse(text)
    seen = walk(policy, domain, lookups, relay.version if relay else None)
    problems = [
        *_wording(domain, text, policy),
        *_following(text, seen),
        *_own_provider(domain, text, seen, lookups, provider),
        *_own_relay(text, seen, relay),
    ]
    record = _record(domain, _mended(policy, problems, seen))
    new = record.sane and record.value != text
    for problem in problems:
        yield replace(problem, record=record) if problem.code in MENDED and new else problem
    if not problems:
        yield finding("spf.good", domain=domain, text=text, lookups=seen.lookups)


def _mended(policy: Policy, problems: Iterable[Finding], seen: Walk) -> str:
    """Return the record with all that the account needs, without what leads nowhere, and an end that says something."""
    facts = {problem.code: problem.facts for problem in problems}
    added = [f"include:{facts['spf.provider']['include']}"] if "spf.provider" in facts else []
    added += [facts[code]["mechanism"] for code in ("spf.relay", "spf.relay_unknown") if code in facts]
    open_end = facts.keys() & {"spf.pass_all", "spf.neutral_all", "spf.no_all"}
    return rewritten(policy, added=added, without=seen.broken, end="~all" if open_end else "")


def _wording(domain: str, text: str, policy: Policy) -> Iterator[Finding]:
    """Yield what can be told from the record alone."""
    if policy.errors:
        yield finding("spf.syntax", parts=" ".join(policy.errors))
    catch_all = policy.catch_all
    if catch_all and catch_all.qualifier in {"+", "?"}:
        yield finding("spf.pass_all" if catch_all.qualifier == "+" else "spf.neutral_all", text=text)
    if not catch_all and not any(term.name == "redirect" for term in policy.terms):
        yield finding("spf.no_all", text=text)
    if policy.ignored:
        yield finding("spf.after_all", parts=" ".join(term.text for term in policy.ignored))
    if any(term.name == "ptr" for term in policy.terms):
        yield finding("spf.ptr", text=text)
    length = len(domain) + len(text.encode())
    if length > ONE_PACKET:
        yield finding("spf.long", text=text, length=length)


def _following(text: str, seen: Walk) -> Iterator[Finding]:
    """Yield what only shows when the includes are followed."""
    if seen.loops:
        yield finding("spf.loop", names=_listed(seen.loops))
    if seen.lookups > MOST_LOOKUPS:
        count = f"> {COUNTED}" if seen.lookups > COUNTED else seen.lookups
        yield finding("spf.lookups", text=text, lookups=count)
    if seen.voids > MOST_VOIDS:
        yield finding("spf.voids", text=text, voids=seen.voids)
    for code, names in (
        ("spf.pass_world", seen.open),
        ("spf.broken_include", seen.broken),
        ("spf.crowded", seen.crowded),
        ("spf.unfollowed", seen.unknown),
    ):
        if names:
            yield finding(code, names=_listed(names))


def _own_provider(domain: str, text: str, seen: Walk, lookups: Lookups, provider: Provider | None) -> Iterator[Finding]:
    """Yield a finding if the provider's servers are not allowed, neither by name nor address by address.

    What could not be followed may hold the include: then nothing is said, `_following` has said it already.
    """
    if provider is None or domain in provider.domains or not provider.includes or not seen.complete:
        return
    if set(provider.includes) & set(seen.includes):
        return
    theirs = walk(parse(f"{VERSION} include:{provider.includes[0]}"), domain, lookups)
    if theirs.unknown:
        yield finding("spf.unfollowed", names=_listed(theirs.unknown))
    elif not seen.covers(theirs.networks):
        yield finding("spf.provider", text=text, provider=provider.name, include=provider.includes[0])


def _own_relay(text: str, seen: Walk, relay: Address | None) -> Iterator[Finding]:
    if relay is None or seen.lets(relay):
        return
    code = "spf.relay" if seen.complete else "spf.relay_unknown"
    yield finding(code, text=text, address=relay, mechanism=_mechanism(relay))


def _mechanism(relay: Address) -> str:
    return f"ip{relay.version}:{relay}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _record(domain: str, value: str) -> Record:
    return Record(name=domain, type="TXT", value=value)
