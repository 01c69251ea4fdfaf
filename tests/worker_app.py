"""The example's Celery app for workers that are to die at a failpoint: `TEST_FAILPOINT=dot celery -A tests.worker_app`.

In a module of its own, so that no process that is not told to knows of failpoints.
"""

import django

from example_project.celery import app
from tests import failpoints

__all__ = ["app"]

django.setup()
failpoints.arm_from_environment()
