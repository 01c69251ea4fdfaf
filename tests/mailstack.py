"""A real mail world on the loopback interface: Postfix takes mail in, or returns it, and Dovecot keeps it.

Both run as long as the block does. Postfix insists on being root. Recipients that answer with a fault, all of them at
`example.test`: nouser@ (550 5.1.1), full@ (452 4.2.2), grey@ (450 4.2.0), spam@ (554 5.7.1). What is sent to anybody at
bounce.test (5.1.1), full.test (5.2.2) or spam.test (5.7.1) is taken and comes back as a report in the sender's INBOX.
"""

from __future__ import annotations

import contextlib
import imaplib
import os
import re
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.certificates import make_certificate
from tests.servers import Unavailable, answers, eventually, free_port, private_directory, running

MASTER = Path("/usr/share/postfix/master.cf.dist")

DOVECOT = """\
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = required
ssl_cert = <{certificate}
ssl_key = <{key}
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = nobody
mail_location = maildir:~/Maildir
first_valid_uid = 1
auth_failure_delay = 0
auth_mechanisms = plain login xoauth2 oauthbearer
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {home}/oauth2.conf
}}
passdb {{
  driver = static
  mechanisms = plain login
  args = password=secret
}}
service auth {{
  chroot =
  inet_listener {{
    address = 127.0.0.1
    port = {auth}
  }}
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home={home}/mail/%u allow_all_users=yes
}}
namespace inbox {{
  inbox = yes
  mailbox Junk {{
    special_use = \\Junk
    auto = create
  }}
  mailbox Sent {{
    special_use = \\Sent
    auto = create
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
"""

#: Dovecot asks the provider of a token whose it is.
OAUTH2 = """\
tokeninfo_url = {url}/tokeninfo?access_token=
username_attribute = email
"""

#: Postfix takes mail from those who log in, after STARTTLS only; Dovecot says who may.
SUBMISSION = """\
127.0.0.1:{port} inet n - n - - smtpd
  -o smtpd_tls_security_level=may
  -o smtpd_tls_auth_only=yes
  -o smtpd_tls_cert_file={certificate}
  -o smtpd_tls_key_file={key}
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_sasl_type=dovecot
  -o smtpd_sasl_path=inet:127.0.0.1:{auth}
  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
"""
#: The same with TLS from the start.
WRAPPED = "  -o smtpd_tls_wrappermode=yes\n"

POSTFIX = """\
compatibility_level = 3.6
config_directory = {home}/etc
queue_directory = {home}/queue
data_directory = {home}/data
maillog_file = {home}/postfix.log
maillog_file_prefixes = {home}
myhostname = mx.example.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
local_recipient_maps =
disable_dns_lookups = yes
virtual_mailbox_domains = example.test
virtual_mailbox_maps = static:x
virtual_transport = lmtp:inet:127.0.0.1:{lmtp}
default_transport = error:5.7.1 no outside mail in tests
relay_domains = bounce.test, full.test, spam.test
relay_recipient_maps =
transport_maps = inline:{{ {{ bounce.test = error:5.1.1 The email account does not exist }}, {{ full.test = error:5.2.2 Mailbox full }}, {{ spam.test = error:5.7.1 Rejected as spam }} }}
smtpd_reject_unlisted_recipient = no
smtpd_client_connection_rate_limit = 0
smtpd_error_sleep_time = 0
smtpd_recipient_restrictions = check_recipient_access texthash:{home}/etc/answers, permit_mynetworks, reject
"""  # noqa: E501

ANSWERS = """\
nouser@example.test 550 5.1.1 User unknown
full@example.test 452 4.2.2 Mailbox full
grey@example.test 450 4.2.0 Greylisted, try again later
spam@example.test 554 5.7.1 Message rejected as spam
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Where the servers are. Whoever trusts `certificate` trusts them at 127.0.0.1; it is for no other name.

    TLS is spoken from the start at `submissions` and `imaps`, after STARTTLS at `submission` and `imap`.
    """

    home: Path
    certificate: Path
    smtp: int
    submission: int
    submissions: int
    auth: int
    imaps: int
    imap: int

    def mailbox(self, user: str) -> imaplib.IMAP4_SSL:
        """Return a session of the user's own, as a mail program has it."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        session = imaplib.IMAP4_SSL("127.0.0.1", self.imaps, ssl_context=context)
        session.login(user, "secret")
        return session

    def count(self, user: str, folder: str = "INBOX") -> int:
        """Return how many mails the folder has."""
        with self.mailbox(user) as session:
            return int(session.select(folder, readonly=True)[1][0])

    def refused_logins(self) -> int:
        """Return how many logins Postfix has refused."""
        return (self.home / "postfix" / "postfix.log").read_text().count("authentication failed")

    def renumber(self, user: str) -> None:
        """Have Dovecot number all mail in the user's INBOX anew."""
        time.sleep(1.1)  # it takes the time in seconds as the new UIDVALIDITY
        for file in (self.home / "mail" / user / "Maildir").glob("dovecot*"):
            file.unlink()


@contextlib.contextmanager
def mail_stack(*, milters: Sequence[int] = (), provider: str = "http://127.0.0.1:1") -> Iterator[Stack]:
    """Run both servers with empty mailboxes; every user at example.test exists, with the password `secret`.

    They also take the OAuth2 tokens of the `provider` at this address (`tests.oauth_server`).
    Postfix shows its mail to the filters at the ports `milters`, a signer say, each as the one before has left it.
    """
    for program, package in (("dovecot", "dovecot-imapd dovecot-lmtpd"), ("postfix", "postfix")):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            raise Unavailable(f"{program} is not installed (Debian: apt-get install {package})")
    if os.geteuid() != 0:
        raise Unavailable("Postfix runs as root only")
    with private_directory() as home:
        home.chmod(0o755)
        certificate = make_certificate(home, "127.0.0.1")
        stack = Stack(
            home=home,
            certificate=certificate.chain,
            smtp=free_port(),
            submission=free_port(),
            submissions=free_port(),
            auth=free_port(),
            imaps=free_port(),
            imap=free_port(),
        )
        lmtp = free_port()
        (home / "oauth2.conf").write_text(OAUTH2.format(url=provider))
        settings = POSTFIX.format(home=home / "postfix", lmtp=lmtp)
        if milters:
            settings += "smtpd_milters = " + ", ".join(f"inet:127.0.0.1:{port}" for port in milters) + "\n"
        with _dovecot(stack, certificate.key, lmtp), _postfix(stack, settings, certificate.key):
            yield stack


@contextlib.contextmanager
def _dovecot(stack: Stack, key: Path, lmtp: int) -> Iterator[None]:
    for name in ("run", "state", "mail"):
        (stack.home / name).mkdir()
        shutil.chown(stack.home / name, "nobody", "nogroup")
    for file in (key, stack.certificate):
        file.chmod(0o644)
    config = stack.home / "dovecot.conf"
    ports = {"imaps": stack.imaps, "imap": stack.imap, "lmtp": lmtp, "auth": stack.auth}
    config.write_text(DOVECOT.format(home=stack.home, certificate=stack.certificate, key=key, **ports))
    version = subprocess.check_output(["/usr/sbin/dovecot", "--version"], text=True)
    if not version.startswith("2.3"):
        raise Unavailable(f"The tests are written for Dovecot 2.3, this is {version.strip()}")
    command = ["/usr/sbin/dovecot", "-F", "-c", config]
    ready = [stack.imaps, lmtp]
    with running(command, stack.home, ready=lambda: all(map(answers, ready)), stop=signal.SIGTERM):
        yield


@contextlib.contextmanager
def _postfix(stack: Stack, settings: str, key: Path) -> Iterator[None]:
    home = stack.home / "postfix"
    for name in ("etc", "queue", "data"):
        (home / name).mkdir(parents=True)
    shutil.chown(home / "data", "postfix")
    (home / "etc" / "main.cf").write_text(settings)
    (home / "etc" / "answers").write_text(ANSWERS)
    # The services as they are shipped, without the chroot that is not there, and one more at our port.
    tls = {"auth": stack.auth, "certificate": stack.certificate, "key": key}
    submission = SUBMISSION.format(port=stack.submission, **tls)
    submissions = SUBMISSION.format(port=stack.submissions, **tls) + WRAPPED
    services = re.sub(r"(?m)^(smtp +inet.*)$", r"#\1", _services())
    services = re.sub(r"(?m)^([a-z]+ +(?:unix|inet) +[-yn]+ +[-yn]+ +)y( +)", r"\1n\2", services)
    smtp = f"127.0.0.1:{stack.smtp} inet n - n - - smtpd\n"
    (home / "etc" / "master.cf").write_text(f"{services}\n{smtp}{submission}{submissions}")
    for file in Path("/etc/postfix").glob("dynamicmaps.cf*"):
        _copy(file, home / "etc")
    for file in Path("/etc/postfix").glob("postfix-files*"):
        _copy(file, home / "etc")
    _call(["/usr/sbin/postfix", "-c", home / "etc", "start"])
    try:
        if not eventually(lambda: answers(stack.smtp)):
            raise RuntimeError(f"Postfix did not start:\n{(home / 'postfix.log').read_text()}")
        yield
    finally:
        _call(["/usr/sbin/postfix", "-c", home / "etc", "stop"])


def _services() -> str:
    found = [file for file in (Path("/etc/postfix/master.cf.proto"), MASTER) if file.exists()]
    return found[0].read_text()


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target / source.name)
    else:
        shutil.copy(source, target)


def _call(command: Sequence[object]) -> None:
    subprocess.run([str(part) for part in command], check=False, capture_output=True)
