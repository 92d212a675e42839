"""A stand-in OpenID Connect provider on loopback: describes itself, hands out codes, checks PKCE, signs ID tokens.

`claims` are what it says of whoever logs in next; `spoil` changes an ID token's claims before it is signed, `key` is
what it signs with, so that a test can make it lie.
"""

from __future__ import annotations

import json
import secrets
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey

CLIENT_ID, CLIENT_SECRET = "cspine-node", "a secret of the provider"


class StandInProvider:
    """Listens while the block runs. `issuer` is its address, `now` its clock in seconds."""

    def __init__(self, *, now: Callable[[], float]) -> None:
        self.now = now
        self.published = ECKey.generate_key("P-256", auto_kid=True)
        self.key = self.published
        self.claims: dict[str, Any] = {"sub": "4711", "preferred_username": "ann", "groups": ["radiology"]}
        self.userinfo: dict[str, Any] = {}
        self.spoil: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
        self._asked: dict[str, dict[str, str]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> StandInProvider:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Nobody answers any more. Twice is once."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def authorise(self, url: str) -> str:
        """What the person does there: log in, and be sent back. The address that the browser then opens."""
        asked = dict(parse_qsl(urlsplit(url).query))
        assert asked["response_type"] == "code"
        assert (asked["client_id"], asked["code_challenge_method"]) == (CLIENT_ID, "S256")
        code = secrets.token_urlsafe(16)
        self._asked[code] = asked
        return f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"

    def described(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
        }

    def token(self, form: dict[str, str]) -> dict[str, Any] | None:
        """The answer to a code; None where code, verifier or redirect are not those of the beginning."""
        asked = self._asked.pop(form.get("code", ""), None)
        challenge = urlsafe_b64encode(sha256(form.get("code_verifier", "").encode()).digest()).decode().rstrip("=")
        if asked is None or (challenge, form.get("redirect_uri")) != (asked["code_challenge"], asked["redirect_uri"]):
            return None
        now = int(self.now())
        claims = {
            "iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": asked["nonce"], **self.claims
        }  # fmt: skip
        header = {"alg": "ES256", "kid": self.published.kid}
        id_token = jwt.encode(header, self.spoil(claims), self.key, algorithms=["ES256"])
        return {"access_token": "a", "token_type": "Bearer", "expires_in": 300, "id_token": id_token}


def _handler(provider: StandInProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(
                {
                    "/.well-known/openid-configuration": provider.described(),
                    "/keys": {"keys": [provider.published.as_dict(private=False)]},
                    "/userinfo": provider.userinfo,
                }.get(self.path)
            )

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer(provider.token({name: values[0] for name, values in parse_qs(body).items()}))

        def _answer(self, found: dict[str, Any] | None) -> None:
            body = json.dumps(found if found is not None else {"error": "invalid_grant"}).encode()
            self.send_response(200 if found is not None else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
