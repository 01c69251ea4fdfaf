"""The model of this heading. Without this module Django would make neither its content type nor its permissions."""

from massmail.models.settings import MassmailSettings

__all__ = ["MassmailSettings"]
