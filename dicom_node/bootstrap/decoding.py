"""Decoding ahead in a running node: its folder, its child, its tick and what it tells the metrics page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from config.settings import Settings
from dicom_node.analysis.decoder import TIMEOUT_S, ChildDecoder
from dicom_node.app.decode_ahead import AheadPolicy, DecodeAhead, wanted_digests
from dicom_node.app.doctor import Finding
from dicom_node.app.ticks import STALE_AFTER_PERIODS, Tick
from dicom_node.bootstrap.store import Store
from dicom_node.core.errors import StorageUnavailable
from dicom_node.gauges import Sample
from dicom_node.ports import Counters
from storage.decoded_files import FOLDER, DecodedFiles

PERIOD_S = 1.0


class DecodingAhead:
    """What `[inference] decode_ahead_mb` asks for; nothing where that is 0."""

    def __init__(self, settings: Settings, store: Store, counters: Counters) -> None:
        limit_bytes = settings.inference.decode_ahead_mb << 20
        self._files = DecodedFiles(settings.node.data_dir)
        self._decoder = ChildDecoder(log=self._files.log)
        self.use_case: DecodeAhead | None = None
        if limit_bytes:
            self.use_case = DecodeAhead(
                reading=store.reading,
                files=store.files,
                decoded=self._files,
                decoder=self._decoder,
                clock=store.clock,
                counters=counters,
                policy=AheadPolicy(limit_bytes=limit_bytes, min_free_bytes=settings.node.min_free_bytes),
            )

    @property
    def files(self) -> DecodedFiles | None:
        """Where an analysis may find frames; None where none are decoded ahead."""
        return self._files if self.use_case is not None else None

    def start(self) -> None:
        """Where nothing is to be decoded ahead, nothing is left of what an earlier life decoded."""
        if self.use_case is None:
            with suppress(StorageUnavailable):  # it is only room that is lost
                for digest in self._files.held():
                    self._files.remove(digest)

    def ticks(self, is_stopping: Callable[[], bool]) -> tuple[Tick, ...]:
        """The tick that decodes, if any."""
        if self.use_case is None:
            return ()
        return (
            Tick(
                name="decode_ahead",
                call=partial(self.use_case.step, is_stopping),
                period_s=PERIOD_S,
                stale_after_s=STALE_AFTER_PERIODS * PERIOD_S + TIMEOUT_S,
            ),
        )

    def samples(self) -> Iterable[Sample]:
        """For the metrics page."""
        ahead = self.use_case
        yield "decoded_ahead_bytes", (), float(ahead.held_bytes if ahead is not None else 0)
        yield "decode_ahead_waiting", (), float(ahead.waiting if ahead is not None else 0)

    def close(self) -> None:
        """The child is ended; what was decoded stays for the next life."""
        self._decoder.close()


def stale_frames(settings: Settings, store: Store) -> Iterable[Finding]:
    """What lies decoded in the folder of a node that does not run, and no analysis waits for."""
    files = DecodedFiles(settings.node.data_dir)
    held = files.held()
    if not held:
        return
    with store.reading() as uow:
        wanted = wanted_digests(uow) if settings.inference.decode_ahead_mb else set()
    stale = held.keys() - wanted
    if stale:
        yield Finding(
            what="decoded images",
            subject=FOLDER,
            detail=f"{len(stale)} of {len(held)} are of no study whose analysis is to come",
            means=f"they take {sum(held[digest] for digest in stale)} bytes",
            remedy="removed, as at a start of the node",
            mend=partial(_remove, files, tuple(stale)),
        )


def _remove(files: DecodedFiles, digests: tuple[str, ...]) -> str:
    for digest in digests:
        files.remove(digest)
    return f"{len(digests)} were removed"
