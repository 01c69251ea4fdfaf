"""The people of the example company: who they are, their mail accounts, signatures and messages."""

from dataclasses import dataclass
from pathlib import Path

from django.contrib.auth.models import Group, Permission, User
from django.db import transaction

from massmail.choices import Security, SignatureType
from massmail.management.commands.massmail_setup import GROUP
from massmail.models import EmailAccount, MassmailSettings, Message, Signature

DOMAIN = "nordwind-tools.example"
COMPANY = "Nordwind Tools"
CRM_GROUP = "CRM users"
UNSUBSCRIBED_PATH = "/company/unsubscribed/"
MESSAGE_DIR = Path(__file__).resolve().parent.parent / "seed_messages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One user of the example.

    `extra` counts the accounts besides the main one; those of a `relay` send as fast as the server takes it.
    """

    username: str
    first_name: str
    last_name: str
    title: str
    extra: int = 0
    relay: bool = False
    about: str = ""

    @property
    def full_name(self) -> str:
        return f"{self.first_name} {self.last_name}"


ADMIN = Person(
    username="admin", first_name="Ada", last_name="Boateng", title="Administrator", about="superuser, sets the rules"
)
CHIEF = Person(
    username="carol", first_name="Carol", last_name="Núñez", title="Head of sales", about="sees everybody's mailings"
)
MANAGERS = (
    Person(
        username="alice",
        first_name="Alice",
        last_name="Lindqvist",
        title="Key accounts",
        extra=2,
        relay=True,
        about="relay accounts: a mailing runs through while you look",
    ),
    Person(
        username="bob",
        first_name="Bob",
        last_name="Köster",
        title="Sales, central Europe",
        extra=3,
        about="paced like a person: a mail every half minute from each account, 94 a day",
    ),
    Person(
        username="eve",
        first_name="Eve",
        last_name="Мельник",
        title="Sales, eastern Europe",
        about="has only a main account: it writes to VIP recipients and nobody else",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A ready-made message of `seed_messages`."""

    file: str
    subject: str
    preheader: str


LETTERS = (
    Letter(
        file="autumn_catalogue.html",
        subject="{{ company }}: the new workshop catalogue is here",
        preheader="48 new tools, prices that hold until March, and a bench you can fold away.",
    ),
    Letter(
        file="trade_fair.html",
        subject="Come and see us in Hall 5",
        preheader="Three days, one stand, fresh coffee: your ticket is on us.",
    ),
    Letter(
        file="service_letter.html",
        subject="A free check-up for your machines",
        preheader="Our technicians are near you next month.",
    ),
)


@transaction.atomic
def seed_people(*, passwords: bool) -> dict[str, User]:
    """Make administrator, chief and managers where they are missing; return the managers by user name.

    The group of managers must be there: run `massmail_setup` before.

    With `passwords` a new user's password is the user name; without, nobody can log in until one is set.
    """
    group = Group.objects.get(name=GROUP)
    crm = _crm_group()
    admin = _user(ADMIN, passwords=passwords)
    User.objects.filter(pk=admin.pk).update(is_superuser=True)
    chief = _user(CHIEF, passwords=passwords)
    chief.groups.add(crm, group)
    chief.user_permissions.add(Permission.objects.get(content_type__app_label="massmail", codename="view_all"))
    managers = {person.username: _user(person, passwords=passwords) for person in MANAGERS}
    for user in managers.values():
        user.groups.add(crm, group)
    return managers


@transaction.atomic
def seed_desk(user: User, person: Person, *, relay_limit: int) -> None:
    """Give a manager accounts, signatures and messages, unless there is any account already.

    `relay_limit` is the daily limit of a relay account. `point_to` names the server of the accounts.
    """
    if EmailAccount.objects.filter(owner=user).exists():
        return
    _accounts(user, person, relay_limit=relay_limit)
    signature = _signatures(user, person)
    for letter in LETTERS:
        content = (MESSAGE_DIR / letter.file).read_text(encoding="utf-8")
        Message.objects.create(
            owner=user, subject=letter.subject, preheader=letter.preheader, content=content, signature=signature
        )


def point_to(*, smtp_host: str, smtp_port: int, unsubscribe_url: str) -> None:
    """Tell the seeded accounts where the mail server is now, and the settings where the company's page is.

    A page that an administrator chose is left alone.
    """
    EmailAccount.objects.filter(from_email__endswith="@" + DOMAIN).update(smtp_host=smtp_host, smtp_port=smtp_port)
    row = MassmailSettings.load()
    if not row.unsubscribe_url or row.unsubscribe_url.endswith(UNSUBSCRIBED_PATH):
        row.unsubscribe_url = unsubscribe_url
        row.save()


def _user(person: Person, *, passwords: bool) -> User:
    user, new = User.objects.get_or_create(
        username=person.username,
        defaults={
            "first_name": person.first_name,
            "last_name": person.last_name,
            "email": f"{person.username}@{DOMAIN}",
            "is_staff": True,
        },
    )
    if new:
        user.set_password(person.username if passwords else None)
        user.save(update_fields=["password"])
    return user


def _crm_group() -> Group:
    """Return the group that may work with the CRM's own tables."""
    group, _ = Group.objects.get_or_create(name=CRM_GROUP)
    group.permissions.set(
        Permission.objects.filter(content_type__app_label="crm").exclude(codename__startswith="delete_")
    )
    return group


def _accounts(user: User, person: Person, *, relay_limit: int) -> None:
    first = person.username
    names = [first, f"{first}.news", f"{first}.team", f"{first}.office"][: person.extra + 1]
    for position, name in enumerate(names):
        address = f"{name}@{DOMAIN}"
        EmailAccount.objects.create(
            owner=user,
            name="Main" if position == 0 else name.partition(".")[2].title(),
            from_email=address,
            from_name=person.full_name,
            main=position == 0,
            massmail=True,
            smtp_host="127.0.0.1",
            smtp_security=Security.NONE,
            smtp_username=address,
            smtp_password=f"{name}-mailbox",
            paced=not person.relay,
            emails_per_day=relay_limit if person.relay else None,
        )


def _signatures(user: User, person: Person) -> Signature:
    """Make an HTML signature, the default, and a plain one; return the default."""
    html = (MESSAGE_DIR / "signature.html").read_text(encoding="utf-8")
    address = f"{person.username}@{DOMAIN}"
    for placeholder, value in {"NAME": person.full_name, "TITLE": person.title, "ADDRESS": address}.items():
        html = html.replace(f"[{placeholder}]", value)
    plain = f"Kind regards\n{person.full_name}\n{person.title}, {COMPANY}\n{address}"
    Signature.objects.create(owner=user, name="Short", type=SignatureType.PLAIN, content=plain)
    return Signature.objects.create(
        owner=user, name="With address", type=SignatureType.HTML, content=html, default=True
    )
