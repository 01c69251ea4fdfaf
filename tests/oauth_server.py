"""A provider of OAuth2 tokens on loopback, which checks PKCE and rotates refresh tokens."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from massmail.transport import oauth2


@dataclass
class OAuthServer:
    """`codes` maps authorization codes to (mailbox, challenge), `refresh_tokens` live ones to their mailbox."""

    codes: dict[str, tuple[str, str]] = field(default_factory=dict)
    refresh_tokens: dict[str, str] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    down: bool = False
    #: Status and body of every answer, whatever is asked.
    raw: tuple[int, bytes] | None = None
    #: Seconds before each octet.
    pause: float = 0.0
    access_tokens: dict[str, str] = field(default_factory=dict)
    mailbox: str = ""
    expires_in: int = 3600
    url: str = ""

    def settings(self) -> dict[str, Any]:
        return {
            "acme": {
                "label": "Acme ID",
                "client_id": "massmail-id",
                "client_secret": "client-s3cret",
                "authorize_url": f"{self.url}/authorize",
                "token_url": f"{self.url}/token",
                "scopes": ["mail", "openid"],
            }
        }

    def answer(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        self.asked.append(form)
        if self.down:
            return 503, {"error": "temporarily_unavailable"}
        if form["grant_type"] == "authorization_code":
            mailbox, challenge = self.codes.pop(form["code"], ("", ""))
            good = bool(mailbox) and oauth2.challenge(form["code_verifier"]) == challenge
        else:
            mailbox = self.refresh_tokens.pop(form["refresh_token"], "")
            good = bool(mailbox)
        if not good or form.get("client_secret") != "client-s3cret":
            return 400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
        rotated = f"refresh-{len(self.asked)}"
        self.refresh_tokens[rotated] = self.access_tokens[f"access-{len(self.asked)}"] = mailbox
        claims = base64.urlsafe_b64encode(json.dumps({"email": mailbox}).encode()).decode().rstrip("=")
        return 200, {
            "access_token": f"access-{len(self.asked)}",
            "refresh_token": rotated,
            "expires_in": self.expires_in,
            "id_token": f"e30.{claims}.c2ln",
        }

    def agreement(self, asked: dict[str, str]) -> str:
        """Return the page on which the owner of `mailbox` agrees."""
        self.codes["the-code"] = (self.mailbox, asked["code_challenge"])
        answer = urlencode({"state": asked["state"], "code": "the-code"})
        return f'<!doctype html><title>Acme ID</title><a href="{asked["redirect_uri"]}?{answer}">Allow</a>'


@contextmanager
def serving() -> Iterator[OAuthServer]:
    state = OAuthServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, answer = state.answer({name: values[0] for name, values in parse_qs(body).items()})
            data = json.dumps(answer).encode()
            if state.raw:
                status, data = state.raw
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            for octet in (data[at : at + 1] for at in range(len(data))) if state.pause else [data]:
                time.sleep(state.pause)
                try:
                    self.wfile.write(octet)
                except OSError:  # nobody waits any more
                    return

        def do_GET(self) -> None:
            asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            body, kind = "", "text/html"
            if self.path.startswith("/authorize"):
                body = state.agreement(asked)
            elif mailbox := state.access_tokens.get(asked.get("access_token", "")):
                body, kind = json.dumps({"email": mailbox}), "application/json"
            # Browsers ask for an icon when they get round to it.
            self.send_response(200 if body else 204 if self.path == "/favicon.ico" else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
