"""What the program is made of, and whether that is known to be weak."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bill() -> dict:
    made = subprocess.run([sys.executable, "deploy/sbom.py"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_is_in_the_bill_of_materials_with_its_version(bill: dict) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = {normal(component["name"]): component["version"] for component in bill["components"]}
    needed = {normal(Requirement(line).name) for line in project["dependencies"]}
    assert needed - listed.keys() == set()
    assert "certifi" in listed, "and what those need in turn"
    assert "pytest" not in listed, "what only the tests need is not part of the program"
    assert bill["metadata"]["component"]["name"] == "cspine-node"


def test_every_script_of_others_that_lies_here_is_in_the_bill_with_its_licence_and_its_digest(bill: dict) -> None:
    named = {
        occurrence["location"]: component
        for component in bill["components"]
        for occurrence in component.get("evidence", {}).get("occurrences", ())
    }
    vendored = sorted((ROOT / "dicom_node/web/static").rglob("vendor/*.js"))
    assert vendored
    assert named.keys() == {str(file.relative_to(ROOT)) for file in vendored}
    for file in vendored:
        component = named[str(file.relative_to(ROOT))]
        assert component["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}]
        assert component["version"] in file.name
        assert component["licenses"][0]["expression"]
    needed = {entry["ref"]: entry["dependsOn"] for entry in bill["dependencies"]}
    (viewer,) = [component["bom-ref"] for component in named.values() if "niivue" in component["name"]]
    assert viewer == "pkg:npm/%40niivue/niivue@0.69.0"
    assert viewer in needed[bill["metadata"]["component"]["bom-ref"]]
    assert "pkg:npm/gl-matrix@3.4.4" in needed[viewer], "and what its makers packed into it"


def test_a_script_that_is_not_there_makes_no_bill(tmp_path: Path) -> None:
    (tmp_path / "vendored.json").write_text('{"files": [{"file": "gone.js"}]}')
    with pytest.raises(FileNotFoundError, match=r"gone\.js"):
        sbom().bill_of_materials({"name": "x", "version": "1", "license": "MIT", "dependencies": []}, tmp_path)


def sbom() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "deploy" / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bill_has_what_cyclonedx_demands(bill: dict) -> None:
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bill["serialNumber"])
    references = [component["bom-ref"] for component in bill["components"]]
    assert len(references) == len(set(references)), "references are unique"
    assert all(component["type"] == "library" and component["purl"] for component in bill["components"])
    known = {*references, bill["metadata"]["component"]["bom-ref"]}
    for entry in bill["dependencies"]:
        assert {entry["ref"], *entry["dependsOn"]} <= known
        assert len(entry["dependsOn"]) == len(set(entry["dependsOn"]))


def test_an_audit_that_cannot_be_made_says_so_and_is_no_success(tmp_path: Path) -> None:
    """No environment for the tool can be made here, as where there is no network to install it from."""
    environment = {**os.environ, "PYTHON": "/bin/false"}
    audited = subprocess.run(
        ["deploy/audit-dependencies.sh", str(tmp_path / "tools")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert audited.returncode == 3
    assert "not everything was checked" in audited.stderr
