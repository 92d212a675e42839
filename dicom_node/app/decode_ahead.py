"""Decode the compressed images of a study while it is still coming in, so that its volume is ready when it closes.

Nothing depends on it. What was decoded is a cache that an analysis uses where it fits; what is not there, or not
right, it decodes itself as before. So everything here may be late, lost or given up, and is, before anything else
suffers: receiving, the reserve of the disk, an analysis that runs.

- An image is worth it while an analysis of its study is to come: the study is being received, or its job waits. Once
  the analysis runs it decodes for itself what is missing; once it has ended the frames go. A late image opens the next
  revision, whose analysis reads the same images: what was decoded of them stays.
- The cache is bounded. When it is full the next image waits and none is thrown out: analyses run in the order in which
  studies closed, so the oldest frames are those that are read next.
- The disk's reserve is not ours: nothing is decoded close to it, the oldest frames go when others come close to it,
  and all of them before an image is refused for want of space (`give_room`).
- While images come in fast nothing is decoded: their sender wants the processors, and the quiet period that follows
  has time enough.
- An image over which the decoder was lost twice is left alone; a decoder that is lost over one image after the other
  rests for a while.

How to edit safely: `offer` and `give_room` are called by any thread, everything else by one. What they share is
`_arrived`, whose appends and pops are whole, and `DecodedRoom`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path

import structlog

from dicom_node.app import counting
from dicom_node.app.decoded_room import DecodedRoom
from dicom_node.app.index_instance import UNFINISHED
from dicom_node.core.decode_ahead import Decoded, DecoderLost, LeftAlone, NoRoom, is_worth_decoding
from dicom_node.core.identifiers import study_key
from dicom_node.core.job import JobState
from dicom_node.core.standing import WorklistFilter, current_job
from dicom_node.core.study import InstanceRecord, StudyIntake, StudyState
from dicom_node.core.worklist import WorklistState
from dicom_node.ports import Clock, Counters, DecodedFrames, FileStore, FrameDecoder, UnitOfWork, UnitOfWorkFactory

log = structlog.get_logger(__name__)

_PAGE = 500
_UNFINISHED = (WorklistState.RECEIVING, WorklistState.WAITING, WorklistState.ANALYSING)


@dataclass(frozen=True, kw_only=True)
class AheadPolicy:
    """`limit_bytes` and `min_free_bytes` are those of `DecodedRoom`.

    A call works for `work_s` and looks at the studies again after `look_s`; it ends where more than `fast_images` came
    in since the last look. After `most_losses` lost decoders in a row none is started for `rest_s`.
    """

    limit_bytes: int
    min_free_bytes: int
    most_waiting: int = 20_000
    work_s: float = 10.0
    look_s: float = 1.0
    fast_images: int = 30
    row_within_s: float = 600.0
    losses_of_one_image: int = 2
    most_losses: int = 6
    rest_s: float = 300.0


class _Use(Enum):
    AHEAD = "an analysis is to come"
    NOW = "it runs"
    OVER = "none is to come"


@dataclass
class _Study:
    """`waiting` are the files to decode by digest, in order; `digests` all images that were seen to be worth it."""

    since: datetime
    waiting: dict[str, Path] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)
    is_read: bool = False  # its rows were looked through since decoding for it began


class DecodeAhead:
    """The tick that decodes. `reading` opens snapshots; frames that no analysis waits for are removed as well."""

    def __init__(
        self,
        *,
        reading: UnitOfWorkFactory,
        files: FileStore,
        decoded: DecodedFrames,
        decoder: FrameDecoder,
        clock: Clock,
        counters: Counters,
        policy: AheadPolicy,
    ) -> None:
        self._reading = reading
        self._files = files
        self._decoded = decoded
        self._decoder = decoder
        self._clock = clock
        self._counters = counters
        self._policy = policy
        self._room = DecodedRoom(
            files=files, decoded=decoded, limit_bytes=policy.limit_bytes, min_free_bytes=policy.min_free_bytes
        )
        self._arrived: deque[tuple[str, str, Path]] = deque()
        self._studies: dict[str, _Study] = {}
        self._losses: Counter[str] = Counter()
        self._losses_in_a_row = 0
        self._rests_until: datetime | None = None
        self._needed: dict[str, int] = {}
        self._has_begun = False

    @property
    def held_bytes(self) -> int:
        """What lies decoded now."""
        return self._room.held_bytes

    @property
    def waiting(self) -> int:
        """How many images wait to be decoded."""
        studies = tuple(self._studies.values())
        return len(self._arrived) + sum(len(study.waiting) for study in studies)

    def offer(self, record: InstanceRecord) -> None:
        """The instance was stored: it is decoded in its turn where that is worth it. Returns at once."""
        if is_worth_decoding(record) and len(self._arrived) < self._policy.most_waiting:
            self._arrived.append((record.study_instance_uid, record.digest, record.file))

    def give_room(self) -> bool:
        """Whether anything lay decoded: it is gone, because its room is needed. For any thread."""
        return self._room.give_room()

    def step(self, is_stopping: Callable[[], bool] = lambda: False) -> int:
        """Decode what waits for a while; returns how many images that were. Raises StorageUnavailable."""
        self._begin()
        ends_at = self._clock.now() + timedelta(seconds=self._policy.work_s)
        decoded = 0
        while not is_stopping() and self._clock.now() < ends_at:
            are_fast = self._take_arrivals() > self._policy.fast_images
            self._look()
            if are_fast:
                break
            just_decoded = self._decode(is_stopping)
            decoded += just_decoded
            if not just_decoded:
                break
        if not any(study.waiting for study in self._studies.values()):
            self._decoder.rest()
        return decoded

    def _begin(self) -> None:
        """Once a life: what is held is of studies whose analysis is to come."""
        if self._has_begun:
            return
        held = self._decoded.begin()
        self._room.took(held)
        with self._reading() as uow:
            for study in unfinished(uow):
                self._track(study.study_instance_uid)
                self._read_rows(uow, study.study_instance_uid)
        wanted = {digest for study in self._studies.values() for digest in study.digests}
        self._room.give_up(held.keys() - wanted)
        self._has_begun = True

    def _track(self, study_instance_uid: str) -> _Study:
        return self._studies.setdefault(study_instance_uid, _Study(since=self._clock.now()))

    def _take_arrivals(self) -> int:
        """How many there were since the last look."""
        count = len(self._arrived)
        for _ in range(count):
            uid, digest, file = self._arrived.popleft()
            self._want(self._track(uid), digest, file)
        return count

    def _want(self, study: _Study, digest: str, file: Path) -> None:
        study.digests.add(digest)
        if digest not in self._room and self._losses[digest] < self._policy.losses_of_one_image:
            study.waiting[digest] = file

    def _read_rows(self, uow: UnitOfWork, study_instance_uid: str) -> None:
        study = self._studies[study_instance_uid]
        study.is_read = True
        for record in uow.studies.instances(study_instance_uid):
            if is_worth_decoding(record):
                self._want(study, record.digest, record.file)

    def _look(self) -> None:
        """What each study is at; and the disk's reserve is not touched."""
        self._room.spare_the_reserve()
        if not self._studies:
            return
        with self._reading() as uow:
            uses = {uid: self._use(uow, uid, study) for uid, study in self._studies.items()}
            for uid, use in uses.items():
                if use is _Use.AHEAD and not self._studies[uid].is_read:
                    self._read_rows(uow, uid)
        for uid, use in uses.items():
            if use is _Use.NOW:
                self._studies[uid].waiting.clear()
                self._studies[uid].is_read = False
            elif use is _Use.OVER:
                self._forget(uid)

    def _use(self, uow: UnitOfWork, study_instance_uid: str, study: _Study) -> _Use:
        intake = uow.studies.get(study_instance_uid)
        if intake is None:  # its rows come behind the answers
            is_young = self._clock.now() - study.since < timedelta(seconds=self._policy.row_within_s)
            return _Use.AHEAD if is_young else _Use.OVER
        if intake.state is StudyState.RECEIVING:
            return _Use.AHEAD
        job = current_job(intake, uow.jobs.of_study(study_instance_uid))
        if intake.state is StudyState.PURGED or job is None or job.state not in UNFINISHED:
            return _Use.OVER
        return _Use.NOW if job.state is JobState.RUNNING else _Use.AHEAD

    def _forget(self, study_instance_uid: str) -> None:
        study = self._studies.pop(study_instance_uid)
        for digest in study.digests:
            self._losses.pop(digest, None)
        self._room.give_up(study.digests)

    def _next(self) -> tuple[str, str, Path] | None:
        """Study, digest and file of the image that waits longest."""
        for uid, study in self._studies.items():
            for digest, file in study.waiting.items():
                return uid, digest, file
        return None

    def _decode(self, is_stopping: Callable[[], bool]) -> int:
        """Decode until it is time to look again, nothing waits, or there is no room; how many."""
        now = self._clock.now()
        if self._rests_until is not None and now < self._rests_until:
            return 0
        until, decoded = now + timedelta(seconds=self._policy.look_s), 0
        while not is_stopping() and self._clock.now() <= until and len(self._arrived) <= self._policy.fast_images:
            found, room = self._next(), self._room.left()
            if found is None or not room:
                break
            uid, digest, file = found
            if room < self._needed.get(digest, 0):
                break
            outcome = self._decoder.decode(
                self._files.absolute(file), self._decoded.file(digest), most_bytes=room, is_cancelled=is_stopping
            )
            if is_stopping():
                break
            if isinstance(outcome, NoRoom) and outcome.needed_bytes <= self._policy.limit_bytes:
                self._needed = {digest: outcome.needed_bytes}
                break  # it waits until some goes
            decoded += self._settle(uid, digest, outcome)
            if self._rests_until is not None and now < self._rests_until:
                break
        return decoded

    def _settle(self, uid: str, digest: str, outcome: Decoded | NoRoom | LeftAlone | DecoderLost) -> int:
        match outcome:
            case Decoded(size_bytes=size_bytes):
                self._room.took({digest: size_bytes})
                self._losses_in_a_row = 0
                self._done_with(uid, digest, "decoded")
                return 1
            case DecoderLost(why=why):
                self._lost(uid, digest, why)
            case _:
                self._losses_in_a_row = 0
                self._done_with(uid, digest, "left_alone")
        return 0

    def _done_with(self, uid: str, digest: str, outcome: str) -> None:
        self._studies[uid].waiting.pop(digest, None)
        self._counters.count(counting.IMAGES_AHEAD, outcome=outcome)

    def _lost(self, uid: str, digest: str, why: str) -> None:
        self._decoded.remove(digest)
        self._losses[digest] += 1
        self._losses_in_a_row += 1
        is_left_alone = self._losses[digest] >= self._policy.losses_of_one_image
        log.warning("decoder_lost", study=study_key(uid), image=digest[:12], why=why, left_alone=is_left_alone)
        self._counters.count(counting.IMAGES_AHEAD, outcome="decoder_lost")
        file = self._studies[uid].waiting.pop(digest)
        if not is_left_alone:
            self._studies[uid].waiting[digest] = file  # behind the others of its study
        if self._losses_in_a_row >= self._policy.most_losses:
            self._losses_in_a_row = 0
            self._rests_until = self._clock.now() + timedelta(seconds=self._policy.rest_s)
            log.warning("decoding_ahead_rests", seconds=self._policy.rest_s, effect="analyses decode for themselves")


def unfinished(uow: UnitOfWork) -> Iterator[StudyIntake]:
    """The studies of which an analysis is to come or runs."""
    for state in _UNFINISHED:
        offset = 0
        while page := uow.worklist.page(WorklistFilter(state=state), limit=_PAGE, offset=offset):
            yield from page
            offset += len(page)


def wanted_digests(uow: UnitOfWork) -> set[str]:
    """The digests of the images that an analysis to come may read decoded."""
    return {
        record.digest
        for study in unfinished(uow)
        for record in uow.studies.instances(study.study_instance_uid)
        if is_worth_decoding(record)
    }
