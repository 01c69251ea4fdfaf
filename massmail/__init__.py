"""Newsletters from the Django admin, through the sales managers' own mailboxes."""

__version__ = "0.1.0"
