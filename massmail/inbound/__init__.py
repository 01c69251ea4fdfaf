"""The way back: mailboxes are read, what is found there is told apart, matched to its delivery and acted upon.

| column | written by |
|---|---|
| `Mailbox.*` | `mailboxes` |
| `EmailAccount.imap_cursor`, `InboundMessage` until it is judged | `collecting` |
| `InboundMessage` from then on | `judging` |
"""
