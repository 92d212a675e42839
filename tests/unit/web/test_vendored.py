"""What others have written and we hand to browsers is what they published, and says on which terms."""

from __future__ import annotations

import hashlib
import json

from dicom_node.web.app import STATIC
from dicom_node.web.viewer import LIBRARY

VENDOR = STATIC / "vendor"
ENTRIES = json.loads((VENDOR / "vendored.json").read_text())["files"]


def test_each_vendored_script_is_the_one_that_the_list_names():
    for entry in ENTRIES:
        assert hashlib.sha256((VENDOR / entry["file"]).read_bytes()).hexdigest() == entry["sha256"], entry["file"]


def test_the_list_names_every_vendored_script():
    assert {path.name for path in VENDOR.glob("*.js")} == {entry["file"] for entry in ENTRIES}
    assert (VENDOR / LIBRARY.rpartition("/")[2]).is_file()


def test_the_licence_of_each_and_of_what_is_bundled_in_it_stands_beside_it():
    text = (VENDOR / "LICENSES.txt").read_text()
    for entry in ENTRIES:
        for package in ({"name": entry["package"], "version": entry["version"]}, *entry["bundles"]):
            assert f"{package['name']} {package['version']}" in text
