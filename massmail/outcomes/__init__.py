"""The ledger: the only writer of how a delivery ended.

| column | written by |
|---|---|
| `Delivery.status` and `reason`, `reply`, `attempts`, `not_before`, `sent_at`, once it was `sending` | `deliveries` |
| `Delivery.status` and `reason`, where a person resolves it or its mailing is merged | `resolving` |
| `Tally.*` | `deliveries`, `resolving` |
| `Recipient.vip`, `subscribed`, `Suppression.*`, `Delivery.unsubscribed_at`, the host's own flag | `standing` |
| `Delivery.bounced_at`, `replied_at`, `auto_replied_at`, `complained_at`; reason and reply of a bounce | `returns` |
| `Returns.*` | `figures`; `since` and `paused_at` with what they reset: `massmail.engine.guard` |
| `EmailAccount.held_until`, `hold_reason` | `accounts` |
"""

from massmail.outcomes.accounts import hold_account, release_account
from massmail.outcomes.deliveries import (
    Progress,
    count_sent,
    doubt,
    postpone,
    progress,
    requeue,
    settle,
    skip,
    skip_by_hand,
)
from massmail.outcomes.replies import Verdict, classify
from massmail.outcomes.returns import (
    Bounce,
    Returned,
    note_auto_reply,
    note_bounce,
    note_complaint,
    note_reply,
    prove_sent,
    returned,
)
from massmail.outcomes.standing import (
    find_recipient,
    lift,
    lock_recipients,
    mark_vip,
    subscribe_again,
    suppress,
    unsubscribe,
    unsubscribe_by_hand,
)

__all__ = [
    "Bounce",
    "Progress",
    "Returned",
    "Verdict",
    "classify",
    "count_sent",
    "doubt",
    "find_recipient",
    "hold_account",
    "lift",
    "lock_recipients",
    "mark_vip",
    "note_auto_reply",
    "note_bounce",
    "note_complaint",
    "note_reply",
    "postpone",
    "progress",
    "prove_sent",
    "release_account",
    "requeue",
    "returned",
    "settle",
    "skip",
    "skip_by_hand",
    "subscribe_again",
    "suppress",
    "unsubscribe",
    "unsubscribe_by_hand",
]
