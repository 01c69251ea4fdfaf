"""Every enum of the app: one vocabulary for models, admin, logs and documents."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class MailingStatus(models.TextChoices):
    DRAFT = "draft", _("Draft")
    ACTIVE = "active", _("Active")
    PAUSED = "paused", _("Paused")
    DONE = "done", _("Done")
    CANCELLED = "cancelled", _("Cancelled")
    MERGED = "merged", _("Merged")


class Relation(models.TextChoices):
    """What a mailing that was made from another one is to it."""

    COPY = "copy", _("Copy")
    RETRY = "retry", _("Retry of those that failed")
    MISSING = "missing", _("To those still missing")
    MERGE = "merge", _("Merged from several")


class DeliveryStatus(models.TextChoices):
    QUEUED = "queued", _("Queued")
    SENDING = "sending", _("Sending")
    SENT = "sent", _("Sent")
    FAILED = "failed", _("Failed")
    SKIPPED = "skipped", _("Skipped")
    UNKNOWN = "unknown", _("Unknown")


#: A delivery in one of these has come to its end and is counted in a tally.
ENDED = (DeliveryStatus.SENT, DeliveryStatus.FAILED, DeliveryStatus.SKIPPED, DeliveryStatus.UNKNOWN)


class Exclusion(models.TextChoices):
    """Why somebody gets no mail: left out when a mailing is made, skipped when it is sent."""

    NOT_OWNER = "not_owner", _("Not assigned to the mailing's owner")
    NOT_ELIGIBLE = "not_eligible", _("Disqualified")
    UNSUBSCRIBED = "unsubscribed", _("Unsubscribed")
    SUPPRESSED = "suppressed", _("Address suppressed")
    NO_ADDRESS = "no_address", _("No email address")
    INVALID_ADDRESS = "invalid_address", _("Email address not valid")
    NEEDS_SMTPUTF8 = "needs_smtputf8", _("Email address with letters that most servers do not take (SMTPUTF8)")
    DUPLICATE = "duplicate", _("Address already in this mailing")
    DELETED = "deleted", _("Recipient deleted")
    ADDRESS_CHANGED = "address_changed", _("Email address changed since the mailing was made")
    NO_MAIL_DOMAIN = "no_mail_domain", _("Domain that takes no mail")
    NOT_PERSONAL = "not_personal", _("Message could not be filled in for this recipient")
    ALREADY_RECEIVED = "already_received", _("Already received this message")
    PLANNED = "planned", _("Waits for it in another mailing")
    MERGED = "merged", _("Goes on in the merged mailing")
    BY_HAND = "by_hand", _("Skipped by hand")


class Failure(models.TextChoices):
    """Why a delivery failed, or why nobody knows how it ended."""

    BAD_ADDRESS = "bad_address", _("Address does not exist")
    MAILBOX_FULL = "mailbox_full", _("Mailbox full")
    POLICY = "policy", _("Refused by policy")
    MESSAGE = "message", _("Message refused")
    REFUSED = "refused", _("Refused")
    GAVE_UP = "gave_up", _("Given up after several attempts")
    NO_ANSWER = "no_answer", _("The server took the message and never answered")
    INTERRUPTED = "interrupted", _("The worker died while it was sending")


class HoldReason(models.TextChoices):
    """Why something does not leave now. The engine and every page read the same value."""

    DRAFT = "draft", _("Not started yet")
    PAUSED = "paused", _("Paused")
    ENDED = "ended", _("Ended")
    START_AT = "start_at", _("Starts later")
    OWNER_INACTIVE = "owner_inactive", _("The owner's user account is deactivated")
    NO_PUBLIC_URL = "no_public_url", _("MASSMAIL_PUBLIC_URL is not set")
    NO_UNSUBSCRIBE_URL = "no_unsubscribe_url", _("“URL to unsubscribe” is not set")
    NO_MESSAGE = "no_message", _("No message chosen")
    BAD_MESSAGE = "bad_message", _("The message cannot be sent as it is")
    NO_RECIPIENTS = "no_recipients", _("Nobody to send to")
    NO_TYPE = "no_type", _("Recipient type not registered any more")
    NO_ACCOUNT = "no_account", _("No account for mailing")
    ONLY_MAIN_ACCOUNT = "only_main_account", _("Only the main account, which serves VIP recipients only")
    ACCOUNT_OFF = "account_off", _("The account is not marked “Massmail”")
    ACCOUNT_HELD = "account_held", _("The account is on hold")
    GUARD_RAIL = "guard_rail", _("Too many failures")
    SECRET_LOST = "secret_lost", _("The account's password cannot be decrypted")
    UNDELIVERABLE = "undeliverable", _("The account's mail would not be accepted")
    NO_HEARTBEAT = "no_heartbeat", _("No worker or beat is alive")
    NO_SCHEDULE = "no_schedule", _("The periodic task that sends is missing or switched off")
    NO_WORKER = "no_worker", _("No worker is free")
    CLOSED = "closed", _("Outside working hours")
    QUOTA = "quota", _("Daily limit reached")
    RAMP = "ramp", _("Limit of the warm-up reached")
    HOURLY = "hourly", _("Hourly limit reached")
    DOMAIN_LIMIT = "domain_limit", _("Hourly limit of the domain reached")
    RECIPIENT_CAP = "recipient_cap", _("Limit of the recipient reached")
    COMPANY_CAP = "company_cap", _("Limit of the company reached")
    GAP = "gap", _("Pause between two mails")
    BACK_OFF = "back_off", _("The last attempt failed")
    RETRY = "retry", _("Waits for its next attempt")
    BUSY = "busy", _("Sending now")


#: What lets a single recipient wait: written on the queued delivery as its reason, with the time as `not_before`.
OF_RECIPIENT = (HoldReason.DOMAIN_LIMIT, HoldReason.RECIPIENT_CAP, HoldReason.COMPANY_CAP)


class AccountTrouble(models.TextChoices):
    """Why an account is on hold, as far as it decides what helps."""

    LOGIN = "login", _("The login is refused")
    CONNECTION = "connection", _("The provider's permission has ended")
    ENCRYPTION = "encryption", _("The connection can't be made secure")
    SERVER = "server", _("The server can't be used")
    SENDER = "sender", _("The sender is not accepted")
    LIMIT = "limit", _("The provider's sending limit is reached")
    POLICY = "policy", _("Refused by policy")
    RETURNS = "returns", _("Too much of its mail is refused, returned or reported as spam")


class Limit(models.TextChoices):
    """What keeps a mailing from being done sooner."""

    QUOTA = "quota", _("Daily limit")
    RAMP = "ramp", _("Warm-up")
    HOURLY = "hourly", _("Hourly limit")
    DOMAIN = "domain", _("Hourly limit of a domain")
    CAP = "cap", _("Limits of recipients and companies")
    HOURS = "hours", _("Working hours")
    GAPS = "gaps", _("Pauses between two mails")
    SPEED = "speed", _("Speed of the server")
    START = "start", _("Starts later")
    HELD = "held", _("The account is on hold")
    RETRY = "retry", _("Waits for its next attempt")


class Phase(models.TextChoices):
    """The step of an SMTP conversation (RFC 5321) in which a reply came, or did not."""

    CONNECT = "connect", _("connect")
    BANNER = "banner", _("greeting")
    EHLO = "ehlo", _("EHLO")
    STARTTLS = "starttls", _("STARTTLS")
    AUTH = "auth", _("login")
    MAIL = "mail", _("MAIL FROM")
    RCPT = "rcpt", _("RCPT TO")
    DATA = "data", _("DATA")
    DOT = "dot", _("end of message")
    QUIT = "quit", _("QUIT")


class Obstacle(models.TextChoices):
    """What on our side kept a conversation from going on: the server and the account's settings do not fit."""

    NO_HOST = "no_host", _("No such server")
    PRIVATE = "private", _("An address of a private network")
    CLEAR_TEXT = "clear_text", _("A password without TLS")
    NO_STARTTLS = "no_starttls", _("No STARTTLS")
    CERTIFICATE = "certificate", _("Certificate not trusted")
    NO_TLS = "no_tls", _("No TLS")
    NO_LOGIN = "no_login", _("No login that both sides know")
    NO_TOKEN = "no_token", _("No permission of the OAuth2 provider")


class Security(models.TextChoices):
    NONE = "none", _("None")
    STARTTLS = "starttls", _("STARTTLS")
    SSL = "ssl", _("SSL/TLS")


class TrialStep(models.TextChoices):
    """What is tried of a server, in words for those who entered it."""

    PERMISSION = "permission", _("Permission")
    CONNECTION = "connection", _("Connection")
    ENCRYPTION = "encryption", _("Encryption")
    LOGIN = "login", _("Login")
    LIMITS = "limits", _("Limits")
    FOLDER = "folder", _("Inbox")


class SignatureType(models.TextChoices):
    HTML = "html", _("HTML")
    PLAIN = "plain", _("Plain text")


class SuppressionReason(models.TextChoices):
    UNSUBSCRIBED = "unsubscribed", _("Unsubscribed")
    BOUNCED = "bounced", _("Address does not exist")
    UNREACHABLE = "unreachable", _("Could not be reached for a week or more")
    COMPLAINT = "complaint", _("Complained")
    MANUAL = "manual", _("Entered by hand")


class InboundKind(models.TextChoices):
    BOUNCE = "bounce", _("Bounce")
    DELAYED = "delayed", _("Delayed")
    COMPLAINT = "complaint", _("Complaint")
    AUTO_REPLY = "auto_reply", _("Automatic reply")
    UNSUBSCRIBE = "unsubscribe", _("Unsubscribe")
    REPLY = "reply", _("Reply")
    OTHER = "other", _("Other")


class BounceReason(models.TextChoices):
    """Why a mail came back, or is late: what it says about the address decides what follows."""

    HARD = "hard", _("Address does not exist")
    SOFT = "soft", _("The recipient's mailbox can't take it now")
    POLICY = "policy", _("Refused by policy")
    CONTENT = "content", _("Message refused")
    SENDER = "sender", _("The account is not accepted or at its limit")
    REFUSED = "refused", _("Refused")


class Direction(models.TextChoices):
    """Whether a mail of a conversation came to the manager or went out."""

    IN = "in", _("Received")
    OUT = "out", _("Sent")


class Weekday(models.IntegerChoices):
    """ISO 8601 weekday numbers, as `date.isoweekday()` gives them."""

    MONDAY = 1, _("Monday")
    TUESDAY = 2, _("Tuesday")
    WEDNESDAY = 3, _("Wednesday")
    THURSDAY = 4, _("Thursday")
    FRIDAY = 5, _("Friday")
    SATURDAY = 6, _("Saturday")
    SUNDAY = 7, _("Sunday")


class AuditAction(models.TextChoices):
    CREATED = "created", _("Created")
    STARTED = "started", _("Started")
    PAUSED = "paused", _("Paused")
    RESUMED = "resumed", _("Resumed")
    CANCELLED = "cancelled", _("Cancelled")
    FINISHED = "finished", _("Finished")
    SCHEDULED = "scheduled", _("Start changed")
    COPIED = "copied", _("Copy made")
    RETRIED = "retried", _("Mailing to those that failed made")
    COMPLETED = "completed", _("Mailing to those still missing made")
    RECEIVED_LEFT_OUT = "received_left_out", _("Left out who already received the message")
    MERGED = "merged", _("Merged")
    TREATED_AS_SENT = "treated_as_sent", _("Unknown treated as sent")
    SENT_AGAIN = "sent_again", _("Unknown queued again")
    MARKED_VIP = "marked_vip", _("Marked as VIP")
    UNMARKED_VIP = "unmarked_vip", _("VIP status removed")
    ACCOUNT_HELD = "account_held", _("Account put on hold")
    ACCOUNT_RELEASED = "account_released", _("Account released")
    UNSUBSCRIBED = "unsubscribed", _("Unsubscribed")
    SUBSCRIBED = "subscribed", _("Subscribed again")
    SUPPRESSED = "suppressed", _("Addresses suppressed")
    SUPPRESSION_LIFTED = "suppression_lifted", _("Suppression lifted")
    SKIPPED = "skipped", _("Recipient skipped")
    NEW_VERSION = "new_version", _("New version of the message taken")
    ACCOUNT_COPIED = "account_copied", _("Account copied")
    RED_ALLOWED = "red_allowed", _("Mailings allowed in spite of red deliverability")


class Ending(models.TextChoices):
    """What a reply means for the delivery, and whose trouble it is."""

    SENT = "sent", _("Accepted by the server")
    RETRY = "retry", _("The recipient's mailbox can't take it now")
    REFUSED = "refused", _("Refused for this recipient")
    SERVER = "server", _("The server can't be reached or asks to come back")
    ACCOUNT = "account", _("The account is not accepted")
    LIMIT = "limit", _("The provider's sending limit is reached")
    MESSAGE = "message", _("The message is refused, whoever gets it")
    UNKNOWN = "unknown", _("The server may have it and did not say")


class Check(models.TextChoices):
    """What is looked at before a domain sends: in the DNS, and in a mail of the account to itself."""

    MX = "mx", _("Incoming mail (MX)")
    SPF = "spf", _("SPF")
    DKIM = "dkim", _("DKIM")
    DMARC = "dmarc", _("DMARC")
    ALIGNMENT = "alignment", _("Alignment")
    REVERSE = "reverse", _("Reverse DNS")
    MAIL = "mail", _("Test mail to itself")


class Verdict(models.TextChoices):
    """What a finding about a sending domain means for its mail. Unknown: the DNS gave no answer, good or bad."""

    GOOD = "good", _("Good")
    WARNING = "warning", _("Warning")
    BAD = "bad", _("Bad")
    UNKNOWN = "unknown", _("Not known")


class MailDomain(models.TextChoices):
    """Whether a recipient's domain can take mail at all."""

    ACCEPTS = "accepts", _("Accepts mail")
    NULL_MX = "null_mx", _("Says that it accepts no mail")
    NO_SERVER = "no_server", _("Has no mail server")
    NO_DOMAIN = "no_domain", _("Does not exist")
    UNKNOWN = "unknown", _("Not known: the DNS did not answer")


#: Domains in one of these states take no mail, and their recipients get none.
DEAF_DOMAINS = (MailDomain.NULL_MX, MailDomain.NO_SERVER, MailDomain.NO_DOMAIN)


class Light(models.TextChoices):
    """Whether the world will accept an account's mail. Red stops the start of mailings, gray stops nothing."""

    GREEN = "green", _("Good")
    AMBER = "amber", _("To improve")
    RED = "red", _("Bad")
    UNKNOWN = "unknown", _("Not known")
    UNCHECKED = "unchecked", _("Not checked")


class SelfTest(models.TextChoices):
    """How far the test mail of an account to itself has come."""

    WAITING = "waiting", _("Waiting for it to arrive")
    READ = "read", _("Arrived and read")
    LOST = "lost", _("Not found in the mailbox")


class Level(models.TextChoices):
    """What a remark about a message means: an error stops its mailings, a warning is for its author to weigh."""

    ERROR = "error", _("Error")
    WARNING = "warning", _("Warning")


class Rule(models.TextChoices):
    """What is looked at in a message before it is sent, beyond whether it can be sent at all."""

    BROKEN_LINK = "broken_link", _("Link that leads nowhere")
    RELATIVE_LINK = "relative_link", _("Address without its beginning")
    INSECURE_LINK = "insecure_link", _("Address without encryption")
    MISLEADING_LINK = "misleading_link", _("Link text that is another address")
    HIDDEN_UNSUBSCRIBE = "hidden_unsubscribe", _("Unsubscribe link that cannot be seen")
    NO_ALT = "no_alt", _("Image without a text")
    NO_SIZE = "no_size", _("Image without its size")
    EMBEDDED_IMAGE = "embedded_image", _("Image written into the HTML")
    ACTIVE_CONTENT = "active_content", _("Content that mail programs remove")
    CLIPPED = "clipped", _("HTML that Gmail cuts off")
    TOO_LARGE = "too_large", _("Mail that servers refuse for its size")
    NO_TEXT = "no_text", _("Plain text without words")
    NO_PREHEADER = "no_preheader", _("No preheader")
    EMPTY_SUBJECT = "empty_subject", _("Subject that may be empty")
    LONG_SUBJECT = "long_subject", _("Long subject")
    SHOUTING = "shouting", _("Shouting subject")
    FOREIGN_SYNTAX = "foreign_syntax", _("Placeholder of another program")
    LEFTOVER = "leftover", _("Text of the template")
    DISGUISE = "disguise", _("Characters that disguise")
    FAILING_BRANCH = "failing_branch", _("Condition that fails")
