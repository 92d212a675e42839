"""C-STORE as SCU: result objects to a peer, and files for the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
from pydicom.uid import UID

from dicom_node.app.offer_objects import Offering, Response
from dicom_node.core.delivery import ObjectStatus
from dicom_node.core.errors import EncodingInvalid, NodeError, PermanentError, SopClassNotAccepted
from dicom_node.core.finding import ResultObject
from dicom_node.core.peer import Peer
from dicom_node.core.shipment import Plan, Shipment
from dicom_node.core.store_status import Answer, meaning
from dicom_node.dimse.part10 import CONVERTIBLE, NotDicom, Part10File, data_set_in, files_below, read_part10
from dicom_node.dimse.requestor import (
    MAXIMUM_CONTEXTS,
    Proposal,
    Session,
    StoreAnswer,
    Timeouts,
    associated,
    describe,
)
from dicom_node.ports import Clock

log = structlog.get_logger(__name__)

OnPlan = Callable[[Plan], None]
OnAnswer = Callable[[ObjectStatus], None]


class DimseSender:
    """`ports.ResultSender` over DIMSE."""

    def __init__(self, *, own_aet: str, clock: Clock, timeouts: Timeouts | None = None) -> None:
        self._own_aet = own_aet
        self._clock = clock
        self._timeouts = timeouts or Timeouts()

    def send(self, peer: Peer, shipment: Shipment, *, on_plan: OnPlan, on_answer: OnAnswer) -> None:
        """The peer holds what it takes of the shipment (with a warning counts); each answer is told to `on_answer`.

        Every kind that may have to stand in for another is proposed in the one association, and what is sent follows
        from what was accepted. An object that is refused does not keep the others back: the error comes after all
        were tried. A busy peer ends the attempt at once. Whether the last plan is enough is for the caller to judge
        (`Plan.why_not_enough`). Raises as `ports.ResultSender` says; EncodingInvalid for a
        file that is not DICOM.
        """
        files = {entry.sop_instance_uid: _result_file(entry) for entry in shipment.candidates}
        proposals = proposals_for(files.values())
        with associated(peer, own_aet=self._own_aet, proposals=proposals, timeouts=self._timeouts) as session:
            accepted = session.accepted()

            def refusal(entry: ResultObject) -> str:
                return _why_not_accepted(files[entry.sop_instance_uid], accepted)

            def offer(entry: ResultObject) -> Response:
                answer = _send_one(session, peer, files[entry.sop_instance_uid])
                said = f"0x{answer.status:04X} {answer.comment!r} for {entry.sop_instance_uid}"
                return Response(status=answer.status, words=f"{describe(peer)} answered {said}")

            offering = Offering(shipment=shipment, offer=offer, clock=self._clock, refusal=refusal)
            offering.run(on_plan=on_plan, on_answer=on_answer)


@dataclass(frozen=True, kw_only=True)
class FileAnswer:
    """What became of one file. `status` is None where the peer was not asked or gave no answer; `why` says why."""

    path: Path
    sop_instance_uid: str = ""
    status: int | None = None
    why: str = ""

    @property
    def is_stored(self) -> bool:
        """Whether the peer keeps the object."""
        return self.status is not None and meaning(self.status) is Answer.STORED


@dataclass(frozen=True, kw_only=True)
class SendReport:
    """One answer a file, in the order of sending; `skipped` are files that are not DICOM."""

    answers: tuple[FileAnswer, ...]
    skipped: tuple[FileAnswer, ...] = ()
    associations: int = 0

    @property
    def stored(self) -> int:
        """How many the peer keeps."""
        return sum(answer.is_stored for answer in self.answers)

    @property
    def is_complete(self) -> bool:
        """Whether there was something to send and all of it is stored."""
        return bool(self.answers) and self.stored == len(self.answers)


def send_files(
    peer: Peer,
    paths: Iterable[Path],
    on_progress: Callable[[FileAnswer], None] = lambda answer: None,
    own_aet: str = "CSPINE_AI",
    timeouts: Timeouts | None = None,
) -> SendReport:
    """Files, and files below folders, offered to the peer as they are; each told to `on_progress`.

    As many associations as their presentation contexts need (128 each, PS3.8 9.3.2.2). Raises PeerUnreachable,
    PeerBusy or PeerRefused where the first association cannot be had; what goes wrong later is in the report.
    """
    files, skipped = _readable(files_below(paths))
    answers: list[FileAnswer] = []
    batches = tuple(_batches(files))
    for number, batch in enumerate(batches):
        try:
            for answer in _send_batch(peer, batch, own_aet, timeouts or Timeouts()):
                answers.append(answer)
                on_progress(answer)
        except NodeError as error:
            if number == 0 and not answers and not isinstance(error, SopClassNotAccepted):
                raise
            told = {answer.path for answer in answers}
            for file in batch:
                if file.path not in told:
                    answers.append(_unanswered(file, str(error)))
                    on_progress(answers[-1])
    return SendReport(answers=tuple(answers), skipped=skipped, associations=len(batches))


def proposals_for(files: Iterable[Part10File]) -> tuple[Proposal, ...]:
    """The presentation contexts to propose: each SOP class in the syntax of its files, and for uncompressed ones
    Explicit and Implicit VR Little Endian as well, because every AE takes the latter (PS3.5 10.1)."""
    proposals: dict[Proposal, None] = {}
    for file in files:
        proposals[file.sop_class_uid, file.transfer_syntax_uid] = None
        if file.transfer_syntax_uid in CONVERTIBLE:
            proposals.update({(file.sop_class_uid, syntax): None for syntax in CONVERTIBLE[:2]})
    return tuple(proposals)


def choose_context(file: Part10File, accepted: dict[Proposal, int]) -> tuple[str, int] | None:
    """The transfer syntax to send the file in and its context id; None where the peer takes it in none."""
    syntaxes = [file.transfer_syntax_uid]
    if file.transfer_syntax_uid in CONVERTIBLE:
        syntaxes += CONVERTIBLE
    for syntax in syntaxes:
        if (file.sop_class_uid, syntax) in accepted:
            return syntax, accepted[file.sop_class_uid, syntax]
    return None


def _why_not_accepted(file: Part10File, accepted: dict[Proposal, int]) -> str:
    """In words that follow "the peer"; empty where it takes the file."""
    if choose_context(file, accepted) is not None:
        return ""
    if any(abstract == file.sop_class_uid for abstract, _syntax in accepted):
        return f"does not accept it in {UID(file.transfer_syntax_uid).name}"
    return "accepts no presentation context for it"


def _result_file(result: ResultObject) -> Part10File:
    try:
        return replace(read_part10(result.file), sop_instance_uid=result.sop_instance_uid)
    except NotDicom as error:
        raise EncodingInvalid(str(error)) from error


def _send_one(session: Session, peer: Peer, file: Part10File) -> StoreAnswer:
    choice = choose_context(file, session.accepted())
    if choice is None:
        raise SopClassNotAccepted(
            f"{describe(peer)} accepts no presentation context for SOP Class {file.sop_class_uid} "
            f"in transfer syntax {file.transfer_syntax_uid}"
        )
    syntax, context_id = choice
    answer = session.store(
        context_id=context_id,
        sop_class_uid=file.sop_class_uid,
        sop_instance_uid=file.sop_instance_uid,
        data_set=data_set_in(file, syntax),
    )
    log.info("instance_sent", peer=peer.name, sop_instance_uid=file.sop_instance_uid, status=f"0x{answer.status:04X}")
    return answer


def _send_batch(peer: Peer, batch: tuple[Part10File, ...], own_aet: str, timeouts: Timeouts) -> Iterator[FileAnswer]:
    with associated(peer, own_aet=own_aet, proposals=proposals_for(batch), timeouts=timeouts) as session:
        for file in batch:
            try:
                answer = _send_one(session, peer, file)
            except (PermanentError, OSError) as error:
                yield _unanswered(file, str(error))
                continue
            yield FileAnswer(
                path=file.path,
                sop_instance_uid=file.sop_instance_uid,
                status=answer.status,
                why="" if meaning(answer.status) is Answer.STORED else answer.comment,
            )


def _unanswered(file: Part10File, why: str) -> FileAnswer:
    return FileAnswer(path=file.path, sop_instance_uid=file.sop_instance_uid, why=why)


def _readable(paths: Iterable[Path]) -> tuple[tuple[Part10File, ...], tuple[FileAnswer, ...]]:
    files: list[Part10File] = []
    skipped: list[FileAnswer] = []
    for path in paths:
        try:
            files.append(read_part10(path))
        except (NotDicom, OSError) as error:
            skipped.append(FileAnswer(path=path, why=str(error)))
    return tuple(files), tuple(skipped)


def _batches(files: Iterable[Part10File]) -> Iterator[tuple[Part10File, ...]]:
    """Files in order, cut where the next one would need a 129th presentation context."""
    batch: list[Part10File] = []
    proposed: set[Proposal] = set()
    for file in files:
        needed = proposed.union(proposals_for([file]))
        if len(needed) > MAXIMUM_CONTEXTS:
            yield tuple(batch)
            batch, needed = [], set(proposals_for([file]))
        batch.append(file)
        proposed = needed
    if batch:
        yield tuple(batch)
