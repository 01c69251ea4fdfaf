"""Celery, thin. The broker is a doorbell: ids only, and a lost or repeated ring harms nothing."""

from __future__ import annotations

from celery import shared_task

from massmail.conf import conf
from massmail.engine import run


@shared_task(name="massmail.tick", ignore_result=True)
def tick() -> None:
    """Find the accounts that may speak now, and ring for each."""
    for account_id in run.tick():
        # It expires, so that rings do not pile up while no worker is free.
        run_lane.apply_async(args=(account_id,), expires=max(30, 3 * conf.tick_seconds))


@shared_task(name="massmail.run_lane", ignore_result=True)
def run_lane(account_id: int) -> None:
    """Let one account speak."""
    run.run_lane(account_id)
