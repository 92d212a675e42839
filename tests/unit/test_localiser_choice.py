"""The configured localiser on its way to the analysis, and its errors on their way back."""

from __future__ import annotations

import pytest

from config.settings import InferenceSettings
from dicom_node.analysis.analyzer import _ERRORS
from dicom_node.bootstrap.localiser import totalsegmentator
from dicom_node.core.errors import PermanentError, TransientError
from inference.errors import LocaliserCrashed, LocaliserError, LocaliserTimeout
from inference.totalsegmentator_process import TotalSegmentator

OTHER = InferenceSettings(localiser="totalsegmentator", totalsegmentator_task="total_fast", threads=3)


@pytest.mark.parametrize("kind", LocaliserError.__subclasses__())
def test_what_may_pass_is_tried_again_and_what_needs_a_person_fails_for_good(kind: type[LocaliserError]) -> None:
    passing = kind in (LocaliserTimeout, LocaliserCrashed)
    assert issubclass(_ERRORS[kind.__name__], TransientError if passing else PermanentError)


def test_the_bundle_s_own_network_names_the_levels_unless_configured_otherwise() -> None:
    assert totalsegmentator(InferenceSettings()) is None


@pytest.mark.parametrize(("device", "taken"), [("cpu", "cpu"), ("cuda", "gpu"), ("auto", "gpu")])
def test_totalsegmentator_is_told_what_the_site_wants(device: str, taken: str) -> None:
    chosen = totalsegmentator(OTHER, device)
    assert chosen == TotalSegmentator(task="total_fast", python="", timeout_s=600.0, device=taken, threads=3)
