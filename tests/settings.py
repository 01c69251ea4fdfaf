"""The example project's settings, made fast and private for tests.

SQLite in files of a temporary directory, so that several processes of a test see one database; `DATABASE_URL` names a
PostgreSQL server instead (`python -m tests.servers pytest tests/integration` starts one). A process that a test starts
gets the environment of the fixture `process_env` and finds the test's own database here.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

if "EXAMPLE_VAR" not in os.environ:
    # Inherited by the processes started from here: the workers of pytest-xdist, and those of the tests.
    os.environ["EXAMPLE_VAR"] = tempfile.mkdtemp(prefix="massmail-tests-")
    atexit.register(shutil.rmtree, os.environ["EXAMPLE_VAR"], ignore_errors=True)

from example_project.settings import *  # noqa: F403
from example_project.settings import VAR_DIR, database

Path(VAR_DIR).mkdir(parents=True, exist_ok=True)

DEBUG = False
SECRET_KEY = "for tests only"
ALLOWED_HOSTS = ["*"]

DATABASES = {"default": database(os.environ.get("DATABASE_URL", ""))}
if "TEST_DATABASE_FILE" in os.environ:
    DATABASES["default"]["NAME"] = os.environ["TEST_DATABASE_FILE"]
elif not os.environ.get("DATABASE_URL"):
    # A file, since a database in memory is out of reach of other threads and processes. pytest-xdist adds a suffix.
    DATABASES["default"]["TEST"] = {"NAME": str(Path(VAR_DIR) / "test.sqlite3")}

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
TIME_ZONE = "Europe/Berlin"

CELERY_BROKER_URL = os.environ.get("BROKER_URL", "memory://")

MASSMAIL_TRANSPORT = os.environ.get("MASSMAIL_TRANSPORT", "massmail.transport.memory.MemoryConnection")
MASSMAIL_PUBLIC_URL = os.environ.get("MASSMAIL_PUBLIC_URL", "https://news.example.com")

# No test asks the world: the fixture `names` gives a name server that answers.
MASSMAIL_DNS_SERVERS = os.environ.get("MASSMAIL_DNS_SERVERS", "127.0.0.1:9").split(",")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"null": {"class": "logging.NullHandler"}},
    "loggers": {"massmail": {"handlers": ["null"], "level": "INFO"}, "django": {"handlers": ["null"]}},
}

# Short enough that a test sees a dead worker's lane come back.
MASSMAIL_LEASE_SECONDS = float(os.environ.get("MASSMAIL_LEASE_SECONDS", "30"))
MASSMAIL_TICK_SECONDS = int(os.environ.get("MASSMAIL_TICK_SECONDS", "5"))
MASSMAIL_POLL_SECONDS = int(os.environ.get("MASSMAIL_POLL_SECONDS", "120"))

INSTALLED_APPS = [*INSTALLED_APPS, "tests.host"]  # noqa: F405
MASSMAIL_RECIPIENT_TYPES = [
    *MASSMAIL_RECIPIENT_TYPES,  # noqa: F405
    "tests.host.mailing.PartnerRecipients",
    "tests.host.mailing.VendorRecipients",
]
