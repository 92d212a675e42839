"""Does the node run, and how fast does its work go? Asked of the node itself, on this machine, over HTTP."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from config.settings import Settings

_ANSWER_S = 2.0
_SUMS = {
    "cspine_instances_received_total": "images",
    "cspine_bytes_received_sum": "bytes",
    "cspine_instances_rejected_total": "refused",
    "cspine_jobs_finished_total": "analyses",
    "cspine_deliveries_finished_total": "deliveries",
}


@dataclass(frozen=True, kw_only=True)
class Pulse:
    """What the node says at `at_s` of the monotonic clock. `sums` count since its start; empty where it tells none."""

    at_s: float
    words: str
    is_well: bool
    sums: Mapping[str, float] = field(default_factory=dict)


def feel_pulse(settings: Settings) -> Pulse:
    """Ask the node that this configuration is of. Never raises: a node that does not answer is an answer."""
    at_s = time.monotonic()
    if not settings.web.enabled:
        return Pulse(at_s=at_s, words="web.enabled = false: it cannot be asked", is_well=False)
    try:
        problem = _health(settings) or _readiness(settings)
    except (OSError, ValueError):
        return Pulse(at_s=at_s, words="it does not answer", is_well=False)
    try:
        sums = sums_of(_get(settings, "/metrics"))
    except (OSError, ValueError):
        sums = {}
    return Pulse(at_s=at_s, words=problem or "it runs and takes work", is_well=not problem, sums=sums)


def sums_of(page: str) -> dict[str, float]:
    """The sums on a metrics page, over all labels. Raises ValueError where it is none."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in _SUMS:
                name = _SUMS[sample.name]
                found[name] = found.get(name, 0.0) + sample.value
    return found


def rates(before: Pulse | None, now: Pulse) -> dict[str, float]:
    """What happens in a second; empty without two pulses of one life of the node."""
    if before is None or not before.sums or not now.sums or now.at_s <= before.at_s:
        return {}
    passed_s = now.at_s - before.at_s
    grown = {name: now.sums.get(name, 0.0) - before.sums.get(name, 0.0) for name in _SUMS.values()}
    return {} if min(grown.values()) < 0 else {name: more / passed_s for name, more in grown.items()}


def _health(settings: Settings) -> str:
    answer = json.loads(_get(settings, "/healthz"))
    stale = [name for name, tick in answer["ticks"].items() if not tick["healthy"]]
    return f"these stand still: {', '.join(stale)}" if stale else ""


def _readiness(settings: Settings) -> str:
    return str(json.loads(_get(settings, "/readyz"))["why"])


def _get(settings: Settings, path: str) -> str:
    """The answer, also where it is 503. Raises OSError where there is none or another error."""
    web = settings.web
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(web.host, web.host)
    scheme = "https" if web.tls.certificate else "http"
    request = urllib.request.Request(f"{scheme}://{host}:{web.port}{path}", headers=_headers(web.metrics_token_file))
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_S, context=_trust(web.tls.certificate)) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        if error.code != 503:
            raise
        return error.read().decode()


def _headers(token_file: str) -> dict[str, str]:
    try:
        return {"Authorization": f"Bearer {Path(token_file).read_text().strip()}"} if token_file else {}
    except OSError:
        return {}


def _trust(certificate: str) -> ssl.SSLContext | None:
    """The node's own certificate and no other, under whatever name: this machine is asked."""
    if not certificate:
        return None
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
