"""Read incoming mail, and look domains up, without Celery."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from massmail.conf import conf
from massmail.engine.checkup import checking, domains, selftest
from massmail.inbound import run


class Command(BaseCommand):
    help = (
        "Reads the incoming mail of all accounts once and looks up the domains that are due, without Celery: "
        "for cron, and for trying things out."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        for account_id in selftest.due(now=now):
            selftest.look(account_id)
        if conf.dns_checks:
            for account_id in checking.due(now=now):
                checking.renew(account_id, now=now)
            domains.run()
        accounts = run.due()
        mails = sum(run.poll(account_id) for account_id in accounts)
        self.stdout.write(f"{len(accounts)} mailboxes read, {mails} new mails.")
