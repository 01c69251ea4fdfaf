from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.certificates import Certificate, make_certificate
from tests.conversations import Serve
from tests.smtpd import SMTPServer


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start scripted SMTP servers that end with the test; takes the arguments of `SMTPServer`."""
    with ExitStack() as servers:

        def start(**script: Any) -> SMTPServer:
            return servers.enter_context(SMTPServer(**script))

        yield start


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A self-signed certificate for `localhost`."""
    return make_certificate(tmp_path_factory.mktemp("certificates"), "localhost")


@pytest.fixture
def trusted(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have clients trust `certificate`."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.chain))
