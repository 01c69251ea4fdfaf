"""The engine: decides what leaves when, and sends it.

| column | written by |
|---|---|
| `Mailing.status`, `version`, `started_at`, `ended_at`, `pause_reason` | `lifecycle` |
| `Lane.*`; `Delivery.account` while queued; `Recipient.account`, `addresses`, `token` | `lanes` |
| `Lane.batch_at`, `batch_quota` | `batch` |
| `Delivery` from `queued` to `sending` | `claims` |
| `AccountDay.*` | `quota` |
| `Lane.offered_at` | `rings`; `lanes` where a worker answers |
| `Heartbeat.*` | `pulse` |
| `Mailing.expected_end`, `forecast`, `forecast_at` | `outlook` |
| `Returns.since`, `paused_at`, and what they reset | `guard` |
"""
