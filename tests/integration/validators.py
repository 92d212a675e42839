"""Programs of others that judge DICOM objects."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.peers import require, require_file

_JARS = "bsh pixelmed commons-codec hsqldb vecmath slf4j-api slf4j-simple jaxb-api javax.json"
# The validator's main program takes one file and starts anew for each; the virtual machine takes seconds for that.
_MANY_FILES = """
validator = new com.pixelmed.validate.DicomSRValidator();
for (String file : bsh.args) { print("File " + file); print(validator.validate(file)); }
"""


def dciodvfy(file: Path) -> list[str]:
    """What dicom3tools' validator says of the object: the IOD it takes it for, then errors and warnings."""
    program = Path(sys.executable).with_name("dciodvfy")
    run = subprocess.run([program, "-new", file], capture_output=True, timeout=60)
    return run.stderr.decode("latin-1").splitlines()


def dcentvfy(files: Sequence[Path]) -> list[str]:
    """What dicom3tools says about objects that should agree on patient, study and series."""
    program = Path(sys.executable).with_name("dcentvfy")
    run = subprocess.run([program, *files], capture_output=True, timeout=120)
    return [line for line in (run.stdout + run.stderr).decode("latin-1").splitlines() if line.strip()]


def dsrdump(file: Path) -> str:
    """The document as DCMTK reads it. Fails where DCMTK finds an error."""
    run = subprocess.run([require("dsrdump", "dcmtk"), "+Pl", file], capture_output=True, timeout=60)
    complaints = run.stderr.decode("latin-1").splitlines()
    assert run.returncode == 0, complaints
    assert [line for line in complaints if line.startswith(("E:", "F:"))] == []
    return run.stdout.decode("utf-8", "replace")


def pixelmed(files: Sequence[Path], folder: Path) -> dict[Path, list[str]]:
    """What the validator of the IHE Connectathon says of each SR; one virtual machine for all of them."""
    require_file(Path("/usr/share/java/pixelmed.jar"), "libpixelmed-java")
    require_file(Path("/usr/share/java/bsh.jar"), "bsh")
    script = folder / "many_files.bsh"
    script.write_text(_MANY_FILES)
    limits = [f"-Djdk.xml.xpath{name}Limit=0" for name in ("TotalOp", "ExprOp", "ExprGrp")]
    path = ":".join(f"/usr/share/java/{jar}.jar" for jar in _JARS.split())
    java = require("java", "openjdk-17-jre-headless")
    run = subprocess.run(
        [java, "-Xmx2g", *limits, "-cp", path, "bsh.Interpreter", script, *files],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=900,
    )
    said: dict[Path, list[str]] = {}
    for line in (run.stdout + run.stderr).splitlines():
        if line.startswith("File "):
            current = said.setdefault(Path(line.removeprefix("File ")), [])
        elif said:
            current.append(line)
    return said


def pdf_text(file: Path) -> str:
    """The text of a PDF as a reader shows it, page by page."""
    run = subprocess.run(
        [require("pdftotext", "poppler-utils"), "-layout", file, "-"], capture_output=True, timeout=60, check=True
    )
    return run.stdout.decode("utf-8")
