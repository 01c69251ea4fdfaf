"""The ledger: the only writer of how a delivery ended.

| column | written by |
|---|---|
| `Delivery.status` and `reason`, `reply`, `attempts`, `not_before`, `sent_at`, once it was `sending` | `deliveries` |
| `Tally.*` | `deliveries` |
| `Recipient.vip`, `subscribed`, `Suppression.*`, `Delivery.unsubscribed_at`, the host's own flag | `standing` |
| `EmailAccount.held_until`, `hold_reason` | `accounts` |
"""

from massmail.outcomes.accounts import hold_account, release_account
from massmail.outcomes.deliveries import Progress, doubt, postpone, progress, requeue, settle, skip
from massmail.outcomes.replies import Verdict, classify
from massmail.outcomes.standing import lift, lock_recipients, mark_vip, suppress, unsubscribe

__all__ = [
    "Progress",
    "Verdict",
    "classify",
    "doubt",
    "hold_account",
    "lift",
    "lock_recipients",
    "mark_vip",
    "postpone",
    "progress",
    "release_account",
    "requeue",
    "settle",
    "skip",
    "suppress",
    "unsubscribe",
]
