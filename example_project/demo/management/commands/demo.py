"""Run the whole example on this machine: broker, mail catcher, worker, beat, web server."""

import signal
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from example_project.crm.seeding.managers import ADMIN, CHIEF, MANAGERS
from example_project.demo import supervisor
from example_project.demo.processes import Family, ProcessEnded, Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Command(BaseCommand):
    help = "Run the demo until Ctrl-C: makes the database, seeds it, starts every process, and ends them all."
    requires_system_checks: list[str] = []
    stopping = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dir", type=Path, default=settings.VAR_DIR, help="Where the demo keeps everything.")
        parser.add_argument("--fresh", action="store_true", help="Forget what was there and begin anew.")
        parser.add_argument("--port", type=int, default=8000, help="Port of the web server.")
        parser.add_argument("--recipients", type=int, default=2000, help="How many to seed an empty database with.")

    def handle(self, *args: Any, **options: Any) -> None:
        for number in SIGNALS:
            signal.signal(number, self._ask_to_stop)
        try:
            self._run(options["dir"].resolve(), options)
        except Stopped:
            self._say("Stopped.")
        except (ProcessEnded, supervisor.DemoRefused) as error:
            raise CommandError(str(error)) from None

    def _ask_to_stop(self, *signal_and_frame: object) -> None:
        self.stopping = True

    def _run(self, directory: Path, options: dict[str, Any]) -> None:
        with supervisor.claimed(directory, fresh=options["fresh"]):
            ports = supervisor.Ports.choose(options["port"])
            broker = supervisor.choose_broker(directory, ports.broker)
            env = supervisor.environment(directory, ports, broker)
            with Family(env, say=self._say, stopping=lambda: self.stopping) as family:
                self._say(f"Starting in {directory}, tasks by {broker.name} …")
                supervisor.start(family, directory, ports, broker, recipients=options["recipients"])
                self._welcome(ports)
                family.watch()

    def _welcome(self, ports: supervisor.Ports) -> None:
        managers = [f"    {person.username:<7} {person.about}" for person in MANAGERS]
        lines = [
            "",
            f"  Start here   {ports.url}/",
            f"  Admin        {ports.url}/admin/",
            f"  Inbox        {ports.url}/inbox/",
            "",
            "  Log in as (the password is the user name):",
            *managers,
            f"    {CHIEF.username:<7} {CHIEF.about}",
            f"    {ADMIN.username:<7} {ADMIN.about}",
            "",
            "  Ctrl-C ends everything.",
            "",
        ]
        self._say("\n".join(lines))

    def _say(self, line: str) -> None:
        # Nobody may be listening any more (a closed terminal); the demo ends properly all the same.
        try:
            self.stdout.write(line)
            self.stdout.flush()
        except OSError:
            pass
