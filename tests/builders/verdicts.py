"""Verdicts with what a test does not care about filled in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from dicom_node.core.finding import LEVELS
from dicom_node.core.verdict import Called, Verdict

STUDY = "1.2.3"
NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)  # a Wednesday
_CALLED = ("levels", "assessed", "whole", "bundle_name", "bundle_version", "bundle_sha256")


def called(**changes: Any) -> Called:
    given: dict[str, Any] = {
        "levels": (),
        "assessed": LEVELS,
        "whole": False,
        "bundle_name": "cspine",
        "bundle_version": "1",
        "bundle_sha256": "ab" * 32,
    }
    return Called(**given | changes)


def verdict(**changes: Any) -> Verdict:
    """Takes the fields of both `Verdict` and `Called`."""
    of_result = {name: changes.pop(name) for name in _CALLED if name in changes}
    given: dict[str, Any] = {
        "study_instance_uid": STUDY,
        "revision": 1,
        "called": called(**of_result),
        "reader": "ann",
        "at": NOON,
    }
    return Verdict(**given | changes)
