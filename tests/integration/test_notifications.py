"""A listener from a library of its own gets a well-formed ORU^R01; a webhook's receiver verifies the signature."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.mllp import AbstractHandler, MLLPServer
from hl7apy.parser import parse_message

from dicom_node.core.delivery import Channel, DeliveryState
from dicom_node.core.errors import PeerBusy, PeerRefused, PeerUnreachable
from dicom_node.notify.mllp import Hl7Notifier, Listener
from dicom_node.notify.oru import Parties
from dicom_node.notify.webhook import Receiver, WebhookNotifier
from tests.builders.notices import notice
from tests.peers import require
from tests.unit.app.node import STUDY, FakeClock, Node, silenced

SECRET = "correct horse battery staple"


@dataclass
class Heard:
    """What the listener got, and what it answers next."""

    messages: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)


class _Acknowledging(AbstractHandler):
    def __init__(self, message: str, heard: Heard) -> None:
        super().__init__(message)
        self._heard = heard

    def reply(self) -> str:
        self._heard.messages.append(self.incoming_message)
        control_id = self.incoming_message.split("\r")[0].split("|")[9]
        code = self._heard.codes.pop(0) if self._heard.codes else "AA"
        head = "MSH|^~\\&|RIS||CSPINE_AI||20260301120032||ACK^R01^ACK|1|P|2.5.1"
        return f"\x0b{head}\rMSA|{code}|{control_id}\r\x1c\r"


@contextmanager
def served(server: Any) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


@contextmanager
def listener(heard: Heard) -> Iterator[int]:
    with served(MLLPServer("127.0.0.1", 0, {"ORU^R01^ORU_R01": (_Acknowledging, heard)}, timeout=5)) as port:
        yield port


def hl7_to(port: int, timeout_s: float = 5.0, tls: ssl.SSLContext | None = None) -> Hl7Notifier:
    at = Listener(host="127.0.0.1", port=port, timeout_s=timeout_s, tls=tls)
    return Hl7Notifier(at, Parties(sending_application="CSPINE_AI", receiving_application="RIS"), clock=FakeClock())


@contextmanager
def raw_listener(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Takes one connection, reads the message, and lets `answer` do the rest."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            while not connection.recv(65_536).endswith(b"\x1c\r"):
                pass
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(timeout=10)


def test_a_listener_of_another_library_gets_a_well_formed_oru_r01_for_a_positive_study(tmp_path):
    heard = Heard()
    with silenced(), listener(heard) as port:
        node = Node(tmp_path)
        node.notifiers = {Channel.HL7: hl7_to(port)}
        node.restart()
        node.receive_study(2)
        node.close_now()
        node.settle(turns=3)
    (told,) = [delivery for delivery in node.deliveries(STUDY) if delivery.channel is Channel.HL7]
    assert (told.state, told.failure) == (DeliveryState.STORED, "")
    (text,) = heard.messages
    message = parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
    assert message.validate()
    assert (message.name, message.version) == ("ORU_R01", "2.5.1")
    result = message.oru_r01_patient_result
    assert result.oru_r01_patient.pid.pid_5.pid_5_1.to_er7() == "Doe"
    observations = [entry.obx for entry in result.oru_r01_order_observation.oru_r01_observation]
    rows = {obx.obx_4.to_er7(): obx for obx in observations}
    assert (rows["C2"].obx_5.to_er7(), rows["C2"].obx_8.to_er7()) == ("90.0", "A")
    assert (rows["C1"].obx_5.to_er7(), rows["C1"].obx_8.to_er7()) == ("10.0", "N")
    assert (rows["C7"].obx_5.to_er7(), rows["C7"].obx_11.to_er7()) == ("", "X")
    assert rows["overall"].obx_8.to_er7() == "A"


def test_a_listener_that_is_not_ready_is_asked_again_until_it_acknowledges(tmp_path):
    heard = Heard(codes=["AR", "AR"])
    with silenced(), listener(heard) as port:
        node = Node(tmp_path)
        node.notifiers = {Channel.HL7: hl7_to(port)}
        node.restart()
        node.receive_study(2)
        node.close_now()
        node.settle(turns=5)
    assert len(heard.messages) == 3
    assert len({message.split("|")[9] for message in heard.messages}) == 1, "one message, told three times"
    (told,) = [delivery for delivery in node.deliveries(STUDY) if delivery.channel is Channel.HL7]
    assert (told.state, told.attempt) == (DeliveryState.STORED, 3)


def test_names_of_all_scripts_arrive_as_they_are():
    heard = Heard()
    with listener(heard) as port:
        hl7_to(port).tell(notice())
    assert "Müller^Jörg" in heard.messages[0]


def test_a_listener_that_says_nothing_is_given_up_after_the_timeout():
    with raw_listener(lambda connection: connection.recv(1)) as port, pytest.raises(PeerUnreachable):
        hl7_to(port, timeout_s=0.3).tell(notice())


def test_a_listener_that_hangs_up_has_not_acknowledged():
    with raw_listener(lambda connection: None) as port, pytest.raises(PeerBusy, match="without an acknowledgement"):
        hl7_to(port).tell(notice())


def test_an_endless_answer_is_not_read_to_its_end():
    def pour(connection: socket.socket) -> None:
        try:
            while True:
                connection.sendall(b"x" * 65_536)
        except OSError:
            pass

    with raw_listener(pour) as port, pytest.raises(PeerBusy, match="no whole acknowledgement"):
        hl7_to(port).tell(notice())


def test_nobody_listening_is_unreachable():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(PeerUnreachable, match="cannot be reached"):
            hl7_to(unused.getsockname()[1]).tell(notice())


@dataclass
class Posted:
    """Requests that came, and the statuses to answer with."""

    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


@contextmanager
def webhook(posted: Posted) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.requests.append((dict(self.headers.items()), body))
            status = posted.statuses.pop(0) if posted.statuses else 204
            self.send_response(status)
            if status in (301, 302, 307):
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"http://127.0.0.1:{port}/positives"


def is_genuine(headers: dict[str, str], body: bytes) -> bool:
    """What a receiver does, written from the documentation alone."""
    signed = headers["X-Cspine-Timestamp"].encode() + b"." + body
    expected = "v1=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(headers["X-Cspine-Signature"], expected)


def webhook_to(url: str, timeout_s: float = 5.0, **environ: str) -> WebhookNotifier:
    receiver = Receiver(url=url, secret_variable="SECRET", timeout_s=timeout_s)
    return WebhookNotifier(receiver, clock=FakeClock(), environ=environ or {"SECRET": SECRET})


def test_a_receiver_of_the_webhook_verifies_the_signature_and_finds_no_patient():
    posted = Posted()
    with webhook(posted) as url:
        assert webhook_to(url).tell(notice()) == "the webhook answered 204"
    ((headers, body),) = posted.requests
    assert is_genuine(headers, body)
    assert not is_genuine(headers, body + b" ")
    assert int(headers["X-Cspine-Timestamp"]) == int(FakeClock().now().timestamp())
    assert headers["X-Cspine-Notice"] == notice().id
    told = json.loads(body)
    assert told["event"] == "positive_result"
    assert told["study_instance_uid"] == "1.2.3"
    assert [level["level"] for level in told["levels"] if level["fracture"]] == ["C2"]
    assert [level["level"] for level in told["levels"] if level["fracture"] is None] == ["C7"]
    assert not any(word in body.decode() for word in ("Müller", "M\\u00fcller", "P|1", "A1"))


@pytest.mark.parametrize(
    ("status", "error"),
    [(500, PeerBusy), (503, PeerBusy), (429, PeerBusy), (400, PeerRefused), (401, PeerRefused), (302, PeerRefused)],
)
def test_a_status_of_the_webhook_says_whether_it_is_tried_again(status, error):
    posted = Posted(statuses=[status])
    with webhook(posted) as url, pytest.raises(error, match=str(status)):
        webhook_to(url).tell(notice())
    assert len(posted.requests) == 1, "a redirect is not followed"


def test_a_webhook_that_does_not_answer_is_given_up_after_the_timeout():
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(PeerUnreachable, match="ReadTimeout"):
        webhook_to(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout_s=0.3).tell(notice())


def test_a_webhook_is_never_sent_unsigned():
    posted = Posted()
    with webhook(posted) as url, pytest.raises(PeerRefused, match="SECRET holds no secret"):
        webhook_to(url, SECRET="").tell(notice())
    assert posted.requests == []


def test_a_certificate_that_nobody_vouches_for_is_not_spoken_to(tmp_path: Path):
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                try:
                    with context.wrap_socket(connection, server_side=True) as secured:
                        heard.append(secured.recv(65_536))
                        control_id = heard[-1].split(b"|")[9]
                        secured.sendall(b"\x0bMSH|^~\\&|RIS\rMSA|AA|" + control_id + b"\r\x1c\r")
                except ssl.SSLError:
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(PeerUnreachable):
            hl7_to(port, tls=ssl.create_default_context()).tell(notice())
        assert heard == []
        trusting = ssl.create_default_context(cafile=str(certificate))
        assert "AA" in hl7_to(port, tls=trusting).tell(notice())
        thread.join(timeout=10)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        require("openssl", "openssl"),
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
