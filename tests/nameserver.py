"""A scripted name server: it answers for the zones it is given, and breaks exactly where it is told to.

    with NameServer({"acme.example": {"MX": ["10 mx.acme.example."], "TXT": ["v=spf1 -all"]}}) as server:
        server.resolver().resolve("acme.example", "MX")
        ... server.asked ...

An entry is a list of values, or a word for trouble: `SILENT` never answers, `SERVFAIL` and `REFUSED` say so, `GARBAGE`
sends bytes that are no answer, `TRUNCATED` sends the mark that the answer is cut off, over TCP as well, with nothing or
with one of several texts, `REFERRAL` names other servers to ask.
A text may be a string, which is cut into pieces of 255 bytes, or a list of pieces, or bytes. The type "ANY" stands for
every type. A name that starts with "*." answers for all names below it that are not given.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Mapping
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset
from dns.rdtypes.ANY.TXT import TXT

SILENT, SERVFAIL, REFUSED, GARBAGE = "silent", "SERVFAIL", "REFUSED", "garbage"
TRUNCATED, REFERRAL = "truncated", "referral"
#: All the ways of giving no answer.
NO_ANSWERS = (SILENT, SERVFAIL, REFUSED, GARBAGE, TRUNCATED, REFERRAL)
TTL = 300
#: Bytes of an answer over UDP without EDNS (RFC 1035, 4.2.1).
PACKET = 512

Zones = Mapping[str, Mapping[str, Any]]


class NameServer:
    """The server, on a free port of the loopback interface for UDP and TCP while its `with` block runs.

    `zones` may be changed at any time. With `follow` aliases are followed in the answer, as a resolver does; without,
    the answer holds the alias alone, as some do. `asked` are the (name, type) of all questions, `tcp` those over TCP.
    """

    def __init__(self, zones: Zones, *, follow: bool = True) -> None:
        self.zones = dict(zones)
        self.follow = follow
        self.asked: list[tuple[str, str]] = []
        self.tcp: list[tuple[str, str]] = []

    def __enter__(self) -> NameServer:
        self._servers = _listen(self)
        self.port = self._servers[0].server_address[1]
        self._threads = [threading.Thread(target=server.serve_forever, args=(0.02,)) for server in self._servers]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()

    def resolver(self) -> dns.resolver.Resolver:
        """Return a resolver that asks this server only."""
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
        resolver.port = self.port
        # A search list that would turn every missing name into another question.
        resolver.search = [dns.name.from_text("search.example.")]
        return resolver

    def answer(self, wire: bytes, *, tcp: bool) -> bytes:
        """Return the bytes of the answer to the question `wire`; none at all to stay silent."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if tcp:
            self.tcp.append((name, kind))
        reply = dns.message.make_response(query)
        trouble = self._fill(reply, question.name, kind)
        if trouble == SILENT:
            return b""
        if trouble == GARBAGE:
            return wire[:2] + b"\xff" * 40
        if trouble == TRUNCATED:
            reply.flags |= dns.flags.TC
            if kind == "TXT":
                reply.answer.append(dns.rrset.from_text(question.name, TTL, "IN", "TXT", '"one of several"'))
        elif trouble == REFERRAL:
            reply.authority.append(dns.rrset.from_text(question.name, TTL, "IN", "NS", "ns.elsewhere.example."))
        elif trouble:
            reply.set_rcode(dns.rcode.from_text(trouble))
        return reply.to_wire(max_size=65_535 if tcp else PACKET, prefer_truncation=True)

    def _fill(self, reply: dns.message.Message, name: dns.name.Name, kind: str) -> str:
        """Put into `reply` what the zones say; return the word for trouble, if that is what they say."""
        for _ in range(10):
            entry = self._entry(name)
            if entry is None:
                return "NXDOMAIN"
            values = entry.get(kind, entry.get("ANY", ()))
            if isinstance(values, str):
                return values
            alias = entry.get("CNAME")
            shown = values or alias
            if not shown:
                return ""
            rrset = reply.find_rrset(reply.answer, name, dns.rdataclass.IN, _type(kind, values), create=True)
            for value in shown:
                rrset.add(_rdata(_type(kind, values), value), TTL)
            if values or not self.follow:
                return ""
            name = dns.name.from_text(alias[0])
        return ""

    def _entry(self, name: dns.name.Name) -> Mapping[str, Any] | None:
        text = name.to_text(omit_final_dot=True).lower()
        if text in self.zones:
            return self.zones[text]
        if any(known.endswith("." + text) for known in self.zones):
            return {}
        wildcard = ["*." + text.split(".", at + 1)[-1] for at in range(text.count("."))]
        return next((self.zones[known] for known in wildcard if known in self.zones), None)


def _type(kind: str, values: Any) -> dns.rdatatype.RdataType:
    return dns.rdatatype.from_text(kind if values else "CNAME")


def _rdata(kind: dns.rdatatype.RdataType, value: Any) -> dns.rdata.Rdata:
    if kind != dns.rdatatype.TXT:
        return dns.rdata.from_text(dns.rdataclass.IN, kind, value)
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        value = [value[at : at + 255] for at in range(0, len(value), 255)] or [b""]
    return TXT(dns.rdataclass.IN, dns.rdatatype.TXT, value)


class _UDP(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, connection = self.request
        answer = self.server.names.answer(data, tcp=False)  # type: ignore[attr-defined]
        if answer:
            connection.sendto(answer, self.client_address)


class _TCP(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            (length,) = struct.unpack("!H", self.request.recv(2, socket.MSG_WAITALL))
            data = self.request.recv(length, socket.MSG_WAITALL)
            answer = self.server.names.answer(data, tcp=True)  # type: ignore[attr-defined]
            if answer:
                self.request.sendall(struct.pack("!H", len(answer)) + answer)


def _listen(names: NameServer) -> list[socketserver.BaseServer]:
    """Return one server for UDP and one for TCP on the same free port."""
    for _ in range(20):
        tcp = socketserver.TCPServer(("127.0.0.1", 0), _TCP)
        try:
            udp = socketserver.UDPServer(tcp.server_address, _UDP)
        except OSError:
            tcp.server_close()
            continue
        for server in (udp, tcp):
            server.names = names  # type: ignore[attr-defined]
        return [udp, tcp]
    raise OSError("No port is free for both UDP and TCP.")
