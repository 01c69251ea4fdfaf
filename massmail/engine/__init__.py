"""The engine: decides what leaves when, and sends it.

| column | written by |
|---|---|
| `Mailing.status`, `version`, `started_at`, `ended_at`, `pause_reason` | `lifecycle` |
| `Lane.*`; `Delivery.account` while queued; `Recipient.account`, `addresses`, `token` | `lanes` |
| `AccountDay.*`; `Delivery` from `queued` to `sending` | `claims` |
| `Heartbeat.*` | `run` |
"""
