"""The configured localiser in the words of `inference`, and whether it is there."""

from __future__ import annotations

from config.settings import InferenceSettings
from inference.totalsegmentator_process import TotalSegmentator


def totalsegmentator(settings: InferenceSettings, device: str | None = None) -> TotalSegmentator | None:
    """TotalSegmentator as configured, None where the bundle's own network names the levels.

    `device` replaces the configured one. Any but "cpu" lets it take a GPU where its own environment sees one.
    """
    if settings.localiser != "totalsegmentator":
        return None
    return TotalSegmentator(
        task=settings.totalsegmentator_task,
        python=settings.totalsegmentator_python,
        timeout_s=settings.totalsegmentator_timeout_s,
        device="cpu" if (device or settings.device) == "cpu" else "gpu",
        threads=settings.threads,
    )
