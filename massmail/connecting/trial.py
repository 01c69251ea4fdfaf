"""Trying an account's servers while somebody watches: how far each conversation came, and what to do about the rest.

Nothing is sent, and only the size of mails that a server takes is kept.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from threading import Thread

from django.template.defaultfilters import floatformat
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from massmail.choices import Obstacle, Phase, Security, TrialStep
from massmail.connecting.advice import Trouble, advise
from massmail.connecting.endpoints import imap_endpoint, smtp_endpoint
from massmail.connecting.tokens import renew
from massmail.models import EmailAccount
from massmail.transport import Endpoint, Facts, TransportError, connection_class
from massmail.transport.imap import INBOX, IMAPConnection, MailboxError

logger = logging.getLogger(__name__)

#: Seconds somebody waits for the result as a whole.
PATIENCE = 25.0
#: Seconds for each answer of a server.
ANSWER = 10.0

#: The steps that build on each other.
_IN_ORDER = (TrialStep.CONNECTION, TrialStep.ENCRYPTION, TrialStep.LOGIN)
_STEP_OF_PHASE = {Phase.STARTTLS: TrialStep.ENCRYPTION, Phase.AUTH: TrialStep.LOGIN}
#: What ends a conversation before it begins: the steps in front of it were not tried.
_NOT_BEGUN = {Obstacle.CLEAR_TEXT, Obstacle.NO_TOKEN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: whether it went well, what was found or the server said, and what to do if it went wrong.

    `size_limit` are the octets of the largest mail, where the step tells that.
    """

    step: TrialStep
    good: bool
    words: str
    advice: str = ""
    size_limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """The steps with one server, up to the first that failed. `protocol` is "SMTP" or "IMAP"."""

    protocol: str
    server: str
    steps: tuple[Step, ...]

    @property
    def size_limit(self) -> int | None:
        """The largest mail, in octets, that the server says it takes."""
        return next((step.size_limit for step in self.steps if step.size_limit), None)

    @property
    def good(self) -> bool:
        return all(step.good for step in self.steps)

    @property
    def login_failed(self) -> bool:
        last = self.steps[-1]
        return last.step is TrialStep.LOGIN and not last.good

    @property
    def untried(self) -> tuple[TrialStep, ...]:
        """The steps that were not tried because they come only after the one that failed."""
        if self.good:
            return ()
        tried = {step.step for step in self.steps}
        return tuple(step for step in _IN_ORDER[max(map(_place, tried)) + 1 :] if step not in tried)


def _place(step: TrialStep) -> int:
    """Return where `step` stands in the order: in front of it what begins before, behind it what comes last."""
    if step in _IN_ORDER:
        return _IN_ORDER.index(step)
    return -1 if step is TrialStep.PERMISSION else len(_IN_ORDER)


Converse = Callable[[Endpoint], Iterator[Step]]
Wait = Callable[[float], Conversation]


@sensitive_variables()
def try_account(account: EmailAccount, *, patience: float = PATIENCE) -> list[Conversation]:
    """Log in at the servers of `account`, saved or not, both at once, for at most `patience` seconds.

    Does not raise: what goes wrong is a step. A token that has run out, or that a server refuses, is fetched anew and
    kept, as it is for sending.
    """
    deadline = time.monotonic() + patience
    conversations = _converse_with_all(account, deadline)
    if not (account.oauth_provider and any(each.login_failed for each in conversations)):
        return conversations
    try:
        renew(account, refused=account.oauth_access_token)
    except TransportError as error:
        failed = (_no_token(error),)
        return [replace(each, steps=failed) if each.login_failed else each for each in conversations]
    return _converse_with_all(account, deadline)


@sensitive_variables()
def _converse_with_all(account: EmailAccount, deadline: float) -> list[Conversation]:
    waiting = [_begin(account, "SMTP", _try_smtp)]
    if account.imap_host:
        waiting.append(_begin(account, "IMAP", _try_imap))
    return [wait(deadline) for wait in waiting]


def keep_size_limit(account: EmailAccount, conversations: list[Conversation]) -> None:
    """Write down what the server of the saved `account` said of the largest mail it takes, if it was asked."""
    smtp = next((each for each in conversations if each.protocol == "SMTP" and each.good), None)
    if smtp is not None and smtp.size_limit != account.size_limit:
        EmailAccount.objects.filter(pk=account.pk).update(size_limit=smtp.size_limit)


def forget_size_limit(account: EmailAccount) -> None:
    """The saved `account` has another server now, which has not been asked yet."""
    EmailAccount.objects.filter(pk=account.pk).update(size_limit=None)


@sensitive_variables()
def _begin(account: EmailAccount, protocol: str, converse: Converse) -> Wait:
    """Start a conversation in a thread of its own; return what waits for its end, or for a moment of the clock."""
    smtp = protocol == "SMTP"
    host, port = (account.smtp_host, account.smtp_port) if smtp else (account.imap_host, account.imap_port)
    answers: SimpleQueue[tuple[Step, ...]] = SimpleQueue()
    trouble = Trouble(account=account, protocol=protocol, phase=Phase.CONNECT, obstacle=None)
    try:
        endpoint = smtp_endpoint(account) if smtp else imap_endpoint(account)
    except TransportError as error:
        answers.put((_no_token(error),))
    else:
        endpoint = replace(endpoint, timeout=min(endpoint.timeout, ANSWER))
        arguments = (converse, endpoint, trouble, answers, translation.get_language())
        Thread(target=_converse, args=arguments, daemon=True).start()

    def wait(deadline: float) -> Conversation:
        try:
            steps = answers.get(timeout=max(deadline - time.monotonic(), 0.01))
        except Empty:
            steps = (_failed(trouble, _("The server did not answer in time.")),)
        return Conversation(protocol=protocol, server=f"{host}:{port}", steps=steps)

    return wait


@sensitive_variables()
def _converse(
    converse: Converse,
    endpoint: Endpoint,
    trouble: Trouble,
    answers: SimpleQueue[tuple[Step, ...]],
    language: str | None,
) -> None:
    """Hold the conversation and put all its steps. Runs in a thread, which has a language of its own."""
    with translation.override(language):
        try:
            steps = tuple(converse(endpoint))
        except TransportError as error:
            reply = error.reply
            words = reply.text if reply.code is None else f"{reply.code} {reply.text}"
            trouble = replace(
                trouble, phase=reply.phase, obstacle=reply.obstacle, temporary=400 <= (reply.code or 0) < 500
            )
            steps = (*_before(trouble, endpoint), _failed(trouble, words))
        except MailboxError as error:
            trouble = replace(
                trouble, phase=error.phase or Phase.CONNECT, obstacle=error.obstacle, temporary=not error.login
            )
            steps = (*_before(trouble, endpoint), _failed(trouble, str(error)))
        except Exception:
            logger.exception("The test of %s:%s broke off.", endpoint.host, endpoint.port)
            steps = (_failed(trouble, _("The test broke off by an error of its own, which is in the log.")),)
        answers.put(steps)


def _try_smtp(endpoint: Endpoint) -> Iterator[Step]:
    connection = connection_class()(endpoint)
    try:
        connection.open()
        facts = connection.facts
    finally:
        connection.close()
    yield from _opened(endpoint, facts)
    if facts.size_limit:
        words = _("Takes messages of up to %(size)s MB.") % {"size": floatformat(facts.size_limit / 1_000_000)}
        yield Step(step=TrialStep.LIMITS, good=True, words=words, size_limit=facts.size_limit)


def _try_imap(endpoint: Endpoint) -> Iterator[Step]:
    connection = IMAPConnection(endpoint, patience=PATIENCE)
    try:
        connection.open()
        yield from _opened(endpoint, connection.facts)
        yield _read_inbox(connection)
    finally:
        connection.close()


def _read_inbox(connection: IMAPConnection) -> Step:
    try:
        connection.examine(INBOX)
    except MailboxError as error:
        return Step(step=TrialStep.FOLDER, good=False, words=str(error), advice=_("Switch on IMAP in the mailbox."))
    return Step(step=TrialStep.FOLDER, good=True, words=_("The inbox can be read."))


def _opened(endpoint: Endpoint, facts: Facts) -> Iterator[Step]:
    yield Step(step=TrialStep.CONNECTION, good=True, words=facts.greeting or _("The server answers."))
    if facts.encryption:
        words = _("%(version)s, and the certificate is good.") % {"version": facts.encryption}
    else:
        words = _("None. What is sent can be read on its way.")
    yield Step(step=TrialStep.ENCRYPTION, good=True, words=words)
    if endpoint.username:
        words = facts.welcome or _("“%(user)s” is accepted.") % {"user": endpoint.username}
    else:
        words = _("None: there is no user name.")
    yield Step(step=TrialStep.LOGIN, good=True, words=words)


def _before(trouble: Trouble, endpoint: Endpoint) -> Iterator[Step]:
    """Yield the steps that must have gone well for `trouble` to come up."""
    if trouble.obstacle in _NOT_BEGUN or trouble.phase not in _STEP_OF_PHASE:
        return
    yield Step(step=TrialStep.CONNECTION, good=True, words=_("The server answers."))
    if trouble.phase is Phase.AUTH and endpoint.security != Security.NONE:
        yield Step(step=TrialStep.ENCRYPTION, good=True, words=_("TLS, and the certificate is good."))


def _failed(trouble: Trouble, words: str) -> Step:
    step = _STEP_OF_PHASE.get(trouble.phase, TrialStep.CONNECTION)
    return Step(step=step, good=False, words=words, advice=advise(trouble))


def _no_token(error: TransportError) -> Step:
    refused = error.reply.phase is Phase.AUTH  # a provider that is down comes back
    advice = _("Connect the account again on its page.") if refused else _("Try again in some minutes.")
    return Step(step=TrialStep.PERMISSION, good=False, words=error.reply.text, advice=advice)
