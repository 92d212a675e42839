"""Writing measured numbers into a bundle's manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import structlog

from inference.bundle import MANIFEST

_log = structlog.get_logger(__name__)


def record_metrics(bundle: str, key: str, metrics: dict[str, Any]) -> None:
    """`metrics` stands under `metrics.<key>` in the manifest; the bundle has a new hash by that."""
    folder = Path(bundle) if Path(bundle).is_dir() else Path(__file__).parents[1] / "bundles" / bundle
    file = folder / MANIFEST
    manifest = json.loads(file.read_text(encoding="utf-8"))
    manifest.setdefault("metrics", {})[key] = metrics
    text = json.dumps(manifest, indent=2) + "\n"
    file.write_text(text, encoding="utf-8")
    _log.info("metrics_recorded", bundle=bundle, key=key, sha256=hashlib.sha256(text.encode()).hexdigest())
