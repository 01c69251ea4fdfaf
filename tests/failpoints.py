"""Failpoints: the places at which a process of a test can be made to die as by kill -9.

Nothing in the app knows of them. They are set from outside, by wrapping the app's own functions: in a Celery worker by
the environment (`TEST_FAILPOINT="dot@3" celery -A tests.worker_app worker`), elsewhere by `arm`.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from django.utils.module_loading import import_string

from massmail.choices import Phase


def _always(*args: Any) -> bool:
    return True


def _answer_to(phase: Phase) -> Callable[..., bool]:
    return lambda connection, heard, *args: heard is phase


def _has(value: str) -> Callable[..., bool]:
    return lambda form, values: value in values


@dataclass(frozen=True, slots=True)
class Place:
    """Before or after a call of the function `name` of `owner`, of the calls whose arguments are the `wanted` ones."""

    owner: str
    name: str
    after: bool = False
    wanted: Callable[..., bool] = _always


SMTP = "massmail.transport.smtp.SMTPConnection"
TURN = "massmail.engine.turn.Turn"
BATCH = "massmail.engine.batch.Batch"
FORM = "massmail.models.statements._Form"

#: In the order in which a mail passes them.
PLACES = {
    "assigning": Place("massmail.engine.lanes", "_recipients", after=True),
    "leased": Place("massmail.engine.run", "recover"),
    "connect": Place(SMTP, "_connect"),
    # The quota is charged and the batch opened, in the transaction of the claim.
    "quota": Place(BATCH, "_open", after=True),
    "claiming": Place(BATCH, "take", after=True),
    "claimed": Place("massmail.engine.line.Line", "hand_in"),
    "mail": Place(SMTP, "_hear", after=True, wanted=_answer_to(Phase.MAIL)),
    "rcpt": Place(SMTP, "_hear", after=True, wanted=_answer_to(Phase.RCPT)),
    "data": Place(SMTP, "_hear", after=True, wanted=_answer_to(Phase.DATA)),
    "dot": Place(SMTP, "_await_verdict"),
    "answered": Place("massmail.engine.line.Line", "hand_in", after=True),
    # Within the one commit that settles a mail and claims the next: before the first statement, before the second.
    "settling": Place(FORM, "filled", wanted=_has("sent_at")),
    "half settled": Place(FORM, "filled", wanted=_has("recipient")),
    "settled": Place("massmail.engine.aftermath.Aftermath", "of"),
    "counting": Place("massmail.outcomes", "count_sent", after=True),
    "closed": Place(TURN, "speak", after=True),
    "releasing": Place("massmail.engine.lanes.Lease", "release"),
    # What is done about an earlier death, and dies itself.
    "recovering": Place("massmail.engine.batch", "_recover", after=True),
}


def die() -> NoReturn:
    """End this process and its family as kill -9 does."""
    os.killpg(os.getpgrp(), signal.SIGKILL)
    raise AssertionError("still alive")


def arm(name: str, *, at: int = 1) -> None:
    """Have this process die at the place `name`, when it comes by there for the `at`th time."""
    place, passed = PLACES[name], 0
    owner = _owner(place.owner)
    function = getattr(owner, place.name)

    @functools.wraps(function)
    def passing(*args: Any, **kwargs: Any) -> Any:
        nonlocal passed
        here = place.wanted(*args)
        passed += here
        if here and passed == at and not place.after:
            die()
        result = function(*args, **kwargs)
        if here and passed == at:
            die()
        return result

    setattr(owner, place.name, passing)


def _owner(path: str) -> Any:
    try:
        return import_string(path)
    except ImportError:
        return importlib.import_module(path)


def arm_from_environment() -> None:
    """Obey `TEST_FAILPOINT`, the name of a place and the number of the pass: "dot@3"."""
    name, _, number = os.environ.get("TEST_FAILPOINT", "").partition("@")
    if name:
        arm(name, at=int(number or 1))
