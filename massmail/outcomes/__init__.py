"""The ledger: the only writer of how a delivery ended.

| column | written by |
|---|---|
| `Delivery.status` and `reason`, `reply`, `attempts`, `not_before`, `sent_at`, once it was `sending` | `deliveries` |
| `Delivery.status` and `reason`, where a person resolves it or its mailing is merged | `resolving` |
| `Tally.*` | `deliveries`, `resolving` |
| `Recipient.vip`, `subscribed`, `Delivery.unsubscribed_at`, the host's own flag | `standing` |
| `Suppression.*`, and `Recipient.subscribed` where one is lifted | `suppressions`; of one address also `standing` |
| `Delivery.bounced_at`, `replied_at`, `auto_replied_at`, `complained_at`; reason and reply of a bounce | `returns` |
| `Returns.*` | `figures`; `since` and `paused_at` with what they reset: `massmail.engine.guard` |
| `EmailAccount.held_until`, `hold_reason`, `hold_trouble` | `accounts` |
"""

from massmail.outcomes.accounts import hold_account, release_account
from massmail.outcomes.deliveries import (
    Progress,
    count_sent,
    doubt,
    note_sent,
    postpone,
    progress,
    requeue,
    sent,
    settle,
    skip,
    skip_by_hand,
)
from massmail.outcomes.replies import Verdict, classify, trouble
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
    lock_recipients,
    mark_vip,
    subscribe_again,
    unsubscribe,
    unsubscribe_by_hand,
)
from massmail.outcomes.suppressions import lift, lift_all, suppress, suppress_all, suppressed

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
    "lift_all",
    "lock_recipients",
    "mark_vip",
    "note_auto_reply",
    "note_bounce",
    "note_complaint",
    "note_reply",
    "note_sent",
    "postpone",
    "progress",
    "prove_sent",
    "release_account",
    "requeue",
    "returned",
    "sent",
    "settle",
    "skip",
    "skip_by_hand",
    "subscribe_again",
    "suppress",
    "suppress_all",
    "suppressed",
    "trouble",
    "unsubscribe",
    "unsubscribe_by_hand",
]
