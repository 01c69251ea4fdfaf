"""The only place that opens mail sockets; knows no model."""

from massmail.transport.base import Connection, Endpoint, Facts, Reply, TransportError, connection_class

__all__ = ["Connection", "Endpoint", "Facts", "Reply", "TransportError", "connection_class"]
