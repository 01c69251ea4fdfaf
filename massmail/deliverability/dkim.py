"""DKIM keys of a sending domain (RFC 6376, 8301, 8463)."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from massmail.choices import Verdict
from massmail.deliverability.findings import Finding, Record, finding
from massmail.deliverability.lookups import Lookups, ascii_domain
from massmail.deliverability.rules.dkim import SPARE
from massmail.deliverability.tags import strict_tags

#: Bits of an RSA key: fewer must not be accepted; fewer should not be used (RFC 8301, 3.2).
SHORTEST, SAFE = 1024, 2048
#: Characters of `p=` that are decoded: four times what a key of 4096 bits needs.
LONGEST_KEY = 3000
_SHOWN = {"rsa": "RSA", "ed25519": "Ed25519"}
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature as seen in the account's own mail: the domain (`d=`) and the selector (`s=`).

    Raises `ValueError` for a domain that can't be one.
    """

    domain: str
    selector: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "domain", ascii_domain(self.domain))

    @property
    def name(self) -> str:
        """Where its key is published (RFC 6376, 3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A published key. `bits` is 0 if the key can't be read, `revoked` if it was taken back."""

    kind: str
    bits: int
    revoked: bool
    testing: bool
    for_mail: bool
    sha256: bool


def parse_key(text: str) -> Key | None:
    """Read the key record `text` (RFC 6376, 3.6.1); None if it is none, has no `p`, or is of a kind unknown here."""
    tags = strict_tags(text)
    if tags is None or "p" not in tags or ("v" in tags and (next(iter(tags)) != "v" or tags["v"] != "DKIM1")):
        return None
    kind = tags.get("k", "rsa").lower()
    if kind not in {"rsa", "ed25519"}:
        return None
    key = _SPACES.sub("", tags["p"])
    return Key(
        kind=kind,
        bits=_rsa_bits(key) if kind == "rsa" else _ed25519_bits(key),
        revoked=not key,
        testing="y" in _listed(tags.get("t", "")),
        for_mail=bool({"*", "email"} & _listed(tags.get("s", "*"))),
        sha256="sha256" in _listed(tags.get("h", "sha256")),
    )


def _listed(value: str) -> set[str]:
    return {part.strip().lower() for part in value.split(":")}


def _decoded(key: str) -> bytes:
    try:
        return b64decode(key, validate=True) if len(key) <= LONGEST_KEY else b""
    except (binascii.Error, ValueError):
        return b""


def _rsa_bits(key: str) -> int:
    """Return the length of the modulus; `key` is a SubjectPublicKeyInfo, as everybody writes it, or a bare RSA key."""
    try:
        public = load_der_public_key(_decoded(key))
    except (ValueError, UnsupportedAlgorithm):
        return 0
    return public.key_size if isinstance(public, RSAPublicKey) else 0


def _ed25519_bits(key: str) -> int:
    """Return 256 for 32 bare bytes (RFC 8463, 4.2), else 0."""
    return 256 if len(_decoded(key)) == 32 else 0


def check_signatures(domain: str, signatures: Sequence[Signature], lookups: Lookups) -> Iterator[Finding]:
    """Yield what is found at the names of the keys with which the account's mail from `domain` was seen to be signed.

    A bad key does little harm where another signature, of the same domain or of `domain`, is in order.
    """
    found = {signature: list(_seen(signature, lookups)) for signature in signatures}
    sound = {signature.domain for signature, findings in found.items() if all(map(_is_sound, findings))}
    for signature, findings in found.items():
        spare = not sound.isdisjoint({signature.domain, domain})
        yield from (_spared(each) if spare and each.verdict is Verdict.BAD else each for each in findings)
    modern = [signature for signature, findings in found.items() if any(map(_is_ed25519, findings))]
    doubt = any(each.code == "dkim.unknown" for findings in found.values() for each in findings)
    if modern and not sound and not doubt:
        yield finding("dkim.ed25519", domain=modern[0].domain, name=modern[0].name)


def _seen(signature: Signature, lookups: Lookups) -> Iterator[Finding]:
    answer = lookups.txt(signature.name)
    if answer.unknown:
        yield finding("dkim.unknown", name=signature.name)
    elif not answer.found:
        yield finding("dkim.missing", record=_placeholder(signature), name=signature.name)
    elif len(answer.values) > 1:
        text = " | ".join(answer.values)
        yield finding("dkim.several", name=signature.name, count=len(answer.values), text=text)
    else:
        yield from _one_key(signature, answer.values[0], parse_key(answer.values[0]))


def _is_sound(found: Finding) -> bool:
    """Tell whether every receiver can check a signature by the key that was found."""
    return found.code == "dkim.short" or (found.code == "dkim.good" and not _is_ed25519(found))


def _is_ed25519(found: Finding) -> bool:
    return found.facts.get("kind") == _SHOWN["ed25519"]


def _spared(bad: Finding) -> Finding:
    return replace(bad, code=f"{bad.code}{SPARE}")


def _one_key(signature: Signature, text: str, key: Key | None) -> Iterator[Finding]:
    name = signature.name
    if key is None or not (key.bits or key.revoked):
        yield finding("dkim.broken", record=_placeholder(signature), name=name, text=text)
        return
    if key.revoked:
        yield finding("dkim.revoked", record=_placeholder(signature), name=name)
        return
    problems = []
    if key.kind == "rsa" and key.bits < SAFE:
        problems.append(finding("dkim.too_short" if key.bits < SHORTEST else "dkim.short", name=name, bits=key.bits))
    if key.testing:
        problems.append(finding("dkim.testing", record=_without(name, text, "t"), name=name))
    if not key.for_mail:
        problems.append(finding("dkim.not_for_mail", record=_without(name, text, "s"), name=name, text=text))
    if not key.sha256:
        problems.append(finding("dkim.sha1", record=_without(name, text, "h"), name=name, text=text))
    yield from problems or [finding("dkim.good", name=name, kind=_shown(key), bits=key.bits)]


def guess_keys(domain: str, selectors: Sequence[str], lookups: Lookups) -> Iterator[Finding]:
    """Yield the keys found under the usual `selectors` of `domain`. That none is found proves nothing."""
    names = [Signature(domain=domain, selector=selector).name for selector in selectors]
    found = False
    silent = []
    for name in names:
        answer = lookups.txt(name)
        if answer.unknown:
            silent.append(name)
        key = parse_key(answer.values[0]) if len(answer.values) == 1 else None
        if key and key.bits:
            found = True
            yield finding("dkim.guess", name=name, kind=_shown(key), bits=key.bits)
    if not found and silent:
        yield finding("dkim.guess_unknown", names=", ".join(silent))
    elif not found:
        yield finding("dkim.no_guess", domain=domain, names=", ".join(names))


def _shown(key: Key) -> str:
    return _SHOWN[key.kind]


def _placeholder(signature: Signature) -> Record:
    return Record(name=signature.name, type="TXT", value="v=DKIM1; k=rsa; p=KEY_FROM_YOUR_PROVIDER")


def _without(name: str, text: str, tag: str) -> Record:
    """Return the record without the mark "y" of `t`, or without the whole `tag` where it is another."""
    tags = strict_tags(text) or {}
    value = tags.pop(tag, "")
    flags = [flag.strip() for flag in value.split(":") if flag.strip() not in {"y", "Y", ""}] if tag == "t" else []
    if flags:
        tags[tag] = ":".join(flags)
    return Record(name=name, type="TXT", value="; ".join(f"{key}={value}" for key, value in tags.items()))
