"""Make what the app needs in the database besides its tables. Safe to run at every deployment."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from massmail.conf import conf

GROUP = "Massmail managers"

#: What a manager may do, by model. Whose objects these are is decided by the owner, not here.
RIGHTS = {
    "mailing": ("add", "change", "delete", "view"),
    "message": ("add", "change", "delete", "view"),
    "signature": ("add", "change", "delete", "view"),
    "image": ("add", "change", "delete", "view"),
    "attachment": ("add", "change", "delete", "view"),
    "emailaccount": ("add", "change", "view"),
    "delivery": ("view",),
    "leftout": ("view",),
    "recipient": ("change",),
}

TICK, POLL = "massmail.tick", "massmail.poll"
#: A ring that waited for a worker longer than this many intervals is worth nothing: the next one does its work.
RINGS_UNTIL_STALE = 3


class Command(BaseCommand):
    help = "Makes the group of managers and the periodic tasks of django-celery-beat. Running it again changes nothing."

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        done = [*set_up_group(), *set_up_tasks()]
        for line in done:
            self.report(line, options["verbosity"])
        if not done:
            self.report("Nothing to do: everything is set up.", options["verbosity"])

    def report(self, line: str, verbosity: int) -> None:
        if verbosity:
            self.stdout.write(line)


def set_up_group() -> list[str]:
    """Make the group of managers, or add rights it lacks; return what was done.

    Rights that an administrator added stay. Raises `CommandError` before `migrate` has made the permissions.
    """
    wanted = set(_permissions())
    group, created = Group.objects.get_or_create(name=GROUP)
    missing = wanted - set(group.permissions.all())
    group.permissions.add(*missing)
    if created:
        return [f"Made the group “{GROUP}” with {len(missing)} permissions."]
    if missing:
        return [f"Added to the group “{GROUP}”: {', '.join(sorted(right.codename for right in missing))}."]
    return []


def _permissions() -> list[Permission]:
    codenames = {f"{right}_{model}" for model, rights in RIGHTS.items() for right in rights}
    found = list(Permission.objects.filter(content_type__app_label="massmail", codename__in=codenames))
    missing = codenames - {permission.codename for permission in found}
    if missing:
        raise CommandError(f"Run “migrate” first: there is no permission {', '.join(sorted(missing))}.")
    return found


def set_up_tasks() -> list[str]:
    """Make the periodic tasks that drive everything, or bring them in line with the settings; return what was done."""
    if not apps.is_installed("django_celery_beat"):
        return ["No periodic task was made: add “django_celery_beat” to INSTALLED_APPS and run this again."]
    sending = _set_up_task(TICK, "Massmail: send what is due", conf.tick_seconds, disabled="nothing is sent")
    reading = _set_up_task(POLL, "Massmail: read incoming mail", conf.poll_seconds, disabled="no mail is read")
    return [*sending, *reading]


def _set_up_task(task_name: str, title: str, interval: float, *, disabled: str) -> list[str]:
    """Make one periodic task, or change its interval (in seconds). One that an administrator disabled is left alone."""
    periodic_task = apps.get_model("django_celery_beat", "PeriodicTask")
    seconds = max(1, round(interval))
    task = periodic_task.objects.filter(task=task_name).order_by("-enabled", "pk").first()
    if task is None:
        task = periodic_task(name=title, task=task_name)
        done = f"Made the periodic task {task_name}: every {seconds} seconds."
    elif not task.enabled:
        return [f"Left the periodic task {task_name} alone: it is disabled, so {disabled}."]
    else:
        done = f"Set the periodic task {task_name} to every {seconds} seconds."
    return [done] if _schedule(task, seconds) else []


def _schedule(task: Any, seconds: int) -> bool:
    """Have `task` run every `seconds`; return whether that changed anything."""
    interval_schedule = apps.get_model("django_celery_beat", "IntervalSchedule")
    expires = RINGS_UNTIL_STALE * seconds
    current = task.interval.schedule.run_every if task.interval else None
    if current == timedelta(seconds=seconds) and task.expire_seconds == expires:
        return False
    every = {"every": seconds, "period": interval_schedule.SECONDS}
    # No get_or_create: the table has no unique constraint, and may hold an interval twice.
    task.interval = interval_schedule.objects.filter(**every).first() or interval_schedule.objects.create(**every)
    task.crontab = task.solar = task.clocked = None
    task.expires, task.expire_seconds = None, expires
    task.save()
    return True
