"""How far the folders of a mailbox are read. Pure, but for the dictionary that `EmailAccount.imap_cursor` keeps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

#: A mail that could not be fetched so many times is passed over for good.
ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Everything below `following` is read in the folder numbered by `validity`.

    But for the UIDs in `again`, which could not be fetched that many times.
    """

    validity: int
    following: int
    again: dict[int, int] = field(default_factory=dict)

    def past(self, uid: int) -> Position:
        """Return the position after `uid` was read, or was given up."""
        rest = {key: times for key, times in self.again.items() if key != uid}
        return replace(self, following=max(self.following, uid + 1), again=rest)

    def failed(self, uid: int) -> Position:
        """Return the position after `uid` could not be fetched once more."""
        return replace(self.past(uid), again={**self.again, uid: self.again.get(uid, 0) + 1})

    def is_hopeless(self, uid: int) -> bool:
        return self.again.get(uid, 0) >= ATTEMPTS


def position(cursor: dict[str, Any], owner: str, folder: str) -> Position | None:
    """Return the position in `folder` of the mailbox of `owner`, None if it was never read."""
    stored = cursor.get("folders", {}).get(folder) if cursor.get("mailbox") == owner else None
    if stored is None:
        return None
    again = {int(uid): times for uid, times in stored.get("again", {}).items()}
    return Position(validity=stored["validity"], following=stored["next"], again=again)


def moved(cursor: dict[str, Any], owner: str, folder: str, to: Position) -> dict[str, Any]:
    """Return `cursor` with the new position; of another mailbox's cursor nothing is left."""
    folders = cursor.get("folders", {}) if cursor.get("mailbox") == owner else {}
    stored: dict[str, Any] = {"validity": to.validity, "next": to.following}
    if to.again:
        stored["again"] = {str(uid): times for uid, times in to.again.items()}
    return {"mailbox": owner, "folders": {**folders, folder: stored}}
