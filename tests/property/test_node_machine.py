"""A node to which anything happens in any order: nothing acknowledged vanishes, nothing is stuck, each result arrives.

The machine is the world around the use cases on the in-memory twin: scanners, operators, PACS that are slow, busy,
dead or rude, workers that are lost, and kills at any commit. After every step the invariants hold; in the end the
world is healed, an operator looks after what needs attention, and every study must have come to its result.

"Once" is a matter of UIDs: where a worker is lost between a peer's answer and our row, the object goes out again, as
the same SOP Instance. `NODE_MACHINE_EXAMPLES` asks for more than the suite has time for (`make soak` does).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dicom_node.app.found_instance import FoundInstance
from dicom_node.app.index_instance import Indexed
from dicom_node.app.operator_actions import ActionRefused
from dicom_node.app.receive_instance import DUPLICATE_SOP_INSTANCE, IncomingInstance
from dicom_node.core.completeness import ClosePolicy, Wait, assess
from dicom_node.core.delivery import DeliveryState
from dicom_node.core.errors import (
    AssociationAborted,
    EncodingInvalid,
    PeerBusy,
    PeerRefused,
    PeerUnreachable,
    RejectedInput,
    StorageUnavailable,
    WorkerLost,
    WorkerTimeout,
)
from dicom_node.core.finding import ResultKind
from dicom_node.core.identifiers import derived_uid
from dicom_node.core.job import JobState
from dicom_node.core.study import StudyState
from dicom_node.core.worklist import WorklistState
from dicom_node.data_set_hash import digest_of
from dicom_node.ports import UnitOfWork
from tests.unit.app.node import EXPLICIT, Node, incoming, not_applicable, pacs, silenced

STUDIES = ("1.2.3", "1.2.4")
PEERS = (pacs(), pacs("archive"))
EXAMPLES = int(os.environ.get("NODE_MACHINE_EXAMPLES", "400"))

studies = st.sampled_from(STUDIES)
numbers = st.integers(1, 4)


class Killed(BaseException):
    """The power goes: nothing catches it."""


class NodeMachine(RuleBasedStateMachine):
    """One world. `sent` has every content ever sent, `acknowledged` the one that each instance was taken with."""

    def __init__(self) -> None:
        super().__init__()
        self.acknowledged: dict[tuple[str, int], bytes] = {}
        self.kept_aside: set[bytes] = set()
        self.sent: dict[bytes, FoundInstance] = {}
        self.associations: list[str] = []
        self.opened = 0
        self.repeats = 0
        self._silence = silenced()
        self._silence.__enter__()
        self._folder = tempfile.TemporaryDirectory()

    @initialize()
    def start(self) -> None:
        self.node = Node(Path(self._folder.name), peers=PEERS, read_found=lambda path: self.sent.get(path.read_bytes()))
        self.healthy = self.node.database.unit_of_work

    # -- scanners ---------------------------------------------------------------------------------------------------

    @rule(study=studies, number=numbers)
    def an_image_arrives(self, study: str, number: int) -> None:
        self._receive(study, number, f"{study} {number}".encode())

    @rule(study=studies, number=numbers, other=st.sampled_from((b"a", b"b")))
    def another_image_of_the_same_uid_arrives(self, study: str, number: int, other: bytes) -> None:
        if (study, number) in self.acknowledged:
            self._receive(study, number, f"{study} {number} ".encode() + other)

    @rule()
    def an_association_opens(self) -> None:
        self.opened += 1
        name = f"association-{self.opened}"
        with self._may_die():
            self.node.open_association(name)
            self.associations.append(name)

    @rule()
    def an_association_ends(self) -> None:
        if self.associations:
            with self._may_die():
                self.node.close_association(self.associations[0])
                self.associations.pop(0)

    def _receive(self, study: str, number: int, content: bytes) -> None:
        image = incoming(number, study=study, content=content, association_id=(self.associations or [""])[-1])
        self.sent[image.head + content] = _found(image)
        with self._may_die():
            status = self._answer(image)
            if status == DUPLICATE_SOP_INSTANCE:
                assert self.acknowledged.get((study, number), b"") != content
                self.kept_aside.add(image.head + content)
            elif status == 0x0000:
                assert self.acknowledged.setdefault((study, number), content) == content

    def _answer(self, image: IncomingInstance) -> int:
        try:
            assert self.node.receive(image) in (Indexed.NEW, Indexed.IDENTICAL)
        except RejectedInput as refused:
            return refused.status
        return 0x0000

    # -- time and the node's own work -------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from((1, 11, 31, 61, 601, 1801)))
    def time_passes(self, seconds: int) -> None:
        self.node.clock.advance(seconds)

    @rule(name=st.sampled_from(("closing.tick", "requeue.tick", "analysis.step", "status.tick", "delivery.step")))
    def the_node_works(self, name: str) -> None:
        part, call = name.split(".")
        self._tick(getattr(getattr(self.node, part), call))

    @rule()
    def every_tick_comes_once(self) -> None:
        self._tick(self.node.turn)

    # -- what goes wrong --------------------------------------------------------------------------------------------

    @rule()
    def the_node_is_killed(self) -> None:
        self._restart()

    @rule(commits=st.integers(1, 6), after=st.booleans())
    def the_node_will_be_killed_at_a_commit(self, commits: int, after: bool) -> None:
        left = [commits]

        def unit_of_work() -> UnitOfWork:
            uow = self.healthy()
            commit = uow.commit

            def dying_commit() -> None:
                left[0] -= 1
                if left[0] == 0 and not after:
                    raise Killed
                commit()
                if left[0] == 0:
                    raise Killed

            uow.commit = uow.commit_unsynced = dying_commit
            return uow

        self.node.database.unit_of_work = unit_of_work

    @rule(openings=st.integers(1, 3))
    def the_database_will_be_away(self, openings: int) -> None:
        left = [openings]

        def unit_of_work() -> UnitOfWork:
            if left[0]:
                left[0] -= 1
                raise StorageUnavailable("the database is away")
            return self.healthy()

        self.node.database.unit_of_work = unit_of_work

    @rule(ends=st.sampled_from((WorkerLost("died"), WorkerTimeout("hung"), EncodingInvalid("wrong"), None)))
    def the_next_analysis_will_end_badly(self, ends: Exception | None) -> None:
        # None: the study has nothing to analyse.
        self.node.analyzer.script = [ends or not_applicable()]

    @rule(work=st.sampled_from(("analysis", "delivery")))
    def a_worker_is_lost_without_a_word(self, work: str) -> None:
        """Its lease runs out; nobody gives it back."""
        with self._may_die(), suppress(StorageUnavailable):
            getattr(self.node, work)._claim()
            self.repeats += 1

    @rule(
        failure=st.sampled_from(
            (PeerUnreachable("off"), PeerBusy("busy"), PeerRefused("no"), AssociationAborted("cut"))
        ),
        times=st.integers(1, 8),
    )
    def peers_will_fail(self, failure: Exception, times: int) -> None:
        self.node.pacs.failures = [failure] * times

    @rule(answers=st.lists(st.sampled_from((0x0000, 0xA700, 0xB000, 0xC000, 0x0122)), min_size=1, max_size=4))
    def peers_will_answer(self, answers: list[int]) -> None:
        self.node.pacs.answers = list(answers)

    @rule(after=st.integers(0, 1))
    def a_peer_will_abort(self, after: int) -> None:
        self.node.pacs.abort_after = after

    @rule()
    def a_peer_is_so_slow_that_the_lease_runs_out(self) -> None:
        def wait() -> None:
            self.node.pacs.before_answer = lambda: None
            self.node.clock.advance(601)
            self.node.requeue.tick()

        self.node.pacs.before_answer = wait
        self.repeats += 1

    # -- operators --------------------------------------------------------------------------------------------------

    @rule(study=studies, name=st.sampled_from(("close_study", "retry_study", "cancel_study")))
    def an_operator_acts(self, study: str, name: str) -> None:
        act = getattr(self.node.operator, name)
        with self._may_die(), suppress(ActionRefused, StorageUnavailable):
            act(study, actor="operator")

    @rule(number=st.integers(1, 6))
    def an_operator_sends_again(self, number: int) -> None:
        with self._may_die(), suppress(ActionRefused, StorageUnavailable):
            self.node.operator.retry_delivery(number, actor="operator")

    # -- what must hold ---------------------------------------------------------------------------------------------

    @invariant()
    def no_acknowledged_instance_has_vanished(self) -> None:
        with self.node.database.reading() as uow:
            records = {record.sop_instance_uid: record for study in STUDIES for record in uow.studies.instances(study)}
        for (study, number), content in self.acknowledged.items():
            record = records[f"{study}.1.{number}"]
            assert self.node.files.contents[record.file] == b"head" + content
        assert self.kept_aside <= set(self.node.files.contents.values())

    @invariant()
    def nothing_is_stuck_without_a_deadline(self) -> None:
        for study in self._known():
            detail = self.node.detail(study)
            intake = detail.study
            if intake.state is StudyState.RECEIVING:
                verdict = assess(intake, self.node.clock.now(), ClosePolicy())
                assert not isinstance(verdict, Wait) or verdict.until > self.node.clock.now()
            else:
                assert [job for job in detail.jobs if job.revision == intake.revision]
            for row in (*detail.jobs, *detail.deliveries):
                if row.state in (JobState.RUNNING, DeliveryState.SENDING):
                    assert row.lease is not None
                if row.state in (JobState.RETRY_WAIT, DeliveryState.RETRY_WAIT):
                    assert row.next_attempt_at is not None

    @invariant()
    def every_status_is_explained(self) -> None:
        for study in self._known():
            assert self.node.detail(study).status.why.strip()

    @invariant()
    def no_result_has_arrived_twice(self) -> None:
        for study in self._known():
            detail = self.node.detail(study)
            of_rounds = [(d.job_id, d.channel, d.peer, d.round) for d in detail.deliveries]
            assert len(set(of_rounds)) == len(of_rounds)
        possible = {
            derived_uid(study, str(revision), kind.value)
            for study in self._known()
            for revision in range(1, self.node.study(study).revision + 1)
            for kind in (*self.node.encoder.kinds, ResultKind.STATUS_SR)
        }
        assert {uid for _peer, uid in self.node.pacs.held} <= possible
        assert max(self.node.pacs.held.values(), default=1) <= 1 + self.repeats

    def teardown(self) -> None:
        try:
            if hasattr(self, "node"):
                self._heal()
                self._assert_every_study_has_come_to_its_end()
        finally:
            self._folder.cleanup()
            self._silence.__exit__(None, None, None)

    def _heal(self) -> None:
        """Peers and database are well again, and an operator looks after what needs it."""
        self.node.database.unit_of_work = self.healthy
        self.node.pacs.failures, self.node.pacs.answers, self.node.pacs.abort_after = [], [], None
        self.node.pacs.before_answer = lambda: None
        self.node.analyzer.script = []
        self._restart()
        for _ in range(6):
            self.node.settle(turns=8, seconds=901)
            unwell = [study for study in self._known() if self.node.state(study) is WorklistState.NEEDS_ATTENTION]
            if not unwell and all(self.node.state(study) in _ENDS for study in self._known()):
                return
            for study in unwell:
                with suppress(ActionRefused):
                    self.node.operator.retry_study(study, actor="operator")

    def _assert_every_study_has_come_to_its_end(self) -> None:
        self.no_acknowledged_instance_has_vanished()
        self.no_result_has_arrived_twice()
        for study in {study for study, _number in self.acknowledged}:
            detail = self.node.detail(study)
            assert detail.status.state in _ENDS, f"{detail.status.state}: {detail.status.why}"
            if detail.status.state is not WorklistState.DELIVERED:
                continue
            newest = [d for d in detail.deliveries if d.revision == detail.study.revision]
            assert {d.peer for d in newest} == {peer.name for peer in PEERS}
            for delivery in newest:
                for entry in delivery.objects:
                    assert (delivery.peer, entry.sop_instance_uid) in self.node.pacs.held, "a result is missing"

    # -- means ------------------------------------------------------------------------------------------------------

    def _known(self) -> list[str]:
        with self.node.database.reading() as uow:
            return [study for study in STUDIES if uow.studies.get(study) is not None]

    def _tick(self, call: Callable[[], object]) -> None:
        """As the scheduler does: what fails is tried at the next tick."""
        with self._may_die(), suppress(StorageUnavailable):
            call()

    def _restart(self) -> None:
        self.node.database.unit_of_work = self.healthy
        self.associations.clear()
        self.node.restart()

    @contextmanager
    def _may_die(self) -> Iterator[None]:
        try:
            yield
        except Killed:
            self.repeats += 1
            self._restart()
        except StorageUnavailable:
            pass


_ENDS = (WorklistState.DELIVERED, WorklistState.NOT_APPLICABLE)


def _found(image: IncomingInstance) -> FoundInstance:
    assert image.header is not None
    return FoundInstance(
        header=replace(image.header),
        transfer_syntax_uid=EXPLICIT,
        digest=digest_of(image.data_set),
        size_bytes=len(image.head) + len(image.data_set),
        sop_class_uid=image.sop_class_uid,
    )


TestNodeMachine = NodeMachine.TestCase
TestNodeMachine.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
