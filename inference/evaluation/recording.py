"""Writing measured numbers into a bundle's manifest."""

from __future__ import annotations

from typing import Any

import structlog

from inference.bundle import bundle_folder
from inference.bundle_files import read_manifest, write_manifest

_log = structlog.get_logger(__name__)


def record_metrics(bundle: str, key: str, metrics: dict[str, Any]) -> None:
    """`metrics` stands under `metrics.<key>` in the manifest; the bundle has a new hash by that."""
    folder = bundle_folder(bundle)
    manifest, _ = read_manifest(folder)
    manifest.setdefault("metrics", {})[key] = metrics
    write_manifest(folder, manifest)
    _log.info("metrics_recorded", bundle=bundle, key=key, sha256=read_manifest(folder)[1])
