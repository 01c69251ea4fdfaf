"""The tables. Who writes which column is said by those who write: `massmail.outcomes`, `massmail.engine`."""

from massmail.models.accounts import AccountDay, EmailAccount, Lane, Usage
from massmail.models.conversations import Conversation, Correspondence, CorrespondenceFile
from massmail.models.deliverability import Checkup, DomainSurvey, RecipientDomain
from massmail.models.inbound import InboundMessage, Mailbox, Returns
from massmail.models.mailings import AuditEntry, Delivery, Heartbeat, LeftOut, Mailing, Tally
from massmail.models.messages import Attachment, Image, Message, MessageVersion, Signature, VersionFile
from massmail.models.recipients import Recipient, Suppression
from massmail.models.settings import MassmailSettings

__all__ = [
    "AccountDay",
    "Attachment",
    "AuditEntry",
    "Checkup",
    "Conversation",
    "Correspondence",
    "CorrespondenceFile",
    "Delivery",
    "DomainSurvey",
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
    "RecipientDomain",
    "Returns",
    "Signature",
    "Suppression",
    "Tally",
    "Usage",
    "VersionFile",
]
