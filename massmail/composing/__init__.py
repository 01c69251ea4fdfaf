"""Messages from an author's template to the bytes that are sent.

`prepare` does once per message what can be done once, `render` the rest for each recipient; `freeze` and `thaw` keep a
prepared message as rows. `check` tells a form everything that is wrong, `lint` what should be better. Nothing here
sends, and only `freeze` writes: `MessageVersion` and `VersionFile` have no other writer.
"""

from massmail.composing.checking import check, check_signature
from massmail.composing.freezing import freeze, has_changed, thaw
from massmail.composing.linting import Remark, lint, variables_needed
from massmail.composing.preparing import prepare, variables_used
from massmail.composing.rendering import new_message_id, plain_values, preheader_line, preview, render, with_pictures
from massmail.composing.types import Envelope, File, Links, Prepared, Rendered, Sender

__all__ = [
    "Envelope",
    "File",
    "Links",
    "Prepared",
    "Remark",
    "Rendered",
    "Sender",
    "check",
    "check_signature",
    "freeze",
    "has_changed",
    "lint",
    "new_message_id",
    "plain_values",
    "preheader_line",
    "prepare",
    "preview",
    "render",
    "thaw",
    "variables_needed",
    "variables_used",
    "with_pictures",
]
