"""What filling in a template may cost: loops and repeated values are counted while they run."""

from __future__ import annotations

from typing import Any

from django.template import Context, Node, NodeList
from django.template.base import Token
from django.utils.translation import gettext as _

from massmail.exceptions import CompositionError

#: Characters of a source or of what it renders to.
MAX_SIZE = 1_000_000
#: Characters a filter may return.
MAX_VALUE = 100_000
#: Nodes rendered in all; a newsletter with a table of a hundred rows has a few thousand.
MAX_STEPS = 100_000


class MeteredContext(Context):
    """A context that knows how much has been rendered with it, and at which token of the source that failed."""

    def __init__(self, values: dict[str, Any], *, autoescape: bool) -> None:
        super().__init__(values, autoescape=autoescape)
        self.size = 0
        self.steps = 0
        self.failed_at: Token | None = None

    def spend(self, size: int) -> None:
        """Count one step that brought the output to `size` characters; raise `CompositionError` over the limits."""
        self.size = size
        self.steps += 1
        if size > MAX_SIZE or self.steps > MAX_STEPS:
            raise CompositionError(
                _("The message grows over 1 MB or repeats too often when it is filled in. Shorten its loops.")
            )


class Metered(Node):
    """Renders another node and counts what came out.

    A block's own output replaces that of the nodes inside it, so that nothing is counted twice.
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.nodelist = NodeList([node])

    def render(self, context: Context) -> Any:
        assert isinstance(context, MeteredContext)  # noqa: S101 - the sandbox renders with nothing else
        before = context.size
        try:
            output = self.node.render(context)
            context.spend(before + len(output))
        except Exception:
            if context.failed_at is None:
                context.failed_at = self.token
            raise
        return output
