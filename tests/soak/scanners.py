"""Senders that never give up, and what they were told."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import AE

from tests.builders.stock_scu import keeping_answers


@dataclass
class Ledger:
    """What all senders were told. `acknowledged` is SOP Instance UID to the sha256 of the pixels."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    sent_studies: list[str] = field(default_factory=list)
    refused: int = 0
    aborted: int = 0
    repeated: int = 0
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def stored(self, instance: str, digest: str) -> None:
        with self._guard:
            self.repeated += instance in self.acknowledged
            self.acknowledged[instance] = digest

    def complete(self, study: str) -> None:
        with self._guard:
            self.sent_studies.append(study)

    def count(self, what: str) -> None:
        with self._guard:
            setattr(self, what, getattr(self, what) + 1)


class Scanner(threading.Thread):
    """Sends the template as one new study after another; breaks associations off, and sends some images twice."""

    def __init__(
        self,
        number: int,
        template: Sequence[Path],
        *,
        port: Callable[[], int],
        ledger: Ledger,
        may_send: Callable[[], bool],
        stopping: threading.Event,
        seed: int,
    ) -> None:
        super().__init__(name=f"scanner-{number}", daemon=True)
        self._number = number
        self._images = [pydicom.dcmread(path) for path in template]
        self._port = port
        self._ledger = ledger
        self._may_send = may_send
        self._stopping = stopping
        self._draw = random.Random(f"{seed}-{number}")

    def run(self) -> None:
        count = 0
        while not self._stopping.is_set():
            if not self._may_send():
                self._stopping.wait(1.0)
                continue
            count += 1
            study = f"2.25.7{self._number}.{count}"
            self._send_whole(study)
            self._ledger.complete(study)

    def _send_whole(self, study: str) -> None:
        """Until every image is acknowledged; a study that was begun is ended, also while the soak stops."""
        pending = list(range(len(self._images)))
        again = self._draw.sample(pending, 2)
        while pending:
            if not self._send_some(study, pending):
                time.sleep(0.5)
        self._send_some(study, again)

    def _send_some(self, study: str, pending: list[int]) -> bool:
        scu = AE(ae_title=f"SCANNER{self._number}")
        scu.acse_timeout = scu.dimse_timeout = scu.network_timeout = 60
        first = self._images[0]
        scu.add_requested_context(first.SOPClassUID, first.file_meta.TransferSyntaxUID)
        association = keeping_answers(scu.associate("127.0.0.1", self._port(), ae_title="CSPINE_AI"))
        if not association.is_established:
            self._ledger.count("refused")
            return False
        breaks_off_after = self._draw.randrange(len(self._images)) if self._draw.random() < 0.3 else None
        try:
            for sent in range(len(pending)):
                if sent == breaks_off_after:
                    self._ledger.count("aborted")
                    association.abort()
                    return False
                image = self._as_of(study, pending[0])
                try:
                    answer = association.send_c_store(image)
                except (RuntimeError, ValueError):
                    return False
                if getattr(answer, "Status", None) != 0x0000:
                    return False
                self._ledger.stored(str(image.SOPInstanceUID), hashlib.sha256(image.PixelData).hexdigest())
                pending.pop(0)
        finally:
            if association.is_established:
                association.release()
        return True

    def _as_of(self, study: str, index: int) -> Dataset:
        image = self._images[index]
        image.StudyInstanceUID, image.SeriesInstanceUID = study, f"{study}.1"
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{study}.1.{index + 1}"
        return image
