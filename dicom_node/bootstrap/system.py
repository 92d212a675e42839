"""What the System page shows of the machine, the bundle and the configuration. Nothing here raises: what cannot be
looked at is left out, and a bundle that cannot be read says why.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import inference
from config.load import LoadedSettings
from config.settings import Settings
from dicom_node.app.system import (
    Backup,
    Certificate,
    ConfiguredValue,
    Disk,
    Drift,
    DriftFinding,
    Gpu,
    ModelCard,
    Surroundings,
)
from dicom_node.bootstrap.auditing import SPOOL, audit_folder
from dicom_node.bootstrap.certificates import ends_at
from dicom_node.bootstrap.watching import certificate_files, disk_samples, spool_samples
from dicom_node.gauges import Sample, Source
from storage.backup import LAST_BACKUP

HIDDEN = "(hidden)"
_PARTS = ("cspine-node", "pydicom", "pynetdicom", "highdicom", "torch", "SQLAlchemy", "fastapi")
_VERDICTS = {0.0: "stable", 1.0: "watch", 2.0: "drifted"}


def surroundings(settings: Settings, *, gpus: Source, drift: Source) -> Callable[[], Surroundings]:
    """Looks each time it is called. The bundle is read once: a node runs with the one it started with."""
    versions, model = _versions(), model_card(settings.inference.bundle)

    def look() -> Surroundings:
        return Surroundings(
            versions=versions,
            disk=_disk(disk_samples(settings)),
            gpus=_gpus(gpus()),
            certificates=tuple(
                Certificate(use=use, ends_at=ends_at(file)) for use, file in certificate_files(settings).items()
            ),
            audit_waiting=_waiting(settings),
            drift=_drift(drift()),
            model=model,
            backup=last_backup(settings.node.data_dir),
        )

    return look


def model_card(bundle: str) -> ModelCard:
    """What the manifest of this bundle says, without loading its weights."""
    shipped = Path(inference.__path__[0]) / "bundles" / bundle
    folder = shipped if shipped.is_dir() else Path(bundle)
    try:
        text = (folder / "manifest.json").read_bytes()
        manifest: dict[str, Any] = json.loads(text)
        return ModelCard(
            name=str(manifest["name"]),
            version=str(manifest["version"]),
            sha256=sha256(text).hexdigest(),
            created=str(manifest.get("created", "")),
            trained_on=str(manifest["training_data"]["description"]),
            thresholds=tuple((level, float(value)) for level, value in manifest["thresholds"].items()),
            metrics=tuple(_leaves("", manifest.get("metrics", {}))),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return ModelCard(name=bundle, problem=f"its manifest cannot be read: {type(error).__name__}")


def last_backup(data_dir: Path) -> Backup | None:
    """What the last `cspine-node backup` noted; None where none was made, or its note cannot be read."""
    try:
        noted = json.loads((data_dir / LAST_BACKUP).read_text(encoding="utf-8"))
        return Backup(
            at=datetime.fromisoformat(noted["at"]),
            archive=str(noted["archive"]),
            files=int(noted["files"]),
            size_bytes=int(noted["size_bytes"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def configuration(loaded: LoadedSettings) -> tuple[ConfiguredValue, ...]:
    """Every value the node runs with and where it came from. A password inside an address is hidden; secrets of other
    kinds are never in the configuration, only the names of files and variables that hold them."""
    return tuple(
        ConfiguredValue(
            key=key, value=_without_password(value) if "://" in value else value, source=_source(loaded, key)
        )
        for key, value in _leaves("", loaded.settings.model_dump(mode="json"))
    )


def _source(loaded: LoadedSettings, key: str) -> str:
    if key in loaded.provenance:
        return loaded.provenance[key]
    in_file = str(loaded.path) if loaded.path else "default"
    return in_file if key.partition(".")[0] in ("peers", "routes") else "default"


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return HIDDEN
    query = f"?{HIDDEN}" if parts.query else ""
    user = f"{parts.username}:{HIDDEN}@" if parts.password else f"{parts.username}@" if parts.username else ""
    return f"{parts.scheme}://{user}{host}{port}{parts.path}{query}"


def _leaves(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Dotted keys with their values as text; of a list of tables each by its name, or its place."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(f"{key}.{name}" if key else str(name), inner)
    elif isinstance(value, (list, tuple)) and value and all(isinstance(inner, dict) for inner in value):
        for place, inner in enumerate(value):
            yield from _leaves(f"{key}.{inner.get('name', place)}", inner)
    elif isinstance(value, (list, tuple)):
        yield key, ", ".join(str(inner) for inner in value)
    else:
        yield key, "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _versions() -> tuple[tuple[str, str], ...]:
    found = [("Python", platform.python_version()), ("system", f"{platform.system()} {platform.release()}")]
    for part in _PARTS:
        try:
            found.append((part, version(part)))
        except PackageNotFoundError:
            continue
    return tuple(found)


def _disk(samples: Iterable[Sample]) -> Disk | None:
    found = {name: int(value) for name, _, value in samples}
    if "disk_free_bytes" not in found:
        return None
    return Disk(free=found["disk_free_bytes"], size=found["disk_size_bytes"], reserve=found["disk_reserve_bytes"])


def _gpus(samples: Iterable[Sample]) -> tuple[Gpu, ...]:
    found: dict[str, dict[str, float]] = {}
    for name, (number,), value in samples:
        found.setdefault(number, {})[name] = value
    return tuple(
        Gpu(
            number=number,
            memory_used=int(values.get("gpu_memory_used_bytes", 0)),
            memory_size=int(values.get("gpu_memory_size_bytes", 0)),
            busy=values.get("gpu_utilization_ratio", 0.0),
        )
        for number, values in found.items()
    )


def _waiting(settings: Settings) -> int | None:
    for _, _, value in spool_samples(audit_folder(settings) / SPOOL):
        return int(value)
    return None


def _drift(samples: Iterable[Sample]) -> Drift | None:
    studies: int | None = None
    verdicts: dict[str, str] = {}
    excess: dict[str, float] = {}
    for name, labels, value in samples:
        if name == "drift_studies":
            studies = int(value)
        elif name == "drift_verdict":
            verdicts[labels[0]] = _VERDICTS[value]
        elif name == "drift_psi":
            excess[labels[0]] = value
    if studies is None:
        return None
    findings = (
        DriftFinding(quantity=quantity, verdict=verdict, psi_excess=excess.get(quantity))
        for quantity, verdict in verdicts.items()
    )
    return Drift(studies=studies, findings=tuple(findings))
