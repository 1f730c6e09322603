"""A small OpenID Connect provider on a free port: discovery, authorization with PKCE, token, user info."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt

CLIENT, SECRET = "athanor", "a secret of the client, long enough for HS256"


class Provider(ThreadingHTTPServer):
    """Use it as a context manager. `person` are the claims of who signs on next; `lies` replace those of the token."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.person: dict[str, Any] = {}
        self.lies: dict[str, Any] = {}
        self.asked: dict[str, str] = {}

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Provider:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def authorize(self, address: str) -> str:
        """Let the person agree at the address to which Athanor led; return where the provider leads back."""
        self.asked = {name: values[-1] for name, values in parse_qs(urlsplit(address).query).items()}
        assert address.startswith(f"{self.issuer}/authorize")
        assert (self.asked["response_type"], self.asked["code_challenge_method"]) == ("code", "S256")
        back = urlencode({"code": "the code", "state": self.asked["state"]})
        return f"{self.asked['redirect_uri']}?{back}"

    def token(self, form: dict[str, str]) -> dict[str, Any] | None:
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        found = (form["code"], form["client_id"], form["client_secret"], form["redirect_uri"], challenge)
        if found != ("the code", CLIENT, SECRET, self.asked["redirect_uri"], self.asked["code_challenge"]):
            return None
        times = {"iat": int(time.time()), "exp": int(time.time()) + 60}
        claims = {"iss": self.issuer, "aud": CLIENT, **times, **self.person, **self.lies}
        signed = jwt.encode(claims, SECRET, algorithm="HS256", headers={"kid": "1"})
        return {"access_token": "the token", "token_type": "Bearer", "id_token": signed}

    def discovery(self) -> dict[str, Any]:
        names = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri")
        places = {name: f"{self.issuer}/{name.split('_')[0].replace('authorization', 'authorize')}" for name in names}
        return {"issuer": self.issuer, "token_endpoint_auth_methods_supported": ["client_secret_post"], **places}


class Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        if self.path == "/.well-known/openid-configuration":
            self._answer(self.server.discovery())
        elif self.path == "/userinfo" and self.headers["Authorization"] == "Bearer the token":
            self._answer(self.server.person)
        else:
            self._answer(None)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._answer(self.server.token({name: values[-1] for name, values in form.items()}))

    def _answer(self, data: dict[str, Any] | None) -> None:
        text = json.dumps(data or {"error": "refused"}).encode()
        self.send_response(200 if data else 400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass
