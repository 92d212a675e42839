"""What is sent is what is stored, for every SOP class and transfer syntax; DCMTK is the sender where it can be."""

from __future__ import annotations

import io
import socket
import subprocess
import threading

import pytest
from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, build_context
from pynetdicom.sop_class import _STORAGE_CLASSES

from dicom_node.app import counting
from dicom_node.core.errors import RejectedInput
from dicom_node.core.identifiers import derived_uid
from dicom_node.core.peer import Peer
from dicom_node.dimse import counted
from dicom_node.dimse.contexts import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES
from dicom_node.dimse.echo import echo
from dicom_node.dimse.requestor import Timeouts, associated
from dicom_node.dimse.sender import send_files
from dicom_node.dimse.spares import SPARES
from tests.integration.dimse_support import (
    CT_IMAGE,
    OWN_AET,
    Node,
    data_set_bytes,
    dicom_threads,
    encode,
    instance,
    peer,
    running_node,
    wait_for,
    write,
)
from tests.peers import DCMTK_ENVIRONMENT, require

QUICK = Timeouts(connect_s=5.0, associate_s=5.0, answer_s=10.0)


def us(port: int) -> Peer:
    """Our own node as somebody to send to."""
    return peer(OWN_AET, port=port)


def dcmtk(program: str, node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require(program, "dcmtk"), "-aet", "SCANNER", "-aec", OWN_AET, *arguments],
        env=DCMTK_ENVIRONMENT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def store(node: Node, data_set: bytes, *, syntax: str = ExplicitVRLittleEndian, **uids: str):
    """One C-STORE-RQ of raw bytes; the peer's answer."""
    sop_class_uid = uids.get("sop_class_uid", CT_IMAGE)
    context = uids.get("context", sop_class_uid)
    with associated(us(node.port), own_aet="SCANNER", proposals=[(context, syntax)], timeouts=QUICK) as session:
        return session.store(
            context_id=session.accepted()[context, syntax],
            sop_class_uid=sop_class_uid,
            sop_instance_uid=uids.get("sop_instance_uid", str(instance(1).SOPInstanceUID)),
            data_set=data_set,
        )


def plain(number: int = 1, syntax: str = ExplicitVRLittleEndian, **changes) -> bytes:
    return data_set_bytes(encode(instance(number, **changes), syntax))


def test_echoscu_gets_its_answer():
    with running_node() as node:
        answer = dcmtk("echoscu", node, "127.0.0.1", str(node.port))
        assert answer.returncode == 0, answer.stderr
        node.wait_until_counted(counted.ECHOES, "SCANNER")


@pytest.mark.parametrize(
    ("syntax", "option"),
    [
        (ImplicitVRLittleEndian, "-xi"),
        (ExplicitVRLittleEndian, "-xe"),
        (ExplicitVRBigEndian, "-xb"),
        (DeflatedExplicitVRLittleEndian, "-xd"),
        (RLELossless, "-xr"),
        (JPEGLSLossless, "-xt"),
        (JPEG2000Lossless, "-xv"),
    ],
    ids=lambda value: getattr(value, "keyword", None),
)
def test_storescu_finds_its_bytes_stored_as_sent(tmp_path, syntax, option):
    dataset = instance(1, rows=64)
    if syntax.is_compressed and not syntax.is_deflated:
        dataset.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        dataset["PixelData"].value = swapped(dataset.PixelData)
    sent = write(tmp_path, dataset, syntax)
    with running_node() as node:
        # -R proposes the file's own syntax first; the option makes a DCMTK without codecs offer it at all.
        answer = dcmtk("storescu", node, "-R", option, "127.0.0.1", str(node.port), str(sent))
        assert answer.returncode == 0, answer.stderr
        (kept,) = node.receiving.instances
        assert kept.transfer_syntax_uid == syntax
        file = tmp_path / "kept.dcm"
        file.write_bytes(node.receiving.file_bytes()[0])
        assert dcmread(file) == dcmread(sent)


def swapped(pixels: bytes) -> bytes:
    return bytes(byte for pair in zip(pixels[1::2], pixels[::2], strict=True) for byte in pair)


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda syntax: syntax.keyword,
)
def test_every_byte_of_the_data_set_is_kept_and_its_header_is_read(syntax):
    sent = plain(syntax=syntax)
    with running_node() as node:
        assert store(node, sent, syntax=syntax).status == 0x0000
        (kept,) = node.receiving.instances
        assert bytes(kept.data_set) == sent
        header = kept.header
        assert header.study_instance_uid == derived_uid("study")
        assert header.modality == "CT"
        assert header.patient.patient_name == "Müller^Jörg"
        assert header.patient.study_description == "Halswirbelsäule"
        assert (kept.calling_aet, kept.called_aet) == ("SCANNER", OWN_AET)
        assert kept.association_id == node.associations.opened_[0][0]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.keyword)
def test_compressed_bytes_are_kept_as_sent(syntax):
    dataset = instance(1, rows=64)
    dataset.compress(syntax, generate_instance_uid=False)
    sent = data_set_bytes(encode(dataset, syntax))
    with running_node() as node:
        assert store(node, sent, syntax=syntax).status == 0x0000
        assert bytes(node.receiving.instances[0].data_set) == sent


def test_the_file_that_is_stored_says_who_sent_it(tmp_path):
    with running_node() as node:
        store(node, plain())
        file = tmp_path / "kept.dcm"
        file.write_bytes(node.receiving.file_bytes()[0])
        meta = dcmread(file).file_meta
        assert meta.FileMetaInformationVersion == b"\0\1"
        assert meta.SourceApplicationEntityTitle == "SCANNER"
        assert meta.ReceivingApplicationEntityTitle == OWN_AET
        dump = subprocess.run([require("dcmdump", "dcmtk"), str(file)], capture_output=True, timeout=30)
        assert dump.returncode == 0
        assert not dump.stderr


def test_every_transfer_syntax_pydicom_knows_is_accepted_for_ct():
    proposals = [(CT_IMAGE, syntax) for syntax in sorted(TRANSFER_SYNTAXES)]
    with (
        running_node() as node,
        associated(us(node.port), own_aet="SCANNER", proposals=proposals, timeouts=QUICK) as session,
    ):
        assert set(session.accepted()) == set(proposals)


@pytest.mark.parametrize("part", [0, 1])
def test_every_storage_sop_class_is_accepted_and_stored(tmp_path, part):
    classes = sorted(STORAGE_SOP_CLASSES)[part::2]
    for number, sop_class_uid in enumerate(classes):
        write(tmp_path, instance(number, sop_class_uid=sop_class_uid))
    with running_node() as node:
        report = send_files(us(node.port), [tmp_path], own_aet="SCANNER", timeouts=QUICK)
        assert report.is_complete, [answer for answer in report.answers if not answer.is_stored]
        assert {kept.sop_class_uid for kept in node.receiving.instances} == set(classes)


def test_storescu_may_propose_everything_it_knows(tmp_path):
    sent = write(tmp_path, instance(1))
    with running_node() as node:
        answer = dcmtk("storescu", node, "-d", "127.0.0.1", str(node.port), str(sent))
        assert answer.returncode == 0
        assert "Abstract Syntax Not Supported" not in answer.stderr + answer.stdout
        assert "Transfer Syntaxes Not Supported" not in answer.stderr + answer.stdout


def test_storescu_r_with_every_sop_class_it_has_a_name_for(tmp_path):
    """In parts: one association proposes 128 contexts at most, and storescu needs two for each class."""
    classes = sorted(_STORAGE_CLASSES.values())
    for number, sop_class_uid in enumerate(classes):
        write(tmp_path / str(number % 4), instance(number, sop_class_uid=sop_class_uid))
    with running_node() as node:
        for part in range(4):
            files = map(str, sorted((tmp_path / str(part)).iterdir()))
            # -nh goes on after a SOP class that this DCMTK has no name for.
            dcmtk("storescu", node, "-R", "-nh", "127.0.0.1", str(node.port), *files)
        unknown_to_dcmtk = set(classes) - {kept.sop_class_uid for kept in node.receiving.instances}
        assert len(unknown_to_dcmtk) < 40, unknown_to_dcmtk
        assert node.receiving.refused == []


@pytest.mark.parametrize("private", ["1.3.12.2.1107.5.9.1", "1.2.840.10008.5.1.4.1.1.9999"])
def test_private_and_future_storage_classes_are_stored(private):
    sent = plain(sop_class_uid=private)
    with running_node() as node:
        uid = str(instance(1, sop_class_uid=private).SOPInstanceUID)
        assert store(node, sent, sop_class_uid=private, sop_instance_uid=uid).status == 0x0000


@pytest.mark.parametrize(
    ("abstract_syntax", "syntaxes", "result"),
    [
        ("1.2.840.10008.5.1.4.1.2.2.1", [ImplicitVRLittleEndian], 3),  # Study Root FIND
        ("1.2.840.10008.5.1.4.1.1.200.1", [ImplicitVRLittleEndian], 3),  # belongs to no study
        (CT_IMAGE, ["1.2.840.113619.5.2"], 4),  # a private transfer syntax
        (CT_IMAGE, [JPEG2000Lossless, ExplicitVRLittleEndian], 0),
    ],
)
def test_a_proposal_is_answered_with_the_result_of_the_standard(abstract_syntax, syntaxes, result):
    with running_node() as node:
        entity = AE("SCANNER")
        contexts = [build_context("1.2.840.10008.1.1"), build_context(abstract_syntax, syntaxes)]
        association = entity.associate("127.0.0.1", node.port, ae_title=OWN_AET, contexts=contexts)
        contexts = [*association.accepted_contexts, *association.rejected_contexts]
        (answer,) = [context for context in contexts if context.abstract_syntax == abstract_syntax]
        assert answer.result == result
        if result == 0:
            assert answer.transfer_syntax == [JPEG2000Lossless]
        association.release()


def test_each_context_of_one_sop_class_gets_the_syntax_it_proposes_first():
    with running_node() as node:
        entity = AE("SCANNER")
        contexts = [
            build_context(CT_IMAGE, [ImplicitVRLittleEndian]),
            build_context(CT_IMAGE, [JPEGLSLossless, ImplicitVRLittleEndian]),
            build_context(CT_IMAGE, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]),
        ]
        association = entity.associate("127.0.0.1", node.port, ae_title=OWN_AET, contexts=contexts)
        chosen = [context.transfer_syntax[0] for context in association.accepted_contexts]
        assert chosen == [ImplicitVRLittleEndian, JPEGLSLossless, ExplicitVRLittleEndian]
        association.release()


def other_uid() -> bytes:
    return plain(2)


BAD_DATA_SETS = {
    "noise": (lambda: bytes(range(255, 0, -1)) * 4, 0xC000),
    "cut in its pixel data": (lambda: plain()[:-100], 0xC000),
    "cut in an element header": (lambda: plain()[:21], 0xC000),
    "of another instance": (other_uid, 0xA900),
    "without a study": (lambda: without("StudyInstanceUID"), 0xC000),
    "without a series": (lambda: without("SeriesInstanceUID"), 0xC000),
    "without any UID": (
        lambda: without("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"), 0xC000,
    ),
}  # fmt: skip


def without(*keywords: str) -> bytes:
    """The small CT without these attributes."""
    dataset = dcmread(io.BytesIO(encode(instance(1))))
    for keyword in keywords:
        delattr(dataset, keyword)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=False)
    return data_set_bytes(buffer.getvalue())


@pytest.mark.parametrize("name", BAD_DATA_SETS)
def test_a_bad_data_set_gets_its_status_and_the_next_one_is_stored(name):
    make, status = BAD_DATA_SETS[name]
    with running_node() as node:
        answer = store(node, make())
        assert f"0x{answer.status:04X}" == f"0x{status:04X}"
        assert len(node.receiving.refused) == 1, "the application decides, and keeps a copy"
        assert answer.comment
        assert store(node, plain()).status == 0x0000
        assert len(node.receiving.instances) == 1


def test_a_data_set_of_another_sop_class_is_refused():
    mr = "1.2.840.10008.5.1.4.1.1.4"
    with running_node() as node:
        assert store(node, plain(), sop_class_uid=mr).status == 0xA900


def test_a_command_for_another_sop_class_than_its_context_is_refused():
    with running_node() as node:
        answer = store(node, plain(), context="1.2.840.10008.5.1.4.1.1.4")
        assert answer.status == 0x0122
        node.wait_until_counted(counting.INSTANCES_REJECTED, "context_mismatch")


def test_a_header_without_sop_class_is_taken_at_the_commands_word():
    with running_node() as node:
        assert store(node, without("SOPClassUID", "Modality")).status == 0x0000


def test_a_full_disk_is_answered_with_out_of_resources_and_the_node_goes_on():
    def full(incoming):
        raise RejectedInput(0xA700, "storage_unavailable", "no space left on device")

    with running_node() as node:
        node.receiving.hook = full
        answer = store(node, plain())
        assert (answer.status, answer.comment) == (0xA700, "no space left on device")
        node.receiving.hook = lambda incoming: None
        assert store(node, plain()).status == 0x0000


def test_an_error_nobody_foresaw_is_never_answered_with_success():
    def broken(incoming):
        raise ZeroDivisionError

    with running_node() as node:
        node.receiving.hook = broken
        assert store(node, plain()).status == 0x0110
        node.wait_until_counted(counting.INSTANCES_REJECTED, "internal_error")
        node.receiving.hook = lambda incoming: None
        assert store(node, plain()).status == 0x0000


def test_a_peer_that_loses_its_permission_is_told_so_on_the_open_association():
    with running_node() as node:
        proposals = [(CT_IMAGE, ExplicitVRLittleEndian)]
        with associated(us(node.port), own_aet="SCANNER", proposals=proposals, timeouts=QUICK) as session:
            arguments = {
                "context_id": 1, "sop_class_uid": CT_IMAGE,
                "sop_instance_uid": str(instance(1).SOPInstanceUID), "data_set": plain(),
            }  # fmt: skip
            assert session.store(**arguments).status == 0x0000
            node.directory.entries[0] = peer(may_send=False)
            assert session.store(**arguments).status == 0x0124


def test_twenty_associations_at_once_are_all_served(tmp_path):
    peers = [peer(f"SCANNER{number:02}") for number in range(20)]
    for number in range(20):
        for image in range(5):
            write(tmp_path / str(number), instance(image, study=f"study {number}", rows=64))
    reports = {}

    def send(number: int) -> None:
        reports[number] = send_files(
            us(node.port), [tmp_path / str(number)], own_aet=f"SCANNER{number:02}", timeouts=Timeouts()
        )

    with running_node(peers) as node:
        threads = [threading.Thread(target=send, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(report.is_complete for report in reports.values())
        assert len(node.receiving.instances) == 100
        assert len({kept.association_id for kept in node.receiving.instances}) == 20
        node.wait_until_idle()
        assert node.associations.endings() == ["released"] * 20


def test_stopping_finishes_the_instance_under_way_and_leaves_no_thread(tmp_path):
    started, may_finish = threading.Event(), threading.Event()

    def slow(incoming):
        started.set()
        assert may_finish.wait(10)

    answers = []
    with running_node() as node:
        node.receiving.hook = slow
        sender = threading.Thread(target=lambda: answers.append(store_or_error(node)))
        sender.start()
        assert started.wait(10)
        stopper = threading.Thread(target=node.server.stop, args=(10.0,))
        stopper.start()
        wait_for(lambda: node.server.is_stopping, "the stop to begin")
        may_finish.set()
        stopper.join(10)
        sender.join(10)
        assert answers == [0x0000]
        assert len(node.receiving.instances) == 1
        assert node.associations.endings() in (["aborted"], ["released"])
        assert not dicom_threads()


def store_or_error(node: Node) -> object:
    try:
        return store(node, plain()).status
    except Exception as error:
        return error


def test_stopping_ends_idle_associations_and_silent_connections():
    with running_node() as node:
        entity = AE("SCANNER")
        entity.add_requested_context("1.2.840.10008.1.1")
        idle = entity.associate("127.0.0.1", node.port, ae_title=OWN_AET)
        silent = socket.create_connection(("127.0.0.1", node.port))
        wait_for(lambda: node.server.open_connections == 2, "both connections")
        node.server.stop(5.0)
        wait_for(lambda: idle.is_aborted, "the abort to arrive")
        assert node.associations.endings() == ["aborted"]
        assert not dicom_threads()
        silent.close()


def test_the_end_of_an_association_is_recorded_however_it_comes():
    proposals = [(CT_IMAGE, ExplicitVRLittleEndian)]
    with running_node() as node:
        store(node, plain())
        with (
            pytest.raises(RuntimeError, match="stop here"),
            associated(us(node.port), own_aet="SCANNER", proposals=proposals, timeouts=QUICK),
        ):
            raise RuntimeError("stop here")
        with associated(us(node.port), own_aet="SCANNER", proposals=proposals, timeouts=QUICK) as session:
            session._association.dul.socket._shutdown_socket()
            node.wait_until_idle()
        assert node.associations.endings() == ["released", "aborted", "lost"]


def test_associations_lie_ready_when_nobody_is_there_and_again_after_they_were_used():
    with running_node() as node:
        (listener,) = node.server._listeners()
        for _ in range(2):
            wait_for(lambda: listener.spares.is_full, "spare associations to be made")
            ready = set(listener.spares._ready)
            for _ in range(SPARES + 2):
                assert echo(peer(OWN_AET, port=node.port), "SCANNER", 5.0).ok
            assert ready.isdisjoint(listener.spares._ready), "those that lay ready were used"
        node.wait_until_idle()
        assert node.associations.endings() == ["released"] * 2 * (SPARES + 2)
