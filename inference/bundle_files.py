"""What every bundle's folder has in common: a manifest that lists its files with their SHA-256, verified before use."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

MANIFEST: Final = "manifest.json"


class BundleError(Exception):
    """The bundle cannot be used; the message says which folder, what is wrong and what to do."""


def read_manifest(folder: Path) -> tuple[dict[str, Any], str]:
    """The manifest and the SHA-256 of its bytes, which stands for the whole bundle. Raises `BundleError`."""
    try:
        text = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleError(f"{folder} is no bundle: it has no readable {MANIFEST}.") from error
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise BundleError(f"{MANIFEST} of bundle {folder} is not JSON ({error}); restore the bundle.") from error
    if not isinstance(manifest, dict):
        raise BundleError(f"{MANIFEST} of bundle {folder} is not a JSON object; restore the bundle.")
    return manifest, hashlib.sha256(text).hexdigest()


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write it as every bundle's is written: the same content gives the same bytes."""
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def check_format(folder: Path, manifest: dict[str, Any], reads: int) -> None:
    """Raise `BundleError` where the manifest is of another format version than the one this program `reads`."""
    version = manifest.get("format_version")
    if version != reads:
        raise BundleError(
            f"Bundle {folder} has format version {version!r}; this program reads {reads}. "
            "Use a bundle made for this version."
        )


def check_preprocessing(folder: Path, manifest: dict[str, Any], ours: str) -> None:
    """Raise `BundleError` where the weights were trained with another preprocessing than the one hashed as `ours`."""
    theirs = manifest.get("preprocessing_sha256")
    if theirs != ours:
        raise BundleError(
            f"Bundle {folder} was trained with another preprocessing ({str(theirs)[:12]}) than this program's "
            f"({ours[:12]}); its answers would be wrong. Use a bundle made for this version."
        )


def check_files(folder: Path, manifest: dict[str, Any], needed: set[str]) -> None:
    """Raise `BundleError` where a `needed` file is not listed, or a listed one is missing or has changed."""
    files = manifest.get("files")
    if not isinstance(files, dict) or not needed <= set(files):
        raise BundleError(f"{MANIFEST} of bundle {folder} does not list its files; restore the bundle.")
    for name, expected in files.items():
        file = folder / str(name)
        if Path(str(name)).is_absolute() or ".." in Path(str(name)).parts:
            raise BundleError(f"{MANIFEST} of bundle {folder} lists {name}, which lies outside it; restore the bundle.")
        if not file.is_file():
            raise BundleError(f"Bundle {folder} lacks {name}; restore the bundle.")
        if file_sha256(file) != expected:
            raise BundleError(f"{name} of bundle {folder} has changed (wrong SHA-256); restore the bundle.")


def file_sha256(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def canonical_sha256(data: Any) -> str:
    """SHA-256 of plain data's canonical JSON."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
