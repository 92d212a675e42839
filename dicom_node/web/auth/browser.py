"""What a browser keeps for us, and whether a request that changes something was made by one of our own pages.

Two marks are asked for, because each has its gap: the Origin (or Sec-Fetch-Site) that browsers add by themselves and
old ones leave out, and a token in the form that only a page of ours can have. The token is an HMAC with the cookie's
secret, so there is nothing to keep and nothing to leak: who has the secret needs no token.

A page before the log-in has no session; its form is signed with a secret of its own, or somebody could log a reader in
under another's name.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

CSRF_FIELD, CSRF_HEADER = "csrf_token", "x-csrf-token"
_SESSION, _FORM, _JOURNEY = "cspine_session", "cspine_form", "cspine_journey"
_FORM_LIVES_S, _JOURNEY_LIVES_S = 3600, 600
_CSRF = b"a form of cspine-node"


@dataclass(frozen=True, kw_only=True)
class BrowserRules:
    """`is_secure`: browsers reach the node by https. `public_origin`: as they see it where a proxy stands before it."""

    is_secure: bool = False
    public_origin: str = ""

    def session_secret(self, request: Request) -> str:
        """Of the session's cookie; empty where there is none."""
        return request.cookies.get(self._named(_SESSION), "")

    def form_secret(self, request: Request) -> str:
        """Of a page before the log-in."""
        return request.cookies.get(self._named(_FORM), "")

    def keep_session(self, response: Response, secret: str) -> None:
        """The browser has the session until it ends or is closed."""
        self._keep(response, _SESSION, secret, max_age=None)
        self._drop(response, _FORM)

    def keep_form(self, response: Response, secret: str) -> None:
        """The browser can send the form of a page before the log-in."""
        self._keep(response, _FORM, secret, max_age=_FORM_LIVES_S)

    def journey_secret(self, request: Request) -> str:
        """Of somebody who comes back from the log-in provider."""
        return request.cookies.get(self._named(_JOURNEY), "")

    def keep_journey(self, response: Response, secret: str) -> None:
        """The browser is known again when the provider, another site, sends it back: hence not Strict."""
        response.set_cookie(
            self._named(_JOURNEY),
            secret,
            max_age=_JOURNEY_LIVES_S,
            path="/",
            secure=self.is_secure,
            httponly=True,
            samesite="lax",
        )

    def drop_journey(self, response: Response) -> None:
        """It has come back."""
        self._drop(response, _JOURNEY)

    def drop_session(self, response: Response) -> None:
        """The browser forgets the session."""
        self._drop(response, _SESSION)

    def is_from_elsewhere(self, request: Request) -> bool:
        """Whether the browser itself says that another site made the request."""
        origin = request.headers.get("origin")
        if origin is not None:
            return origin not in self._own_origins(request)
        return request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")

    def _own_origins(self, request: Request) -> tuple[str, ...]:
        own = f"{request.scope['scheme']}://{request.headers.get('host', '')}"
        return (own, self.public_origin) if self.public_origin else (own,)

    def _named(self, name: str) -> str:
        # __Host-: the browser takes it over https alone, and from no neighbour in the domain.
        return f"__Host-{name}" if self.is_secure else name

    def _keep(self, response: Response, name: str, secret: str, *, max_age: int | None) -> None:
        response.set_cookie(
            self._named(name),
            secret,
            max_age=max_age,
            path="/",
            secure=self.is_secure,
            httponly=True,
            samesite="strict",
        )

    def _drop(self, response: Response, name: str) -> None:
        response.delete_cookie(self._named(name), path="/", secure=self.is_secure, httponly=True, samesite="strict")


def csrf_token(secret: str) -> str:
    """What a form of a page with this secret carries."""
    return hmac.new(secret.encode(), _CSRF, sha256).hexdigest()


def is_csrf_token(given: str, secret: str) -> bool:
    """Whether the form is one of ours, for this secret."""
    return bool(secret) and hmac.compare_digest(given.encode(), csrf_token(secret).encode())


def local_path(text: str) -> str:
    """A path on this node to go on to after the log-in; "/" where `text` could lead elsewhere."""
    is_local = text.startswith("/") and not text.startswith(("//", "/\\")) and len(text) <= 2000
    return text if is_local and text.isprintable() and "\\" not in text else "/"
