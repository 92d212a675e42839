"""STOW-RS: to Orthanc's DICOMweb plugin, and to a service in this process that refuses, fails in part, or is silent."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.core.delivery import ObjectStatus
from dicom_node.core.errors import EncodingInvalid, PeerBusy, PeerRefused, PeerUnreachable
from dicom_node.core.finding import ResultKind as K
from dicom_node.core.finding import ResultObject
from dicom_node.core.peer import AUTOMATIC, ObjectChoice, Peer, StowEndpoint, object_choice
from dicom_node.core.shipment import Plan, Shipment
from dicom_node.stow.probe import probe
from dicom_node.stow.sender import StowSender
from tests.builders.every_object import CLASSES, DEFAULT_KINDS, result_object, result_objects
from tests.integration.dimse_support import Clock, peer
from tests.peers import Orthanc

ENVIRON = {"TOKEN": "s3cret"}


def stow_peer(url: str, **more: str) -> Peer:
    return peer("CLOUD", stow=StowEndpoint(url=url, **more))


@dataclass
class Sent:
    answers: list[ObjectStatus] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)

    def __call__(
        self,
        to: Peer,
        objects: tuple[ResultObject, ...],
        choice: ObjectChoice = AUTOMATIC,
        timeout_s: float = 5.0,
        stored: frozenset[str] = frozenset(),
    ) -> Sent:
        StowSender(clock=Clock(), timeout_s=timeout_s, environ=ENVIRON).send(
            to,
            Shipment(objects=objects, choice=choice, stored=stored),
            on_plan=self.plans.append,
            on_answer=self.answers.append,
        )
        return self


@dataclass
class Service:
    """A STOW-RS service that keeps instances, and answers by SOP class where it is told to: (HTTP status, reason)."""

    url: str = ""
    kept: dict[str, bytes] = field(default_factory=dict)
    requests: list[dict[str, str]] = field(default_factory=list)
    by_class: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    search_status: int = 204

    def take(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self.requests.append(headers)
        if self.statuses:
            return self.statuses.pop(0), b""
        head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
        (part,) = BytesParser().parsebytes(head + body).get_payload()
        content = part.get_payload(decode=True)
        instance = dcmread(BytesIO(content))
        uid = str(instance.SOPInstanceUID)
        status, reason = self.by_class.get(str(instance.SOPClassUID), (200, None))
        item: dict[str, object] = {"00081155": {"vr": "UI", "Value": [uid]}}
        if reason is not None:
            item["00081197"] = {"vr": "US", "Value": [reason]}
            return status, json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode()
        self.kept[uid] = content
        return status, json.dumps({"00081199": {"vr": "SQ", "Value": [item]}}).encode()


@contextmanager
def service() -> Iterator[Service]:
    state = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = state.take(dict(self.headers.items()) | {"path": self.path}, body)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:9/")
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_GET(self) -> None:
            state.requests.append(dict(self.headers.items()) | {"path": self.path})
            self.send_response(state.search_status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


@pytest.fixture
def objects(tmp_path: Path) -> tuple[ResultObject, ...]:
    return result_objects(tmp_path / "objects")


def kinds(objects: tuple[ResultObject, ...], uids: object) -> set[K]:
    return {entry.kind for entry in objects if entry.sop_instance_uid in uids}  # type: ignore[operator]


def test_every_object_arrives_as_it_is_one_a_request_and_each_answer_is_told(objects):
    with service() as at:
        sent = Sent()(stow_peer(at.url, token_variable="TOKEN"), objects)
    assert kinds(objects, at.kept) == {K.SEG, K.SUSPICION_SEG, K.SR, K.TEXT_SR, K.SC}
    assert len(at.requests) == len(sent.answers) == 7
    assert all(answer.is_stored for answer in sent.answers)
    assert {headers["Authorization"] for headers in at.requests} == {"Bearer s3cret"}
    assert all(re.fullmatch(r"/dicom-web/studies/[0-9.]+", headers["path"]) for headers in at.requests)
    for entry in objects:
        if entry.sop_instance_uid in at.kept:
            assert dcmread(BytesIO(at.kept[entry.sop_instance_uid])) == dcmread(entry.file)


def test_what_is_held_already_is_not_sent_again(objects):
    stored = frozenset(entry.sop_instance_uid for entry in objects if entry.kind is not K.SR)
    with service() as at:
        Sent()(stow_peer(at.url), objects, stored=stored)
    assert kinds(objects, at.kept) == {K.SR}


@pytest.mark.parametrize("answer", [(202, 0x0122), (409, 0x0122), (409, 0xA900), (415, None)])
def test_a_failure_of_one_instance_brings_the_next_kind_of_its_line(objects, answer):
    with service() as at:
        at.by_class[CLASSES[K.SR]] = answer
        sent = Sent()(stow_peer(at.url), objects)
    if answer != (415, None):
        assert kinds(objects, at.kept) == {K.SEG, K.SUSPICION_SEG, K.SR_COMPREHENSIVE, K.TEXT_SR, K.SC}
    assert {entry.wanted: entry.sent for entry in sent.plans[-1].substitutions} == {K.SR: K.SR_COMPREHENSIVE}


def test_a_refused_instance_does_not_keep_the_others_back(objects):
    with service() as at:
        at.by_class[CLASSES[K.SEG]] = (409, 0x0124)
        sent = Sent()
        with pytest.raises(PeerRefused, match="0x0124"):
            sent(stow_peer(at.url), objects, choice=object_choice(["SEG", "SR"]))
    assert kinds(objects, at.kept) == {K.SR}
    assert [answer.status for answer in sent.answers] == [0x0124, 0x0000]


@pytest.mark.parametrize(
    ("status", "error"),
    [(500, PeerBusy), (503, PeerBusy), (429, PeerBusy), (401, PeerRefused), (404, PeerRefused), (302, PeerRefused)],
)
def test_a_service_that_fails_as_a_whole_ends_the_attempt(objects, status, error):
    with service() as at:
        at.statuses = [status]
        with pytest.raises(error, match=str(status)):
            Sent()(stow_peer(at.url), objects)
        assert len(at.requests) == 1


def test_what_was_answered_before_the_service_went_away_is_known(objects):
    with service() as at:
        at.statuses = []
        sent = Sent()
        at.by_class[CLASSES[K.SR]] = (409, 0xA700)
        with pytest.raises(PeerBusy, match="0xA700"):
            sent(stow_peer(at.url), objects)
        assert [answer.is_stored for answer in sent.answers] == [True, True, False]


def test_a_service_that_says_nothing_is_unreachable_after_the_timeout(objects):
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(PeerUnreachable, match="ReadTimeout"):
        Sent()(stow_peer(f"http://127.0.0.1:{silent.getsockname()[1]}"), objects, timeout_s=0.3)


def test_nobody_listening_is_unreachable(objects):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(PeerUnreachable, match="ConnectionError"):
            Sent()(stow_peer(f"http://127.0.0.1:{unused.getsockname()[1]}"), objects)


def test_without_its_token_nothing_is_sent(objects):
    with service() as at:
        with pytest.raises(PeerRefused, match="MISSING holds no bearer token"):
            Sent()(stow_peer(at.url, token_variable="MISSING"), objects)
        assert at.requests == []


def test_a_file_that_is_no_dicom_is_an_error_of_ours(tmp_path, objects):
    (tmp_path / "broken.dcm").write_bytes(b"no DICOM")
    broken = (ResultObject(**{**vars(objects[0]), "file": tmp_path / "broken.dcm"}),)
    with service() as at, pytest.raises(EncodingInvalid):
        Sent()(stow_peer(at.url), broken)


def test_check_asks_the_service_with_the_token_and_stores_nothing(objects):
    with service() as at:
        _, status = probe(stow_peer(at.url, token_variable="TOKEN"), environ=ENVIRON)
        assert status == 204
        assert at.requests[0]["Authorization"] == "Bearer s3cret"
        assert at.kept == {}
        at.search_status = 404
        assert probe(stow_peer(at.url))[1] == 404, "a service that only takes may answer anything"


def test_check_says_what_is_wrong_with_a_service(tmp_path):
    with service() as at:
        at.search_status = 401
        with pytest.raises(PeerRefused, match="not authorised"):
            probe(stow_peer(at.url))
        with pytest.raises(PeerRefused, match="no bearer token"):
            probe(stow_peer(at.url, token_variable="MISSING"), environ=ENVIRON)
        url = at.url
    with pytest.raises(PeerUnreachable):
        probe(stow_peer(url))


@pytest.mark.peer("orthanc")
def test_orthanc_takes_what_the_node_stores_by_stow_and_gives_it_back(tmp_path, objects):
    orthanc = Orthanc(tmp_path / "orthanc", dicomweb=True)
    try:
        again = result_object(tmp_path / "again", K.SR)
        everything = object_choice([kind.value for kind in DEFAULT_KINDS])
        sent = Sent()(stow_peer(orthanc.dicomweb_url), objects, choice=everything)
        assert all(answer.is_stored for answer in sent.answers)
        held = {entry["SOPInstanceUID"]: entry["ID"] for entry in orthanc.instances()}
        assert kinds(objects, held) == set(DEFAULT_KINDS)
        assert dcmread(BytesIO(orthanc.file(held[again.sop_instance_uid]))) == dcmread(again.file)
        # An answer that was lost: the same object goes again, and there is still one of it.
        Sent()(stow_peer(orthanc.dicomweb_url), (again,), choice=object_choice(["SR"]))
        assert len(orthanc.instances()) == len(held)
    finally:
        orthanc.close()
