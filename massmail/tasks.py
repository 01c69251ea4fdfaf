"""Celery, thin. The broker is a doorbell: ids only, and a lost or repeated ring harms nothing."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from massmail.conf import conf
from massmail.engine import outlook, run
from massmail.engine.checkup import checking, domains, selftest
from massmail.inbound import run as inbound


@shared_task(name="massmail.tick", ignore_result=True)
def tick() -> None:
    """Find the lanes that may speak now, and ring for each; then see to the rest, for which nobody waits."""
    for account_id, slot in run.tick_lanes():
        _ring(account_id, slot)
    for account_id in selftest.due(now=timezone.now()):
        look_for_test.apply_async(args=(account_id,), expires=30)
    if conf.dns_checks and domains.due(now=timezone.now()):
        check_domains.apply_async(expires=max(30, 3 * conf.tick_seconds))
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
    """Find the accounts whose incoming mail is to be read or whose domain is to be looked at, and ring for each."""
    for account_id in inbound.due():
        poll_account.apply_async(args=(account_id,), expires=max(30, conf.poll_seconds))
    for account_id in checking.due(now=timezone.now()) if conf.dns_checks else ():
        check_account.apply_async(args=(account_id,), expires=max(30, conf.poll_seconds))


@shared_task(name="massmail.poll_account", ignore_result=True)
def poll_account(account_id: int) -> None:
    """Read the incoming mail of one account."""
    inbound.poll(account_id)


@shared_task(name="massmail.check_account", ignore_result=True)
def check_account(account_id: int) -> None:
    """Look up what the DNS says of one account's domain."""
    checking.renew(account_id, now=timezone.now())


@shared_task(name="massmail.look_for_test", ignore_result=True)
def look_for_test(account_id: int) -> None:
    """Look for an account's test mail in its own mailbox."""
    selftest.look(account_id)


@shared_task(name="massmail.check_domains", ignore_result=True)
def check_domains() -> None:
    """Look up which domains of recipients take mail."""
    domains.run()
