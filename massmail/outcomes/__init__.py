"""The ledger: the only writer of how a delivery ended.

| column | written by |
|---|---|
| `Delivery.status` and `reason`, `reply`, `attempts`, `not_before`, `sent_at`, once it was `sending` | `deliveries` |
| `Delivery.not_before` and `reason`, where it waits for a limit of its recipient | `deliveries` |
| `Delivery.status` and `reason`, where a person resolves it or its mailing is merged | `resolving` |
| `Tally.*` | `deliveries`, `resolving` |
| `Recipient.vip`, `subscribed`, `Delivery.unsubscribed_at`, the host's own flag | `standing` |
| `Suppression.*`, and `Recipient.subscribed` where one is lifted | `suppressions`; of one address also `standing` |
| `Delivery.bounced_at`, `replied_at`, `auto_replied_at`, `complained_at`; reason and reply of a bounce | `returns` |
| `Returns.*` | `figures`; `since` and `paused_at` with what they reset: `massmail.engine.guard` |
| `AccountDay.refused`, `undeliverable`, `complaints` | `figures` |
| `EmailAccount.held_until`, `hold_reason`, `hold_trouble`, `judged_after` | `accounts` |
"""

from massmail.outcomes.accounts import DayFigures, daily_figures, hold_account, recent_figures, release_account
from massmail.outcomes.deliveries import (
    Progress,
    count_sent,
    doubt,
    hold_back,
    let_go,
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
    "DayFigures",
    "Progress",
    "Returned",
    "Verdict",
    "classify",
    "count_sent",
    "daily_figures",
    "doubt",
    "find_recipient",
    "hold_account",
    "hold_back",
    "let_go",
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
    "recent_figures",
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
