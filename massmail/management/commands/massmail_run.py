"""Send without Celery: the same engine, in this process."""

from __future__ import annotations

import datetime as dt
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from massmail.engine.standalone import RealClock, SimulatedClock, run


class Command(BaseCommand):
    help = "Sends what may leave now, without Celery: one mail of each account, or all of it with --until-idle."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--until-idle",
            action="store_true",
            help="go on, waiting out the gaps between mails, until working hours, quotas, holds or retries end it",
        )
        parser.add_argument(
            "--now",
            metavar="ISO",
            help="run on a simulated clock that starts here (2026-11-23T09:00, in the project's time zone unless it "
            "names one) and jumps over gaps; the mails are real",
        )
        parser.add_argument("--ignore-hours", action="store_true", help="send outside working hours, too")

    def handle(self, *args: Any, **options: Any) -> None:
        clock = SimulatedClock(_moment(options["now"])) if options["now"] else RealClock()
        spoken = run(clock=clock, until_idle=options["until_idle"], ignore_hours=options["ignore_hours"])
        self.stdout.write(f"{spoken} mails handed to servers.")


def _moment(text: str) -> dt.datetime:
    try:
        moment = parse_datetime(text)
    except ValueError as error:
        raise CommandError(f"--now {text}: {error}") from error
    if moment is None:
        raise CommandError(f"--now {text}: not an ISO 8601 date and time such as 2026-11-23T09:00.")
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment)
