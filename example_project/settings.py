"""A small CRM with massmail plugged in. SQLite unless DATABASE_URL says otherwise; the broker comes from BROKER_URL."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import django

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(os.environ.get("EXAMPLE_VAR", BASE_DIR / "var"))

SECRET_KEY = os.environ.get("SECRET_KEY", "for the example only: make your own")
DEBUG = os.environ.get("DEBUG", "1") == "1"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "massmail",
    "example_project.crm",
    "example_project.demo",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "example_project.middleware.strict_csp",
]

ROOT_URLCONF = "example_project.urls"
WSGI_APPLICATION = None

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]


def database(url: str) -> dict:
    """Read `postgres://user:password@host:port/name`, or return SQLite with the options that keep its transactions."""
    if url:
        parts = urlsplit(url)
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": parts.path.lstrip("/"),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": parts.hostname or "",
            "PORT": parts.port or "",
        }
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": VAR_DIR / "db.sqlite3",
        # Without these, processes that read and then write lose transactions ("database is locked").
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }


DATABASES = {"default": database(os.environ.get("DATABASE_URL", ""))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en"
TIME_ZONE = os.environ.get("TIME_ZONE", "Europe/Berlin")
USE_TZ = True
USE_I18N = True
STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
MEDIA_ROOT = VAR_DIR / "media"
MEDIA_URL = "media/"
LOGIN_URL = "admin:login"
if django.VERSION < (6, 0):
    FORMS_URLFIELD_ASSUME_HTTPS = True

CELERY_BROKER_URL = os.environ.get("BROKER_URL", "redis://127.0.0.1:6379/0")
if CELERY_BROKER_URL.startswith("filesystem:"):
    # For machines without any Redis. One folder is both in- and outbox; the polling default of 1 s is too slow.
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": VAR_DIR / "broker" / "queue",
        "data_folder_out": VAR_DIR / "broker" / "queue",
        "processed_folder": VAR_DIR / "broker" / "processed",
        "control_folder": VAR_DIR / "broker" / "control",
        "polling_interval": 0.1,
    }
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
# The database is the queue; the broker only rings the bell. Nothing asks for results.
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TIMEZONE = "UTC"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {
        "massmail": {"handlers": ["console"], "level": "INFO"},
        "celery": {"handlers": ["console"], "level": "WARNING"},
        "django.server": {"level": os.environ.get("WEB_LOG_LEVEL", "INFO")},
    },
}

MASSMAIL_RECIPIENT_TYPES = [
    "example_project.crm.mailing.ContactRecipients",
    "example_project.crm.mailing.CompanyRecipients",
    "example_project.crm.mailing.LeadRecipients",
]
MASSMAIL_CONVERSATIONS = [
    "example_project.crm.mailing.RequestConversations",
    "example_project.crm.mailing.DealConversations",
]
# A key for the example. Make yours with:
#   python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"
MASSMAIL_FIELD_KEYS = [os.environ.get("MASSMAIL_KEY", "ZXhhbXBsZS1vbmx5LWtleS0tbWFrZS15b3VyLW93biE=")]
MASSMAIL_PUBLIC_URL = os.environ.get("MASSMAIL_PUBLIC_URL", "http://127.0.0.1:8000")
# The demo's mail catcher listens on this machine and speaks no TLS.
MASSMAIL_CLEAR_TEXT_HOSTS = ["127.0.0.1"]
MASSMAIL_PRIVATE_HOSTS = ["127.0.0.1", "localhost"]

# Customers of the example live at domains that are in no DNS: looked up, they would all be skipped.
MASSMAIL_DNS_CHECKS = os.environ.get("MASSMAIL_DNS_CHECKS", "0") == "1"

# The catcher's inbox shows everybody's mail without a login: for trying out only.
DEMO = DEBUG
DEMO_MAIL_DIR = VAR_DIR / "mail"
