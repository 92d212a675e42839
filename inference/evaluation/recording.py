"""Writing measured numbers into a bundle's manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import structlog

from inference.bundle import bundle_folder
from inference.bundle_files import read_manifest, write_manifest

FRACTURES: Final = "fractures"

_OF_A_HEAD: Final = ("count", "positives", "threshold", "auc", "sensitivity", "specificity")

_log = structlog.get_logger(__name__)


def record_metrics(bundle: str, key: str, metrics: dict[str, Any]) -> None:
    """`metrics` stands under `metrics.<key>` in the manifest; the bundle has a new hash by that."""
    folder = bundle_folder(bundle)
    manifest, _ = read_manifest(folder)
    manifest.setdefault("metrics", {})[key] = metrics
    write_manifest(folder, manifest)
    _log.info("metrics_recorded", bundle=bundle, key=key, sha256=read_manifest(folder)[1])


def fracture_metrics(model: Mapping[str, Any], data_note: str) -> dict[str, Any]:
    """What of a model's numbers (`fracture_summary.summarise`) a bundle's manifest keeps."""
    return {
        "note": f"{data_note}; 95 % intervals",
        "studies": model["studies"],
        "competition_loss": model["competition_loss"],
        "mean_level_auc": model["mean_level_auc"],
        "heads": {name: {key: head[key] for key in _OF_A_HEAD} for name, head in model["heads"].items()},
        "by_severity": [{key: row[key] for key in ("severity", "sensitivity")} for row in model["by_severity"]],
    }
