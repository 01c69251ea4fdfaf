"""What can go wrong, as types. Configuration errors stand outside the tree of refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from massmail.choices import HoldReason


class MassmailConfigurationError(ImproperlyConfigured):
    """The deployment is wrong: a setting, an adapter, a missing key."""


class MassmailError(Exception):
    """Something was refused. The text says what, why, and what to do."""


class LifecycleError(MassmailError):
    """A mailing can't be moved; `reason` is the `HoldReason` behind it, where there is one."""

    def __init__(self, text: str, *, reason: HoldReason | None = None) -> None:
        super().__init__(text)
        self.reason = reason


class OperationError(MassmailError):
    """An operation on mailings or their deliveries would do nothing, or not what was meant."""


class AudienceError(MassmailError):
    """A mailing can't be made of these recipients."""


class CompositionError(MassmailError):
    """A message can't be composed; `line`, and `column` in it, count from 1 in the field `field`, where known."""

    def __init__(
        self, text: str, *, field: str = "content", line: int | None = None, column: int | None = None
    ) -> None:
        super().__init__(text)
        self.field = field
        self.line = line
        self.column = column


class TrialError(MassmailError):
    """A test mail can't be sent: not one's own account or address, or the account's day is used up."""


class AnswerError(MassmailError):
    """An answer was not sent."""


class PictureError(MassmailError):
    """An uploaded file can't be used as a picture."""
