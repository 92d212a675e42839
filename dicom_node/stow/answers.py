"""What a STOW-RS response says about one instance (PS3.18 10.5.3, PS3.18 annex I)."""

from __future__ import annotations

import json
from typing import Any

from dicom_node.app.offer_objects import Response
from dicom_node.core.errors import PeerBusy, PeerRefused
from dicom_node.core.store_status import Answer, http_meaning, meaning

_FAILED_SOP, _REFERENCED_SOP, _REFERENCED_UID = "00081198", "00081199", "00081155"
_FAILURE_REASON, _WARNING_REASON = "00081197", "00081196"
_STORED, _UNCLEAR, _NOT_SUPPORTED = 0x0000, 0xC000, 0x0122

_WITH_LIST = frozenset({200, 202, 409})


def read_answer(service: str, http_status: int, body: bytes, sop_instance_uid: str) -> Response:
    """The answer for the instance, with the status that C-STORE would have given.

    Raises PeerBusy and PeerRefused where the request as a whole failed.
    """
    if http_status in _WITH_LIST:
        status = _status_of(http_status, body, sop_instance_uid)
        if status is not None:
            return Response(status=status, words=f"{service} answered {http_status}, 0x{status:04X} for the object")
    answer = http_meaning(http_status)
    if answer is Answer.UNSUITABLE:
        return Response(status=_NOT_SUPPORTED, words=f"{service} answered {http_status}: it cannot take the object")
    if answer is Answer.BUSY:
        raise PeerBusy(f"{service} answered {http_status}")
    hint = "; is the token or the certificate right?" if http_status in (401, 403) else ""
    raise PeerRefused(f"{service} answered {http_status}{hint}")


def _status_of(http_status: int, body: bytes, sop_instance_uid: str) -> int | None:
    """None where a 409 says nothing about the instance."""
    listed = _listed(body)
    if listed is None:
        # 200: all instances were stored. 202: some were perhaps not, and the service does not say which.
        return {200: _STORED, 202: _UNCLEAR}.get(http_status)
    failed = _item(listed, _FAILED_SOP, sop_instance_uid)
    if failed is not None:
        reason = _number(failed, _FAILURE_REASON)
        return _UNCLEAR if reason is None or (meaning(reason) is Answer.STORED and reason != 0x0111) else reason
    if http_status == 409:
        return None
    stored = _item(listed, _REFERENCED_SOP, sop_instance_uid)
    warning = None if stored is None else _number(stored, _WARNING_REASON)
    return warning if warning is not None and warning >> 12 == 0xB else _STORED


def _listed(body: bytes) -> dict[str, Any] | None:
    """The response's data set (PS3.18 annex F: DICOM JSON); None where it is none."""
    try:
        found = json.loads(body)
    except (ValueError, UnicodeDecodeError):
        return None
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    return found if isinstance(found, dict) else None


def _item(listed: dict[str, Any], sequence: str, sop_instance_uid: str) -> dict[str, Any] | None:
    """The item of the sequence about the instance; one that names no instance is about the only one we sent."""
    for item in _values(listed, sequence):
        if isinstance(item, dict) and _values(item, _REFERENCED_UID) in ([sop_instance_uid], []):
            return item
    return None


def _number(item: dict[str, Any], tag: str) -> int | None:
    values = _values(item, tag)
    return int(values[0]) if values and str(values[0]).isdigit() else None


def _values(item: dict[str, Any], tag: str) -> list[Any]:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []
