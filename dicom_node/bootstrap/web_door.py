"""Who is let in on the pages and in the API, as the settings say."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from config.settings import Settings
from config.web import WebSettings
from dicom_node.app.log_in import LogIn
from dicom_node.app.log_in_limits import LogInLimits
from dicom_node.bootstrap.accounts import metrics_token_sha256
from dicom_node.bootstrap.store import Store
from dicom_node.core.account import Role, SessionPolicy
from dicom_node.core.errors import ConfigurationError
from dicom_node.ports import AuditLog, Clock
from dicom_node.web.app import hosts_for
from dicom_node.web.auth.browser import BrowserRules
from dicom_node.web.auth.gate import Keys, MetricsRules
from dicom_node.web.auth.passwords import Argon2Hasher

if TYPE_CHECKING:
    from dicom_node.web.auth.provider import Provider


def web_keys(settings: Settings, store: Store, *, audit: AuditLog, clock: Clock) -> Keys:
    """Who somebody is. Raises ConfigurationError where the metrics token or the secret for the
    provider cannot be read."""
    web = settings.web
    return Keys(
        log_in=LogIn(
            uow_factory=store.unit_of_work,
            reading=store.reading,
            clock=clock,
            hasher=Argon2Hasher(),
            policy=SessionPolicy(idle_s=web.session_idle_s, absolute_s=web.session_absolute_s),
            limits=LogInLimits(
                per_account=web.login_attempts_per_account,
                per_address=web.login_attempts_per_address,
                within_s=web.login_attempts_within_s,
            ),
            audit=audit,
            ae_title=settings.node.ae_title,
        ),
        browser=BrowserRules(is_secure=web.is_secure, public_origin=web.public_url),
        metrics=MetricsRules(from_loopback=web.metrics_from_loopback, token_sha256=metrics_token_sha256(web)),
        provider=_provider(web, clock) if web.oidc.issuer else None,
    )


def allowed_hosts(web: WebSettings) -> tuple[str, ...]:
    """The hosts that requests may name."""
    return hosts_for(web.host, urlsplit(web.public_url).hostname or "")


def _provider(web: WebSettings, clock: Clock) -> Provider:
    # Imported here: nobody else needs a library for OAuth, and it costs a tenth of a second.
    from dicom_node.web.auth.provider import Provider, ProviderRules

    oidc = web.oidc
    secret = os.environ.get(oidc.client_secret_env, "") if oidc.client_secret_env else ""
    if oidc.client_secret_env and not secret:
        raise ConfigurationError(
            f"web.oidc.client_secret_env names the environment variable {oidc.client_secret_env}, which is empty",
            key="web.oidc.client_secret_env",
            value=oidc.client_secret_env,
        )
    rules = ProviderRules(
        issuer=oidc.issuer,
        client_id=oidc.client_id,
        client_secret=secret,
        redirect_uri=f"{web.public_url}/login/provider/back",
        ca_file=oidc.ca_file,
        name_claim=oidc.name_claim,
        groups_claim=oidc.groups_claim,
        groups={Role.VIEWER: oidc.viewers, Role.OPERATOR: oidc.operators, Role.ADMIN: oidc.admins},
        timeout_s=oidc.timeout_s,
    )
    return Provider(rules, clock)
