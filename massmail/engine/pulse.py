"""The pulse of the site: when the engine last ticked, and on which hosts. Read by `massmail.engine.holds.machine`."""

from __future__ import annotations

import datetime as dt
import platform

from massmail.models import Heartbeat

#: The heartbeat of every tick, wherever it was.
TICK = "tick"
#: What the heartbeats of hosts begin with.
HOST = "host "
#: A host that has not ticked for so long is forgotten: containers change their names with each start.
FORGET_AFTER = dt.timedelta(days=1)


def beat(*, now: dt.datetime) -> None:
    """Note a tick of this host at `now`, and forget hosts that are gone."""
    host = f"{HOST}{platform.node() or 'unknown'}"[:100]
    Heartbeat.objects.bulk_create(
        [Heartbeat(name=TICK, at=now), Heartbeat(name=host, at=now)],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["at"],
    )
    Heartbeat.objects.filter(name__startswith=HOST, at__lt=now - FORGET_AFTER).delete()
