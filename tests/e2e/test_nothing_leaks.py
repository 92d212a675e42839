"""A study of a marked patient goes through a whole node; then everything the node wrote outside its store is searched.

The audit trail names patients by design and is part of the store here; it is read back and checked as such.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import urllib.error
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE

from dicom_node.demo.stand_in_pacs import StandInPacs
from tests.builders.audit_schema import message_in, summary
from tests.builders.certificates import Authority
from tests.builders.stock_scu import keeping_answers
from tests.builders.syslog_listener import SyslogListener
from tests.e2e.conftest import make_phantom
from tests.peers import NodeProcess, free_port, get_bytes, receiver, sender, wait_for

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
MARKS = {
    "PatientName": "Zzyzxmark^Quirin",
    "PatientID": "PIDMARK4711",
    "PatientBirthDate": "19070605",
    "AccessionNumber": "ACCMARK99",
    "StudyDescription": "DESCMARK neck",
    "ReferringPhysicianName": "Refmark^Doctor",
    "InstitutionName": "Instmark Hospital",
    "PatientComments": "COMMARK says hello",
}
WORDS = ("zzyzxmark", "pidmark", "19070605", "accmark", "descmark", "refmark", "instmark", "commark")
STUDY = "2.25.4711"


@dataclass
class Evidence:
    """What the node left."""

    folder: Path
    images: int
    log: str = ""
    pages: dict[str, str] = field(default_factory=dict)
    command_lines: set[str] = field(default_factory=set)
    temporary: set[str] = field(default_factory=set)
    syslog: list[bytes] = field(default_factory=list)

    @property
    def data_dir(self) -> Path:
        return self.folder / "var"

    @property
    def audit(self) -> list[bytes]:
        return (self.data_dir / "audit" / "audit.log").read_bytes().splitlines()


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    root = tmp_path_factory.mktemp("marked")
    files = _marked(make_phantom(root / "study", "--seed", "3", "--slices", "40", "--spacing", "3.0").files)
    certificate = Authority(root / "tls").issue("repository")
    listener = SyslogListener(certificate.certificate, certificate.key)
    authority = root / "tls" / "authority.crt"
    settings = {
        "study": {"quiet_period_s": 2.0},
        "log": {"level": "debug", "format": "json"},
        "audit": {"syslog_host": "127.0.0.1", "syslog_port": listener.port, "syslog_ca_file": str(authority)},
    }
    temporary = root / "tmp"
    temporary.mkdir()
    with (
        StandInPacs(root / "pacs", ae_title="PACS") as pacs,
        pytest.MonkeyPatch.context() as patch,
        contextlib.closing(listener),
    ):
        patch.setenv("TMPDIR", str(temporary))
        peers = [sender(), receiver("PACS", pacs.port), receiver("GONE", free_port(), "gone")]
        node = NodeProcess(folder=root / "node", peers=peers, settings=settings)
        left = Evidence(node.folder, len(files))
        watch = _Watch(os.getpid(), temporary, left)
        try:
            node.start()
            _a_day_of_this_node(node, files, left)
            wait_for("the trail to arrive", lambda: len(listener.lines) >= len(left.audit), timeout_s=60)
        finally:
            watch.stop()
            node.stop()
        wait_for("the last message to arrive", lambda: len(listener.lines) >= len(left.audit), timeout_s=30)
        left.log, left.syslog = node.log(), listener.lines
        yield left


def test_no_log_line_page_process_title_or_temporary_file_names_the_patient(evidence: Evidence) -> None:
    assert "analysis_ended" in evidence.log, "there is something to search"
    assert len(evidence.command_lines) >= 2, "the node and its analysis child"
    found = {
        "log": _marks_in(evidence.log),
        "temporary files": _marks_in("\n".join(evidence.temporary)),
        "names of stored files": _marks_in("\n".join(str(path) for path in evidence.folder.rglob("*"))),
        "command lines": _marks_in("\n".join(evidence.command_lines)),
        **{name: _marks_in(page) for name, page in evidence.pages.items()},
    }
    assert {place: words for place, words in found.items() if words} == {}


def test_the_patient_is_in_the_store_and_on_the_page_so_the_search_could_have_found_it(evidence: Evidence) -> None:
    stored = next((evidence.data_dir / "received").rglob("*.dcm")).read_bytes()
    assert b"Zzyzxmark" in stored
    assert any(b"PIDMARK4711" in line for line in evidence.audit)


def test_what_the_node_writes_is_for_its_user_alone(evidence: Evidence) -> None:
    every = [evidence.data_dir, *evidence.data_dir.rglob("*")]
    modes = {(path.is_dir(), path.lstat().st_mode & 0o777) for path in every if not path.is_symlink()}
    wrong = [str(path) for path in every if path.lstat().st_mode & 0o077]
    assert modes <= {(True, 0o700), (False, 0o600)}, wrong[:5]


def test_the_audit_trail_tells_the_day_and_every_message_is_as_the_standard_wants_it(evidence: Evidence) -> None:
    messages = [message_in(line) for line in evidence.audit]
    events = [summary(message) for message in messages]
    assert events[0] == ("110100", "110120", "0"), "it begins with the start"
    assert events[-1] == ("110100", "110121", "0"), "and ends with the stop"
    counted = Counter(events)
    assert counted["110102", "", "0"] >= 1, "begin of the transfer of the study"
    assert counted["110104", "", "0"] >= 2, "instances received, and results sent"
    assert counted["110104", "", "4"] >= 1, "an association with refused instances"
    assert counted["110113", "110126", "4"] >= 1, "somebody was not let in"
    assert counted["110113", "110128", "0"] == 1, "the peers were changed"
    assert counted["110112", "", "0"] >= 1, "the worklist was looked at"
    assert counted["110103", "", "0"] >= 1, "the study was looked at"
    received = next(message for message in messages if summary(message) == ("110104", "", "0"))
    study, patient = received.findall("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == STUDY
    (images,) = study.findall("SOPClass")
    assert images.attrib == {"UID": CT, "NumberOfInstances": str(evidence.images)}
    assert patient.get("ParticipantObjectID") == MARKS["PatientID"]


def test_the_same_trail_came_as_syslog_over_tls(evidence: Evidence) -> None:
    assert evidence.syslog == evidence.audit
    assert list((evidence.data_dir / "audit" / "spool").iterdir()) == []


def _marked(files: list[Path]) -> list[Path]:
    for number, path in enumerate(files, 1):
        image = pydicom.dcmread(path)
        for keyword, value in MARKS.items():
            setattr(image, keyword, value)
        image.StudyInstanceUID, image.SeriesInstanceUID = STUDY, f"{STUDY}.1"
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{STUDY}.1.{number}"
        image.save_as(path)
    return files


def _a_day_of_this_node(node: NodeProcess, files: list[Path], left: Evidence) -> None:
    """A study received, analysed and delivered; bad objects and callers; looks at pages; an edit of the peers."""
    _send(node, [pydicom.dcmread(path) for path in files])
    conflict, nameless = pydicom.dcmread(files[0]), pydicom.dcmread(files[1])
    conflict.PixelData = bytes(len(conflict.PixelData))
    del nameless.SeriesInstanceUID
    assert _send(node, [conflict, nameless]) == [0x0111, 0xC000]
    stranger = AE(ae_title="STRANGER")
    stranger.add_requested_context(VERIFICATION)
    assert not stranger.associate("127.0.0.1", node.port, ae_title="CSPINE_AI").is_established
    with contextlib.closing(socket.create_connection(("127.0.0.1", node.port))) as rude:
        rude.sendall(b"GET /Zzyzxmark HTTP/1.0\r\n\r\n")
    text = node.config.read_text()
    node.config.write_text(text + '\n[[peers]]\nname = "new"\nae_title = "NEW"\nhost = "127.0.0.1"\nport = 1\n')
    wait_for("the result at the PACS", lambda: _is_delivered(node), timeout_s=480, every_s=0.5)
    for path in ("/metrics", "/healthz", "/readyz", "/login"):
        left.pages[path] = get_bytes(f"{node.url}{path}").decode()
    left.pages["/api/v1/openapi.json"] = node.page("/api/v1/openapi.json")
    for path in ("/studies/1.2.3", f"/studies/{STUDY}/pictures/none", "/api/v1/studies?status=NONE", "/nowhere"):
        left.pages[path] = _error_page(f"{node.url}{path}", node.token)
    assert MARKS["PatientID"] in node.page("/")
    assert MARKS["PatientID"] in node.page(f"/studies/{STUDY}")
    node.page("/quarantine")


def _send(node: NodeProcess, images: list[pydicom.Dataset]) -> list[int]:
    entity = AE(ae_title="SCANNER")
    entity.add_requested_context(CT, images[0].file_meta.TransferSyntaxUID)
    association = keeping_answers(entity.associate("127.0.0.1", node.port, ae_title="CSPINE_AI"))
    assert association.is_established
    statuses = [association.send_c_store(image).Status for image in images]
    association.release()
    return statuses


def _is_delivered(node: NodeProcess) -> bool:
    deliveries = node.json("/api/v1/deliveries") or []
    return any(each["peer"] == "pacs" and each["state"] == "STORED" for each in deliveries)


def _error_page(url: str, token: str) -> str:
    try:
        get_bytes(url, token=token)
        pytest.fail(f"{url} is no error")
    except urllib.error.HTTPError as error:
        return error.read().decode()


def _marks_in(text: str) -> list[str]:
    lower = text.lower()
    return [word for word in WORDS if word in lower]


class _Watch:
    """Looks at the command lines of this process's children and theirs, and at the temporary folder, until stopped."""

    def __init__(self, parent: int, temporary: Path, left: Evidence) -> None:
        self._parent, self._temporary, self._left = parent, temporary, left
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look_again, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(10)

    def _look_again(self) -> None:
        while not self._stopping.wait(0.05):
            for process in _children(self._parent):
                with contextlib.suppress(OSError):
                    words = (
                        Path("/proc", str(process), "cmdline").read_bytes()
                        + Path("/proc", str(process), "comm").read_bytes()
                    )
                    self._left.command_lines.add(words.replace(b"\x00", b" ").decode(errors="replace"))
            for path in self._temporary.rglob("*"):
                self._left.temporary.add(str(path))
                with contextlib.suppress(OSError):
                    if path.is_file() and path.stat().st_size < 1_000_000:
                        self._left.temporary.add(path.read_bytes().decode(errors="replace"))


def _children(parent: int) -> list[int]:
    """Processes below `parent`, from /proc."""
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                below.setdefault(int(fields[1]), []).append(int(folder.name))
    found, waiting = [], [parent]
    while waiting:
        children = below.get(waiting.pop(), [])
        found += children
        waiting += children
    return found
