"""What this program is made of beside its own code, as a CycloneDX 1.6 bill of materials: `make sbom`, or
`python deploy/sbom.py`.

Made from the metadata of the environment it runs in and from the list of the scripts that pages hand to browsers: it
needs no network and no further package. What the program needs, and what that needs in turn, is in it; tools that only
the tests use are not.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ROOT / "pyproject.toml"
VENDORED = ROOT / "dicom_node" / "web" / "static" / "vendor"


def bill_of_materials(project: dict[str, Any], vendored: Path = VENDORED) -> dict[str, Any]:
    """The document for a `[project]` table and the folder of others' scripts with its `vendored.json`.

    Raises PackageNotFoundError where a dependency is not installed here, OSError where a script is not there.
    """
    needed = _named(project["dependencies"])
    scripts = json.loads((vendored / "vendored.json").read_text("utf-8"))["files"]
    found = dict(_reachable(needed))
    reference = f"pkg:pypi/{_normal(project['name'])}@{project['version']}"
    ordered = [found[name] for name in sorted(found)]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "component": {
                "type": "application",
                "bom-ref": reference,
                "name": project["name"],
                "version": project["version"],
                "purl": reference,
                "licenses": [{"expression": project["license"]}],
            },
        },
        "components": [
            *(_component(each) for each in ordered),
            *(_script(entry, vendored) for entry in scripts),
            *(_inside(package) for package in _bundled(scripts)),
        ],
        "dependencies": [
            {
                "ref": reference,
                "dependsOn": sorted({*(_reference(found[name]) for name in needed), *map(_npm, scripts)}),
            },
            *({"ref": _reference(each), "dependsOn": _depends_on(each, found)} for each in ordered),
            *({"ref": _npm(entry), "dependsOn": sorted(map(_npm, entry["bundles"]))} for entry in scripts),
        ],
    }


def _reachable(needed: Iterable[str]) -> Iterator[tuple[str, metadata.Distribution]]:
    """What is needed, and what that needs where it is installed: the rest is for other platforms."""
    waiting, seen, direct = list(needed), set(), set(needed)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if name in direct:
                raise
            continue
        yield name, distribution
        waiting += _named(distribution.requires or ())


def _named(requirements: Iterable[str]) -> list[str]:
    parsed = [Requirement(line) for line in requirements]
    return [_normal(each.name) for each in parsed if each.marker is None or each.marker.evaluate({"extra": ""})]


def _depends_on(distribution: metadata.Distribution, found: dict[str, metadata.Distribution]) -> list[str]:
    return sorted({_reference(found[name]) for name in _named(distribution.requires or ()) if name in found})


def _component(distribution: metadata.Distribution) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": _reference(distribution),
        "name": distribution.metadata["Name"],
        "version": distribution.version,
        "purl": _reference(distribution),
    }
    described = distribution.metadata.get("Summary")
    if described:
        component["description"] = described
    licence = distribution.metadata.get("License-Expression")
    if licence:
        component["licenses"] = [{"expression": licence}]
    else:
        words = _licence_words(distribution)
        if words:
            component["licenses"] = [{"license": {"name": words}}]
    return component


def _script(entry: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A script as it lies here; the digest is made anew, so that an exchanged one is not passed off as another."""
    digest = hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest()
    return {
        **_inside({**entry, "name": entry["package"]}),
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "evidence": {"occurrences": [{"location": (folder / entry["file"]).relative_to(ROOT).as_posix()}]},
    }


def _inside(package: dict[str, Any]) -> dict[str, Any]:
    """A package of npm's registry that others have packed into a script."""
    return {
        "type": "library",
        "bom-ref": _npm(package),
        "name": package["name"],
        "version": package["version"],
        "purl": _npm(package),
        "licenses": [{"expression": package["licence"]}],
    }


def _bundled(scripts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    packages = {_npm(package): package for entry in scripts for package in entry["bundles"]}
    return [packages[name] for name in sorted(packages)]


def _npm(package: dict[str, Any]) -> str:
    """As the package URL specification has it: the @ of a scope is encoded."""
    name = str(package.get("package") or package["name"])
    return f"pkg:npm/{name.replace('@', '%40')}@{package['version']}"


def _licence_words(distribution: metadata.Distribution) -> str:
    classifiers = distribution.metadata.get_all("Classifier") or []
    named = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License ::")]
    written = (distribution.metadata.get("License") or "").strip().split("\n", 1)[0]
    return "; ".join(named) or written[:100]


def _reference(distribution: metadata.Distribution) -> str:
    return f"pkg:pypi/{_normal(distribution.metadata['Name'])}@{distribution.version}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    table = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    json.dump(bill_of_materials(table), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
