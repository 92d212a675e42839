"""Who may import whom, and which library lives where."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGES, ROOT, imports, modules

# A library and the only modules that may know it.
HOMES = {
    "pynetdicom": ("dicom_node.dimse", "dicom_node.demo"),
    "highdicom": ("dicom_node.results",),
    "sqlalchemy": ("storage",),
    "alembic": ("storage",),
    "torch": ("inference",),
    "monai": ("inference",),
    "hl7": ("dicom_node.notify",),
    "requests": ("dicom_node.notify", "dicom_node.stow"),
    "dicomweb_client": ("dicom_node.stow",),
    "apscheduler": ("dicom_node.scheduling",),
    "fastapi": ("dicom_node.web",),
    "uvicorn": ("dicom_node.web",),
    "argon2": ("dicom_node.web.auth",),
    "authlib": ("dicom_node.web.auth",),
    "joserfc": ("dicom_node.web.auth",),
    "tomlkit": ("config",),
    "blake3": ("dicom_node.data_set_hash",),
}

INFERENCE_CALLERS = ("dicom_node.analysis", "dicom_node.demo", "dicom_node.bootstrap", "dicom_node.cli")


def _is_within(module: str, homes: tuple[str, ...]) -> bool:
    return any(module == home or module.startswith(home + ".") for home in homes)


def test_the_import_contracts_hold():
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("library", sorted(HOMES))
def test_each_library_is_imported_only_at_home(library: str):
    strangers = {
        name
        for name, tree in modules().items()
        if any(imported.split(".")[0] == library for imported in imports(tree)) and not _is_within(name, HOMES[library])
    }
    assert not strangers


def test_inference_is_called_only_by_its_callers():
    strangers = {
        name
        for name, tree in modules().items()
        if not name.startswith("inference")
        and any(imported.split(".")[0] == "inference" for imported in imports(tree))
        and not _is_within(name, INFERENCE_CALLERS)
    }
    assert not strangers


def test_the_core_needs_only_the_standard_library():
    foreign = {
        (name, imported)
        for name, tree in modules().items()
        if name.startswith("dicom_node.core")
        for imported in imports(tree)
        if imported.split(".")[0] not in sys.stdlib_module_names and not imported.startswith("dicom_node.core")
    }
    assert not foreign


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_claims_our_top_level_names(package: str):
    assert set(packages_distributions().get(package, ["cspine-node"])) == {"cspine-node"}
