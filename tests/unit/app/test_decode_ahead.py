"""Images are decoded while their study comes in; and nothing else suffers for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.app.decode_ahead import AheadPolicy, DecodeAhead, wanted_digests
from dicom_node.app.index_instance import Indexed
from dicom_node.app.receive_instance import ReceiveInstance
from dicom_node.core.decode_ahead import Decoded, DecodeOutcome, DecoderLost, LeftAlone, NoRoom
from dicom_node.core.errors import RejectedInput, StorageUnavailable, WorkerLost
from dicom_node.core.job import JobState
from storage.decoded_files import DecodedFiles
from tests.unit.app.node import STUDY, FakeClock, Node, incoming, silenced

J2K, IMPLICIT, MR = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2", "1.2.840.10008.5.1.4.1.1.4"
SIZE = 100


class FakeDecoder:
    """Makes files of `SIZE` bytes; does the next thing of `script` first, where there is one."""

    def __init__(self) -> None:
        self.asked: list[Path] = []
        self.script: list[DecodeOutcome | Callable[[], object]] = []
        self.is_resting = False

    def decode(self, source: Path, target: Path, *, most_bytes: int, is_cancelled: Callable[[], bool]) -> DecodeOutcome:
        self.is_resting = False
        self.asked.append(source)
        step = self.script.pop(0) if self.script else None
        if callable(step):
            step()
        elif step is not None:
            return step
        if most_bytes < SIZE:
            return NoRoom(needed_bytes=SIZE)
        target.write_bytes(bytes(SIZE))
        return Decoded(size_bytes=SIZE)

    def rest(self) -> None:
        self.is_resting = True


class Stand:
    """A node that decodes ahead, and the folder it does that in."""

    def __init__(self, root: Path, **policy: float) -> None:
        self.node = Node(root)
        self.decoded = DecodedFiles(root)
        self.decoder = FakeDecoder()
        self.policy = AheadPolicy(**{"limit_bytes": 10_000, "min_free_bytes": 1000} | policy)  # type: ignore[arg-type]
        self.restart()

    def restart(self) -> None:
        node = self.node
        self.ahead = DecodeAhead(
            reading=node.database.reading,
            files=node.files,
            decoded=self.decoded,
            decoder=self.decoder,
            clock=node.clock,
            counters=node.counters,
            policy=self.policy,
        )
        node.receive = ReceiveInstance(
            uow_factory=node.uow,
            files=node.files,
            clock=node.clock,
            counters=node.counters,
            min_free_bytes=self.policy.min_free_bytes,
            ahead=self.ahead,
        )

    def receive(self, count: int = 3, *, first: int = 1, study: str = STUDY, syntax: str = J2K) -> None:
        for number in range(first, first + count):
            assert self.node.receive(incoming(number, study=study, transfer_syntax_uid=syntax)) is Indexed.NEW

    def digests(self, study: str = STUDY) -> list[str]:
        with self.node.uow() as uow:
            return [record.digest for record in uow.studies.instances(study)]

    def file(self, number: int) -> Path:
        with self.node.uow() as uow:
            return self.node.files.absolute(uow.studies.instances(STUDY)[number - 1].file)

    @property
    def held(self) -> set[str]:
        return set(self.decoded.held())

    def outcomes(self) -> dict[str, int]:
        counts = self.node.counters.counts
        return {name[1]: count for name, count in counts.items() if name[0] == "images_decoded_ahead"}


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    with silenced():
        yield Stand(tmp_path)


def test_a_compressed_image_is_decoded_while_its_study_is_still_coming_in(stand: Stand) -> None:
    stand.receive(2)
    assert stand.ahead.waiting == 2
    assert stand.ahead.step() == 2
    assert stand.held == set(stand.digests())
    stand.receive(1, first=3)
    assert stand.ahead.step() == 1
    assert stand.held == set(stand.digests())
    assert (stand.ahead.waiting, stand.ahead.held_bytes) == (0, 3 * SIZE)
    assert stand.outcomes() == {"decoded": 3}
    assert stand.ahead.step() == 0


def test_what_no_analysis_would_have_to_decode_is_not_decoded(stand: Stand) -> None:
    stand.receive(1, syntax=IMPLICIT)
    header = incoming(2).header
    assert header is not None
    of_class = {"sop_class_uid": MR, "header": replace(header, sop_class_uid=MR)}
    stand.node.receive(incoming(2, transfer_syntax_uid=J2K, **of_class))
    assert stand.ahead.step() == 0
    assert stand.decoder.asked == []
    assert stand.decoder.is_resting


@pytest.mark.parametrize("digest", ["", "no digest", "AB" * 32])
def test_a_row_without_a_digest_that_could_name_a_file_is_passed_over(stand: Stand, digest: str) -> None:
    stand.receive(1)
    with stand.node.uow() as uow:
        uow.studies.replace_instance(replace(uow.studies.instances(STUDY)[0], digest=digest))
        uow.commit()
    stand.node.analysis._decoded = stand.decoded
    stand.node.close_now()
    stand.node.turn()
    assert stand.node.analyzer.requests[0].decoded == {}
    assert stand.node.job().state is JobState.DONE


def test_a_repeated_image_is_decoded_once(stand: Stand) -> None:
    stand.receive(1)
    stand.ahead.step()
    assert stand.node.receive(incoming(1, transfer_syntax_uid=J2K)) is Indexed.IDENTICAL
    assert stand.ahead.step() == 0


def test_the_frames_stay_until_the_analysis_has_ended_and_are_named_to_it(stand: Stand) -> None:
    stand.receive()
    stand.ahead.step()
    stand.node.close_now()
    stand.ahead.step()
    assert len(stand.held) == 3
    stand.node.analysis._decoded = stand.decoded
    stand.node.turn()
    request = stand.node.analyzer.requests[0]
    assert {frames.stem for frames in request.decoded.values()} == set(stand.digests())
    assert set(request.decoded) == set(request.files)
    stand.ahead.step()
    assert stand.held == set()
    assert stand.ahead.held_bytes == 0


def test_while_the_analysis_runs_nothing_is_decoded_for_it_and_what_was_stays(stand: Stand) -> None:
    stand.receive(1)
    stand.ahead.step()
    stand.receive(1, first=2)
    stand.node.close_now()
    running: list[tuple[int, int]] = []
    stand.node.analyzer.script = [lambda is_cancelled: running.append((stand.ahead.step(), len(stand.held)))]
    stand.node.analysis.step()
    assert running == [(0, 1)]


def test_the_frames_of_an_analysis_that_will_be_repeated_stay(stand: Stand) -> None:
    stand.receive()
    stand.ahead.step()
    stand.node.close_now()
    stand.node.analyzer.script = [WorkerLost("gone")]
    stand.node.analysis.step()
    stand.ahead.step()
    assert stand.node.job().state is JobState.RETRY_WAIT
    assert len(stand.held) == 3


def test_a_late_image_finds_the_frames_of_the_others_where_they_were(stand: Stand) -> None:
    stand.receive()
    stand.ahead.step()
    stand.node.close_now()
    stand.receive(1, first=4)  # supersedes the job that waits
    assert stand.ahead.step() == 1
    assert stand.held == set(stand.digests())


def test_a_late_image_of_an_analysed_study_has_all_of_it_decoded_again(stand: Stand) -> None:
    stand.receive()
    stand.node.close_now()
    stand.node.turn()
    stand.ahead.step()
    assert stand.held == set()
    stand.receive(1, first=4)
    assert stand.ahead.step() == 4
    assert stand.held == set(stand.digests())


def test_a_cancelled_analysis_leaves_no_frames(stand: Stand) -> None:
    stand.receive()
    stand.ahead.step()
    stand.node.close_now()
    stand.node.operator.cancel_study(STUDY, actor="test")
    stand.ahead.step()
    assert stand.held == set()


def test_an_image_that_cannot_be_decoded_is_left_to_the_analysis(stand: Stand) -> None:
    stand.decoder.script = [LeftAlone(why="truncated")]
    stand.receive()
    assert stand.ahead.step() == 2
    assert stand.ahead.step() == 0
    assert stand.outcomes() == {"decoded": 2, "left_alone": 1}


def test_an_image_over_which_the_decoder_was_lost_twice_is_left_alone_and_the_others_are_decoded(stand: Stand) -> None:
    stand.receive()
    poison = stand.file(1)
    decode = stand.decoder.decode

    def crashes(source: Path, target: Path, **limits: object) -> DecodeOutcome:
        if source == poison:
            stand.decoder.asked.append(source)
            target.with_suffix(".part").write_bytes(b"half")
            return DecoderLost(why="the decoder was ended by SIGSEGV")
        return decode(source, target, **limits)  # type: ignore[arg-type]

    stand.decoder.decode = crashes  # type: ignore[assignment]
    for _ in range(3):
        stand.ahead.step()
    assert stand.decoder.asked.count(poison) == 2
    assert stand.held == set(stand.digests()[1:])
    assert stand.outcomes() == {"decoded": 2, "decoder_lost": 2}
    assert not list(poison.parents[3].glob("decoded/*.part"))


def test_a_decoder_that_is_lost_again_and_again_rests(stand: Stand) -> None:
    stand.decoder.script = [DecoderLost(why="it cannot be started")] * 100
    stand.receive(20)
    stand.ahead.step()
    stand.ahead.step()
    assert len(stand.decoder.asked) == 6
    stand.decoder.script = []
    stand.node.clock.advance(301)
    assert stand.ahead.step() > 10


def test_what_is_held_stays_below_its_limit_and_the_next_waits_for_room(tmp_path: Path) -> None:
    with silenced():
        stand = Stand(tmp_path, limit_bytes=4 * SIZE + 10)
        stand.receive(3)
        stand.receive(3, study="1.9")
        assert stand.ahead.step() == 4
        assert stand.ahead.step() == 0
        assert (len(stand.held), stand.ahead.waiting) == (4, 2)
        stand.node.clock.advance(31)
        stand.node.closing.tick()
        stand.node.analysis.step()  # the first of the two, whose frames go
        stand.ahead.step()
        assert stand.held == set(stand.digests("1.9"))


def test_an_image_larger_than_the_whole_cache_does_not_keep_the_others_waiting(stand: Stand) -> None:
    stand.decoder.script = [NoRoom(needed_bytes=1_000_000)]
    stand.receive(2)
    assert stand.ahead.step() == 1
    assert stand.outcomes() == {"decoded": 1, "left_alone": 1}


def test_nothing_is_decoded_close_to_the_reserve(stand: Stand) -> None:
    stand.node.files.free = 1000 + 2500 + SIZE - 1
    stand.receive(1)
    assert stand.ahead.step() == 0
    stand.node.files.free += 1
    assert stand.ahead.step() == 1


def test_the_oldest_frames_go_when_others_come_close_to_the_reserve(stand: Stand) -> None:
    stand.receive(3)
    stand.ahead.step()
    stand.node.files.free = 1000 + 1250 - SIZE - 1
    stand.ahead.step()
    assert stand.held == set(stand.digests()[2:])


def test_all_frames_go_before_an_image_is_refused_for_want_of_space(stand: Stand) -> None:
    stand.receive(3)
    stand.ahead.step()
    stand.node.files.free = 1010

    def freed(digest: str) -> None:
        DecodedFiles.remove(stand.decoded, digest)
        stand.node.files.free += SIZE

    stand.decoded.remove = freed  # type: ignore[method-assign]
    stand.receive(1, first=4)
    assert stand.held == set()


def test_where_there_are_no_frames_to_give_an_image_is_refused_as_ever(stand: Stand) -> None:
    stand.node.files.free = 1010
    with pytest.raises(RejectedInput, match="1010 bytes are free") as caught:
        stand.receive(1)
    assert caught.value.status == 0xA700


def test_a_start_keeps_what_an_analysis_waits_for_and_removes_the_rest(stand: Stand) -> None:
    stand.receive(2)
    stand.ahead.step()
    stale = "ef" * 32
    stand.decoded.file(stale).write_bytes(b"of a study that is done")
    stand.decoded.file(stale).with_suffix(".part").write_bytes(b"half")
    stand.decoded.remove(stand.digests()[0])
    stand.restart()
    assert stand.ahead.step() == 1, "what is missing is decoded without being received again"
    assert stand.held == set(stand.digests())
    assert [path for path in stand.decoded.file(stale).parent.iterdir() if path.suffix == ".part"] == []
    assert stand.ahead.held_bytes == sum(stand.decoded.held().values())


def test_what_an_analysis_waits_for_is_that_of_the_studies_that_are_not_finished(stand: Stand) -> None:
    stand.receive(2)
    stand.node.close_now()
    stand.receive(2, study="1.9")
    first, second = set(stand.digests()), set(stand.digests("1.9"))
    with stand.node.uow() as uow:
        assert wanted_digests(uow) == first | second
    stand.node.turn()
    with stand.node.uow() as uow:
        assert wanted_digests(uow) == second


def test_an_image_whose_row_never_comes_is_forgotten(stand: Stand) -> None:
    stand.receive(1)
    with stand.node.uow() as uow:
        record = uow.studies.instances(STUDY)[0]
    stand.ahead.offer(replace(record, study_instance_uid="1.77", digest="77" * 32))
    assert stand.ahead.step() == 2
    stand.node.clock.advance(601)
    stand.ahead.step()
    assert stand.held == set(stand.digests())


def test_a_node_that_stops_begins_no_further_image(stand: Stand) -> None:
    stand.receive(3)
    stopping: list[bool] = []
    stand.decoder.script = [lambda: stopping.append(True)]
    stand.ahead.step(lambda: bool(stopping))
    assert len(stand.decoder.asked) == 1


def test_a_call_ends_after_a_while_and_looks_at_the_studies_meanwhile(stand: Stand) -> None:
    clock: FakeClock = stand.node.clock
    stand.receive(30)
    stand.decoder.script = [lambda: clock.advance(1)] * 30
    assert 5 <= stand.ahead.step() <= 11
    assert stand.ahead.step() >= 5


def test_what_cannot_be_removed_makes_an_image_no_worse_than_refused(stand: Stand) -> None:
    stand.receive(1)
    stand.ahead.step()
    stand.node.files.free = 1010

    def fails(digest: str) -> None:
        raise StorageUnavailable("EIO")

    stand.decoded.remove = fails  # type: ignore[method-assign]
    with pytest.raises(RejectedInput):
        stand.receive(1, first=2)


def test_while_images_come_in_fast_nothing_is_decoded(stand: Stand) -> None:
    stand.receive(31)
    assert (stand.ahead.step(), stand.decoder.asked) == (0, [])
    stand.decoder.script = [lambda: None, lambda: stand.receive(31, first=32)]
    assert stand.ahead.step() == 2, "and it ends when they do while it decodes"
    assert stand.ahead.step() == 60


def test_more_than_may_wait_is_left_to_the_analysis_until_there_is_time(tmp_path: Path) -> None:
    with silenced():
        stand = Stand(tmp_path, most_waiting=2)
        stand.receive(5)
        assert stand.ahead.waiting == 2
        assert stand.ahead.step() == 5, "its rows are read when the study is first met"
