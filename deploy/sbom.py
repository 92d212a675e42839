"""What is installed beside this program, as a CycloneDX 1.6 bill of materials: `make sbom`, or `python deploy/sbom.py`.

Made from the metadata of the environment it runs in, and nothing else: it needs no network and no further package. What
the program needs, and what that needs in turn, is in it; tools that only the tests use are not.
"""

from __future__ import annotations

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

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def bill_of_materials(project: dict[str, Any]) -> dict[str, Any]:
    """The document for a `[project]` table. Raises PackageNotFoundError where a dependency is not installed here."""
    needed = _named(project["dependencies"])
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
        "components": [_component(each) for each in ordered],
        "dependencies": [
            {"ref": reference, "dependsOn": sorted({_reference(found[name]) for name in needed})},
            *({"ref": _reference(each), "dependsOn": _depends_on(each, found)} for each in ordered),
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
