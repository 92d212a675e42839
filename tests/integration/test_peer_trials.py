"""A peer is tried over the network: every way to fail has its reason, and what it accepts of our objects is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicom_node.bootstrap.peers import try_peer
from dicom_node.core.delivery_terms import OwnTerms
from dicom_node.core.finding import ResultKind
from dicom_node.core.identifiers import AETitle
from dicom_node.core.peer import Peer, PeerTls, UserIdentity, object_choice
from dicom_node.core.peer_test import PeerTest, Trouble
from dicom_node.core.result_classes import EXPLICIT_LITTLE, IMPLICIT_LITTLE, SOP_CLASSES
from dicom_node.demo.stand_in_pacs import Faults, StandInPacs

SHORT_S = 1.0


def tried(port: int, *, host: str = "127.0.0.1", aet: str = "PACS", timeout_s: float = 5.0, **more: object) -> PeerTest:
    values: dict[str, object] = {"receives_results": True} | more
    peer = Peer(name="pacs", ae_title=AETitle(aet), host=host, port=port, **values)  # type: ignore[arg-type]
    return try_peer(peer, "CSPINE_AI", timeout_s)


def trouble(test: PeerTest) -> Trouble | None:
    assert test.echo is not None
    assert not test.ok
    assert test.echo.why
    assert test.echo.advice
    return test.echo.trouble


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[StandInPacs]:
    with StandInPacs(tmp_path) as found:
        yield found


@contextmanager
def listening(say: bytes | None) -> Iterator[int]:
    """A server that takes connections and says this and hangs up, or with None says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def serve() -> None:
            kept = []
            server.settimeout(0.1)
            while not done.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                if say is None:
                    kept.append(connection)
                else:
                    connection.sendall(say)
                    connection.close()
            for connection in kept:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            done.set()
            thread.join()


def test_a_peer_that_is_right_answers_and_shows_what_it_accepts_in_which_syntax(pacs: StandInPacs) -> None:
    test = tried(pacs.port)
    assert test.ok
    assert (test.echo and test.echo.ok, test.missing, test.instead) == (True, (), ())
    seg = next(entry for entry in test.classes if ResultKind.SEG in entry.kinds)
    assert [(context.transfer_syntax_uid, context.accepted) for context in seg.contexts] == [
        (EXPLICIT_LITTLE, True), (IMPLICIT_LITTLE, True),
    ]  # fmt: skip
    assert seg.wanted == (ResultKind.SEG, ResultKind.SUSPICION_SEG)
    assert pacs.files() == ()


def test_what_a_peer_does_not_accept_is_told_with_its_reason_and_what_goes_instead(pacs: StandInPacs) -> None:
    pacs.faults = Faults(refused_sop_classes=frozenset({SOP_CLASSES[ResultKind.SR].uid}), only_implicit=True)
    test = tried(pacs.port)
    assert test.instead == ((ResultKind.SR, ResultKind.SR_COMPREHENSIVE),)
    by_name = {entry.name: entry for entry in test.classes}
    comprehensive = by_name["Comprehensive SR Storage"]
    assert [context.accepted for context in comprehensive.contexts] == [False, True]
    assert by_name["Comprehensive 3D SR Storage"].is_taken is False
    whys = {name: [context.why for context in entry.contexts] for name, entry in by_name.items()}
    assert whys["Comprehensive 3D SR Storage"] == ["SOP class not supported"] * 2
    assert whys["Comprehensive SR Storage"] == ["transfer syntax not supported", ""]


def test_a_peer_that_takes_none_of_what_it_is_to_get_does_not_pass(pacs: StandInPacs) -> None:
    pacs.faults = Faults(only_sop_classes=frozenset({"1.2.840.10008.1.1"}))
    test = tried(pacs.port, objects=object_choice(["SR"]))
    assert test.echo is not None
    assert test.echo.ok
    assert (test.ok, test.missing) == (False, (ResultKind.SR,))


def test_a_peer_that_commits_is_offered_storage_commitment_too(pacs: StandInPacs) -> None:
    test = tried(pacs.port, delivery=OwnTerms(storage_commitment=True))
    assert "Storage Commitment Push Model" in {entry.name for entry in test.classes}


def test_nobody_listens(pacs: StandInPacs) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert trouble(tried(nobody.getsockname()[1])) is Trouble.REFUSED


def test_the_host_is_not_known() -> None:
    assert trouble(tried(104, host="nobody.invalid")) is Trouble.UNKNOWN_HOST


def test_the_peer_says_nothing() -> None:
    with listening(None) as port:
        assert trouble(tried(port, timeout_s=SHORT_S)) is Trouble.TIMEOUT


def test_another_program_hangs_up() -> None:
    with listening(b"") as port:
        assert trouble(tried(port)) is Trouble.CLOSED


@pytest.mark.parametrize(
    ("rejection", "expected"),
    [
        ((1, 1, 7), Trouble.CALLED_AE_TITLE),
        ((1, 1, 3), Trouble.CALLING_AE_TITLE),
        ((1, 1, 1), Trouble.REJECTED),
        ((2, 3, 1), Trouble.BUSY),
        ((2, 3, 2), Trouble.BUSY),
    ],
)
def test_a_rejection_is_told_with_the_standard_s_reason(
    pacs: StandInPacs, rejection: tuple[int, int, int], expected: Trouble
) -> None:
    pacs.faults = Faults(rejection=rejection)
    assert trouble(tried(pacs.port)) is expected


def test_the_peer_has_another_ae_title(pacs: StandInPacs) -> None:
    test = tried(pacs.port, aet="OTHER")
    assert trouble(test) is Trouble.CALLED_AE_TITLE
    assert test.offer is None, "who does not answer is not made an offer"


def test_verification_is_not_accepted_but_the_objects_are(pacs: StandInPacs) -> None:
    pacs.faults = Faults(refused_sop_classes=frozenset({"1.2.840.10008.1.1"}))
    test = tried(pacs.port)
    assert trouble(test) is Trouble.NOT_ACCEPTED
    assert test.missing == ()
    assert any(entry.is_taken for entry in test.classes)


def test_the_port_is_not_the_one_for_tls() -> None:
    abort = bytes.fromhex("07 00 00000004 00 00 02 01")  # what a plain DICOM port says to a TLS hello (PS3.8 9.3.8)
    with listening(abort) as port:
        assert trouble(tried(port, tls=PeerTls(certificate_sha256="0" * 64))) is Trouble.TLS


def test_our_own_passcode_cannot_be_read(pacs: StandInPacs) -> None:
    user = UserIdentity(user_name="us", passcode_file="/nowhere/at/all")
    assert trouble(tried(pacs.port, identify_as=user)) is Trouble.OURS


def test_a_dicomweb_service_alone_is_asked_by_http() -> None:
    from dicom_node.core.peer import StowEndpoint

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        test = tried(port, stow=StowEndpoint(url=f"http://127.0.0.1:{port}/dicom-web"))
    assert (test.ok, test.echo) == (False, None)
    assert test.stow is not None
    assert test.stow.trouble is Trouble.SERVICE
