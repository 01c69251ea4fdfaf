"""Run the demo's mail catcher."""

import asyncio
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from example_project.demo.catcher import HOST, serve
from example_project.demo.mailstore import MailStore


class Command(BaseCommand):
    help = "Catch mail on this machine's loopback address and keep it for the inbox page. Delivers nothing."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8025, help="Port to listen on (default 8025).")
        parser.add_argument("--store", type=Path, default=settings.DEMO_MAIL_DIR, help="Directory for the messages.")

    def handle(self, *args: Any, **options: Any) -> None:
        with MailStore(options["store"]) as store:
            self.stdout.write(f"Catching mail on {HOST}:{options['port']}, kept in {options['store']}")
            asyncio.run(serve(port=options["port"], store=store))
