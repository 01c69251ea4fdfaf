"""Read incoming mail without Celery."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from massmail.inbound import run


class Command(BaseCommand):
    help = "Reads the incoming mail of all accounts once, without Celery: for cron, and for trying things out."

    def handle(self, *args: Any, **options: Any) -> None:
        accounts = run.due()
        mails = sum(run.poll(account_id) for account_id in accounts)
        self.stdout.write(f"{len(accounts)} mailboxes read, {mails} new mails.")
