"""A signed HTTP request about a positive result.

The body is JSON without the patient's name and ID. `X-Cspine-Signature` is `v1=` and the hexadecimal HMAC-SHA256, under
the shared secret, of the timestamp in `X-Cspine-Timestamp` (seconds since 1970), a full stop and the body's bytes. The
receiver computes the same, compares in constant time, and refuses timestamps that are old: then a recorded request
cannot be played again. `X-Cspine-Notice` is the same at each attempt at the same notice.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import requests
import structlog

from dicom_node.core.errors import PeerBusy, PeerRefused, PeerUnreachable
from dicom_node.core.notice import Notice
from dicom_node.ports import Clock

log = structlog.get_logger(__name__)

TIMESTAMP, SIGNATURE, NOTICE_ID = "X-Cspine-Timestamp", "X-Cspine-Signature", "X-Cspine-Notice"
_PASSING = frozenset({408, 425, 429})


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """Where it goes. `secret_variable` names the environment variable; `ca_file` is PEM, empty for the system's."""

    url: str
    secret_variable: str
    timeout_s: float = 10.0
    ca_file: str = ""


class WebhookNotifier:
    """`ports.Notifier` by HTTP."""

    def __init__(self, receiver: Receiver, *, clock: Clock, environ: Mapping[str, str] = os.environ) -> None:
        self._receiver = receiver
        self._clock = clock
        self._environ = environ

    def tell(self, notice: Notice) -> str:
        """The receiver has answered 2xx. Raises PeerUnreachable, PeerBusy (5xx and a few others), PeerRefused."""
        body = body_of(notice)
        timestamp = str(int(self._clock.now().timestamp()))
        headers = {
            "Content-Type": "application/json",
            TIMESTAMP: timestamp,
            SIGNATURE: signature(self._secret(), timestamp, body),
            NOTICE_ID: notice.id,
        }
        status = self._post(body, headers)
        if 200 <= status < 300:
            log.info("notice_acknowledged", channel="webhook", notice=notice.id, status=status)
            return f"the webhook answered {status}"
        if status >= 500 or status in _PASSING:
            raise PeerBusy(f"the webhook answered {status}")
        raise PeerRefused(f"the webhook answered {status}: it does not take the request")

    def _secret(self) -> bytes:
        secret = self._environ.get(self._receiver.secret_variable, "")
        if not secret:
            raise PeerRefused(f"the environment variable {self._receiver.secret_variable} holds no secret to sign with")
        return secret.encode()

    def _post(self, body: bytes, headers: dict[str, str]) -> int:
        receiver = self._receiver
        try:
            # Of the answer only the status is read. A redirect would carry the request where nobody configured it to.
            with requests.post(
                receiver.url,
                data=body,
                headers=headers,
                timeout=receiver.timeout_s,
                verify=receiver.ca_file or True,
                allow_redirects=False,
                stream=True,
            ) as answer:
                return answer.status_code
        except (requests.RequestException, OSError) as error:
            raise PeerUnreachable(f"the webhook cannot be reached: {type(error).__name__}") from error


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """The value of `X-Cspine-Signature`."""
    return "v1=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def body_of(notice: Notice) -> bytes:
    """The request's body."""
    content: dict[str, Any] = {
        "event": "positive_result",
        "id": notice.id,
        "study_instance_uid": notice.study_instance_uid,
        "revision": notice.revision,
        "analysed_at": _iso(notice.analysed_at),
        "patient_overall": {"probability": notice.probability, "threshold": notice.threshold},
        "levels": [
            {
                "level": level.level,
                "probability": level.probability,
                "threshold": level.threshold,
                "fracture": None if level.probability is None else level.is_positive,
            }
            for level in notice.levels
        ],
        "bundle": notice.bundle,
        "remark": notice.remark,
    }
    return json.dumps(content, separators=(",", ":")).encode()


def _iso(moment: datetime) -> str:
    return moment.isoformat()
