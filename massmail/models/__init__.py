"""The tables. Who writes which column is said by those who write: `massmail.outcomes`, `massmail.engine`."""

from massmail.models.accounts import AccountDay, EmailAccount, Lane
from massmail.models.conversations import Conversation, Correspondence, CorrespondenceFile
from massmail.models.inbound import InboundMessage, Mailbox, Returns
from massmail.models.mailings import AuditEntry, Delivery, Heartbeat, LeftOut, Mailing, Tally
from massmail.models.messages import Attachment, Image, Message, MessageVersion, Signature, VersionFile
from massmail.models.recipients import Recipient, Suppression
from massmail.models.settings import MassmailSettings

__all__ = [
    "AccountDay",
    "Attachment",
    "AuditEntry",
    "Conversation",
    "Correspondence",
    "CorrespondenceFile",
    "Delivery",
    "EmailAccount",
    "Heartbeat",
    "Image",
    "InboundMessage",
    "Lane",
    "LeftOut",
    "Mailbox",
    "Mailing",
    "MassmailSettings",
    "Message",
    "MessageVersion",
    "Recipient",
    "Returns",
    "Signature",
    "Suppression",
    "Tally",
    "VersionFile",
]
