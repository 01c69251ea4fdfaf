"""Correspondence with the host's requests and deals: imported by a button, and from then on by itself.

Only mail that carries the ticket of a conversation, or refers to a mail already imported, is taken in.

| column | written by |
|---|---|
| `Conversation.content_type`, `object_id` | `importing`, `belonging` from then on |
| `Correspondence` of mail that came in or was sent elsewhere, `CorrespondenceFile` | `filing` |
| `Correspondence` of an answer written here | `answering`; a doubtful one that turns up is settled by `filing` |
"""
