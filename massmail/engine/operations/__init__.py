"""What people do with mailings besides starting and stopping them (`engine.lifecycle`).

Each takes `by`, the owner or a superuser, raises a `MassmailError` that says why not, and leaves an audit entry.
"""

from massmail.engine.operations.making import (
    ENDED,
    TEMPORARY,
    duplicate,
    exclude_received,
    missing,
    retry_failed,
    send_to_missing,
)
from massmail.engine.operations.merging import MERGEABLE, carry_over, merge, mergeable_with
from massmail.engine.operations.unknowns import REVIVABLE, send_again, treat_as_sent

__all__ = [
    "ENDED",
    "MERGEABLE",
    "REVIVABLE",
    "TEMPORARY",
    "carry_over",
    "duplicate",
    "exclude_received",
    "merge",
    "mergeable_with",
    "missing",
    "retry_failed",
    "send_again",
    "send_to_missing",
    "treat_as_sent",
]
