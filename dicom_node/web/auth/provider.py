"""Log-in by an OpenID Connect provider: Authorization Code with PKCE through Authlib, ID tokens checked by joserfc.

A journey is what the node remembers of somebody it sent to the provider: state, nonce, verifier, and a digest of a
cookie, so that only the browser that left can come back, once, within ten minutes. Journeys are in memory: after a
restart one begins again.

What the provider says is believed only in an ID token that it signed with a key of its own, for us, just now, for this
journey. The role is that of the groups it names; a role for nobody's group is none.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Any

import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from dicom_node.app.accounts import digest_of, new_secret
from dicom_node.core.account import Role
from dicom_node.core.errors import NodeError
from dicom_node.ports import Clock

log = structlog.get_logger(__name__)

_JOURNEY_LASTS = timedelta(minutes=10)
_MOST_JOURNEYS = 1000
_LEEWAY_S = 60
_AT_ONCE = 4
# Asymmetric ones alone: with another the public key, or nothing at all, would be the secret.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class ProviderRefused(NodeError):
    """Nobody is logged in. The text is for the log; whoever stands before the page is told less."""


@dataclass(frozen=True, kw_only=True)
class ProviderRules:
    """`groups` are those that give each role; `redirect_uri` is where the provider sends people back to."""

    issuer: str
    client_id: str
    client_secret: str = ""
    redirect_uri: str
    ca_file: str = ""
    name_claim: str = "preferred_username"
    groups_claim: str = "groups"
    groups: Mapping[Role, tuple[str, ...]]
    timeout_s: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Departure:
    """Where the browser goes, and the secret that its cookie keeps until it comes back."""

    url: str
    secret: str


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """Who came back, with what role, and where they wanted to go."""

    name: str
    role: Role
    wanted: str


@dataclass(frozen=True, kw_only=True)
class _Journey:
    secret_digest: str
    nonce: str
    verifier: str
    wanted: str
    began_at: datetime


class Provider:
    """Used by many threads; asks the provider over the network, with a timeout."""

    def __init__(self, rules: ProviderRules, clock: Clock) -> None:
        self._rules = rules
        self._clock = clock
        self._journeys: OrderedDict[str, _Journey] = OrderedDict()
        self._guard = threading.Lock()
        # Anybody may ask for the log-in: a provider that hangs must not hold every thread of the pages.
        self._places = threading.BoundedSemaphore(_AT_ONCE)

    def depart(self, wanted: str) -> Departure:
        """Send somebody to the provider. Raises ProviderRefused where it does not answer."""
        state, nonce, verifier, secret = (new_secret() for _ in range(4))
        with self._place(), self._session() as session:
            described = self._described(session)
            url, _ = session.create_authorization_url(
                described["authorization_endpoint"], state=state, code_verifier=verifier, nonce=nonce
            )
        journey = _Journey(
            secret_digest=digest_of(secret),
            nonce=nonce,
            verifier=verifier,
            wanted=wanted,
            began_at=self._clock.now(),
        )
        with self._guard:
            self._journeys[state] = journey
            while len(self._journeys) > _MOST_JOURNEYS:
                self._journeys.popitem(last=False)
        return Departure(url=url, secret=secret)

    def arrive(self, *, state: str, code: str, secret: str) -> Arrival:
        """Who it is that comes back. Raises ProviderRefused where that cannot be known, or gives no role."""
        with self._guard:
            journey = self._journeys.pop(state, None)
        if journey is None or self._clock.now() - journey.began_at > _JOURNEY_LASTS:
            raise ProviderRefused("nobody left with this state, or it was too long ago, or they came back already")
        if not compare_digest(digest_of(secret), journey.secret_digest):
            raise ProviderRefused("another browser came back than the one that left")
        claims = self._claims(code, journey)
        return Arrival(name=self._name(claims), role=self._role(claims), wanted=journey.wanted)

    def _claims(self, code: str, journey: _Journey) -> dict[str, Any]:
        try:
            with self._place(), self._session() as session:
                described = self._described(session)
                answer = session.fetch_token(
                    described["token_endpoint"],
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=journey.verifier,
                    allow_redirects=False,
                )
                published: Any = _json(session, described["jwks_uri"])
                keys = KeySet.import_key_set(published)
                claims = self._checked(answer["id_token"], keys, described["issuer"], journey.nonce)
                if self._rules.groups_claim not in claims and "userinfo_endpoint" in described:
                    claims = _with_userinfo(claims, _json(session, described["userinfo_endpoint"], is_public=False))
        except ProviderRefused:
            raise
        except (OSError, AuthlibBaseError, JoseError, ValueError, KeyError, TypeError) as error:
            raise ProviderRefused(f"{type(error).__name__} from {self._rules.issuer}: {error}") from error
        return claims

    def _checked(self, id_token: str, keys: KeySet, issuer: str, nonce: str) -> dict[str, Any]:
        claims = jwt.decode(id_token, keys, algorithms=list(_ALGORITHMS)).claims
        client_id = self._rules.client_id
        jwt.JWTClaimsRegistry(
            now=int(self._clock.now().timestamp()),
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": client_id},
            nonce={"essential": True, "value": nonce},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
        ).validate(claims)
        if claims.get("azp", client_id) != client_id or (isinstance(claims["aud"], list) and len(claims["aud"]) > 1):
            raise ProviderRefused("the ID token was made for another client too")
        return dict(claims)

    def _name(self, claims: Mapping[str, Any]) -> str:
        name = claims.get(self._rules.name_claim)
        if not isinstance(name, str) or not name:
            raise ProviderRefused(f"the provider gives no {self._rules.name_claim}")
        return name

    def _role(self, claims: Mapping[str, Any]) -> Role:
        given = claims.get(self._rules.groups_claim, ())
        groups = {given} if isinstance(given, str) else set(given) if isinstance(given, list) else set()
        for role in reversed(Role):
            if groups & set(self._rules.groups.get(role, ())):
                return role
        raise ProviderRefused(f"no group of {claims.get('sub')} gives a role")

    def _described(self, session: OAuth2Session) -> dict[str, Any]:
        """The provider's own description (OpenID Connect Discovery). Raises ProviderRefused."""
        try:
            described = _json(session, f"{self._rules.issuer}/.well-known/openid-configuration")
        except (OSError, ValueError) as error:
            raise ProviderRefused(f"{self._rules.issuer} does not describe itself: {error}") from error
        if str(described.get("issuer", "")).rstrip("/") != self._rules.issuer:
            raise ProviderRefused(f"{self._rules.issuer} calls itself {described.get('issuer')}")
        missing = {"authorization_endpoint", "token_endpoint", "jwks_uri"} - described.keys()
        if missing:
            raise ProviderRefused(f"{self._rules.issuer} does not name its {', '.join(sorted(missing))}")
        return described

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise ProviderRefused(f"{_AT_ONCE} others wait for an answer of {self._rules.issuer}")
        try:
            yield
        finally:
            self._places.release()

    def _session(self) -> OAuth2Session:
        rules = self._rules
        session = OAuth2Session(
            client_id=rules.client_id,
            client_secret=rules.client_secret or None,
            scope="openid profile email groups" if rules.groups_claim == "groups" else "openid profile email",
            redirect_uri=rules.redirect_uri,
            code_challenge_method="S256",
            default_timeout=rules.timeout_s,
        )
        session.trust_env = False  # no proxy, .netrc or CA of the environment comes between
        session.verify = rules.ca_file or True
        return session


def _json(session: OAuth2Session, url: str, *, is_public: bool = True) -> dict[str, Any]:
    """What stands there; without our access token where it `is_public`. Raises OSError, ValueError."""
    answer = session.get(url, withhold_token=is_public, allow_redirects=False)
    answer.raise_for_status()
    found = answer.json()
    if answer.status_code != 200 or not isinstance(found, dict):
        raise ValueError(f"{url} answered {answer.status_code} without an object")
    return found


def _with_userinfo(claims: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    if more.get("sub") != claims["sub"]:
        raise ProviderRefused("the provider's userinfo is of somebody else")
    return {**more, **claims}
