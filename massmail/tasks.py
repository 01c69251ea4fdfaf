"""Celery, thin. The broker is a doorbell: ids only, and a lost or repeated ring harms nothing."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from massmail.conf import conf
from massmail.engine import outlook, run
from massmail.inbound import run as inbound


@shared_task(name="massmail.tick", ignore_result=True)
def tick() -> None:
    """Find the lanes that may speak now, and ring for each; then see to the forecasts, for which nobody waits."""
    for account_id, slot in run.tick_lanes():
        _ring(account_id, slot)
    outlook.renew_stale(now=timezone.now())


@shared_task(name="massmail.run_lane", ignore_result=True)
def run_lane(account_id: int, slot: int = 0) -> None:
    """Let one lane of an account speak; one that stopped for the others' sake only gets in line behind them."""
    if run.take_turn(account_id, slot).cut_short:
        _ring(account_id, slot)


def _ring(account_id: int, slot: int) -> None:
    # It expires, so that rings do not pile up while no worker is free.
    run_lane.apply_async(args=(account_id, slot), expires=max(30, 3 * conf.tick_seconds))


@shared_task(name="massmail.poll", ignore_result=True)
def poll() -> None:
    """Find the accounts whose incoming mail is to be read, and ring for each."""
    for account_id in inbound.due():
        poll_account.apply_async(args=(account_id,), expires=max(30, conf.poll_seconds))


@shared_task(name="massmail.poll_account", ignore_result=True)
def poll_account(account_id: int) -> None:
    """Read the incoming mail of one account."""
    inbound.poll(account_id)
