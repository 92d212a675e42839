"""Documents that are generated are up to date, and what the README names is there."""

from __future__ import annotations

import re

from config.load import load_settings
from dicom_node.cli.conformance import statement
from tests.architecture.source import ROOT


def test_the_conformance_statement_is_that_of_the_shipped_configuration():
    settings = load_settings(ROOT / "config/node.toml", environ={}).settings
    assert (ROOT / "docs/CONFORMANCE.md").read_text() == statement(settings)


def test_every_file_that_a_document_links_to_is_there():
    broken = [
        (document.name, target)
        for document in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text())
        if not (document.parent / target).exists()
    ]
    assert not broken


def test_no_file_names_a_package_registry_or_a_download_address():
    offences = []
    for path in ROOT.rglob("*"):
        if not path.is_file() or {".git", ".venv", ".work", "node_modules"} & set(path.relative_to(ROOT).parts):
            continue
        if path.suffix not in {".toml", ".txt", ".cfg", ".ini", ".json", ".yaml", ".yml", ".sh", ""}:
            continue
        text = path.read_text(errors="replace")
        if re.search(r"index.url|pypi[.]org|registry[.]npmjs|files[.]pythonhosted", text):
            offences.append(str(path.relative_to(ROOT)))
    assert not offences
