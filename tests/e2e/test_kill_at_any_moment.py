"""`kill -9` of the node between first image and delivered result loses nothing and delivers each result once.

Each round sends one study, kills the node after a drawn delay, starts it again, and lets the sender do what a
scanner does: send again whatever was not acknowledged. Then the database, the files and the PACS are compared with
what the sender was told.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE

from dicom_node.demo.stand_in_pacs import StandInPacs
from tests.builders.stock_scu import keeping_answers
from tests.e2e.conftest import PhantomStudy, make_phantom
from tests.peers import NodeProcess, receiver, sender, wait_for

pytestmark = pytest.mark.xdist_group("kill")

ROUNDS = 10
# From the first image to the stored result takes about this long on two cores; later kills find the node idle.
LONGEST_DELAY_S = 14.0
SLICES = 40


@pytest.fixture(scope="module")
def small_phantom(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudy:
    folder = tmp_path_factory.mktemp("kill") / "study"
    return make_phantom(folder, "--seed", "3", "--slices", str(SLICES), "--spacing", "3.0")


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandInPacs]:
    with StandInPacs(tmp_path_factory.mktemp("kill-pacs"), ae_title="PACS") as peer:
        yield peer


def _renamed(study: PhantomStudy, folder: Path, number: int) -> list[Path]:
    """The same images as another study."""
    shutil.copytree(study.dicom, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for index, path in enumerate(files):
        image = pydicom.dcmread(path)
        image.StudyInstanceUID = f"2.25.7{number}"
        image.SeriesInstanceUID = f"2.25.8{number}.{str(image.SeriesInstanceUID)[-8:].lstrip('0.')}"
        image.SOPInstanceUID = f"2.25.9{number}.{index + 1}"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(path)
    return files


class Scanner:
    """A sender that remembers what was acknowledged and never gives up."""

    def __init__(self, node: NodeProcess, files: list[Path]) -> None:
        self._node = node
        self._pending = list(files)
        self.acknowledged: dict[str, str] = {}
        self._thread = threading.Thread(target=self._send_all, daemon=True)
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)
        assert not self._pending, f"{len(self._pending)} images were never acknowledged"

    def _send_all(self) -> None:
        ends_at = time.monotonic() + 120
        while self._pending and time.monotonic() < ends_at:
            if not self._send_some():
                time.sleep(0.2)

    def _send_some(self) -> bool:
        scu = AE(ae_title="SCANNER")
        first = pydicom.dcmread(self._pending[0], stop_before_pixels=True)
        scu.add_requested_context(first.SOPClassUID, first.file_meta.TransferSyntaxUID)
        association = keeping_answers(scu.associate("127.0.0.1", self._node.port, ae_title=self._node.ae_title))
        if not association.is_established:
            return False
        try:
            while self._pending:
                image = pydicom.dcmread(self._pending[0])
                try:
                    answer = association.send_c_store(image)
                except (RuntimeError, ValueError):
                    return False
                if getattr(answer, "Status", None) != 0x0000:
                    return False
                self.acknowledged[str(image.SOPInstanceUID)] = hashlib.sha256(image.PixelData).hexdigest()
                self._pending.pop(0)
            return True
        finally:
            if association.is_established:
                association.release()
            else:
                association.abort()


@pytest.mark.slow
def test_no_acknowledged_instance_is_lost_and_each_result_is_delivered_once(
    small_phantom: PhantomStudy, pacs: StandInPacs, tmp_path: Path
):
    draw = random.Random(20261120)
    node = NodeProcess(
        folder=tmp_path / "node",
        peers=[sender(), receiver("PACS", pacs.port)],
        settings={"study": {"quiet_period_s": 2.0}, "delivery": {"backoff_initial_s": 0.5}},
    ).start()
    try:
        for number in range(1, ROUNDS + 1):
            files = _renamed(small_phantom, tmp_path / f"study-{number}", number)
            scanner = Scanner(node, files)
            delay_s = draw.uniform(0.05, LONGEST_DELAY_S)
            time.sleep(delay_s)
            node.kill()
            node.start()
            scanner.join(120)
            _check_round(node, pacs, number, scanner, delay_s)
    finally:
        node.stop()
    twice = {uid: count for uid, count in pacs.requests.items() if count != 1}
    assert not twice, f"delivered more than once: {twice}"


def _check_round(node: NodeProcess, pacs: StandInPacs, number: int, scanner: Scanner, delay_s: float) -> None:
    uid = f"2.25.7{number}"
    label = f"round {number}, killed after {delay_s:.2f} s"

    def settled() -> dict | None:
        study = node.study(uid)
        done = study.get("status") in {"DELIVERED", "NOT_APPLICABLE", "NEEDS_ATTENTION"}
        return study if done else None

    study = wait_for(f"the result of {label}", settled, timeout_s=120, every_s=0.5)
    assert study["status"] == "DELIVERED", f"{label}: {study['status']} {study.get('why')}"
    held = _held_on_disk(node)
    lost = {instance for instance, digest in scanner.acknowledged.items() if held.get(instance) != digest}
    assert not lost, f"{label}: acknowledged and lost: {sorted(lost)}"
    (latest,) = [delivery for delivery in study["deliveries"] if delivery["revision"] == study["revision"]]
    held_there = {entry["sop_instance_uid"]: entry["kind"] for entry in latest["objects"] if entry["held"]}
    assert set(held_there.values()) >= {"SEG", "SR", "TEXT_SR", "SC"}, label
    assert not latest["substitutions"], label
    assert held_there.keys() <= {path.stem for path in pacs.files()}, label


def _held_on_disk(node: NodeProcess) -> dict[str, str]:
    held = {}
    for path in (node.folder / "var" / "received").rglob("*.dcm"):
        image = pydicom.dcmread(path)
        if "PixelData" in image:
            held[str(image.SOPInstanceUID)] = hashlib.sha256(image.PixelData).hexdigest()
    return held
