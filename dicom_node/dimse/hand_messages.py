"""What the main process and a hand say to each other about one association (hand_reader, hand_clerk).

A hand asks and tells, the main process answers; `End` alone comes unasked. Both ends are this program, run by the same
user from the same files, so messages are pickled. Data sets and bytes that go back follow their message as they are, so
that neither side holds them twice.
"""

from __future__ import annotations

import pickle
import select
import socket
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from dicom_node.app.receive_instance import InstanceHeader
from dicom_node.ports import StoredFile

_head = struct.Struct(">LQ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a hand must know of an association. `contexts` gives abstract and transfer syntax of each accepted one.

    `granted_bytes` of memory are its own from the begin. `silence_s` may pass between two PDUs, and inside one.
    """

    contexts: dict[int, tuple[str, str]]
    calling_aet: str
    called_aet: str
    association_id: str
    longest_pdu: int
    longest_answer: int
    longest_instance: int
    longest_inflated: int
    granted_bytes: int
    silence_s: float


@dataclass(frozen=True, slots=True)
class Kept:
    """A C-STORE-RQ without fault, whose file is durable; wants an Answer."""

    context_id: int
    header: InstanceHeader
    sop_class_uid: str
    sop_instance_uid: str
    stored: StoredFile


@dataclass(frozen=True, slots=True)
class Asked:
    """A C-STORE-RQ that the main process has to judge; its data set follows. Wants an Answer."""

    context_id: int
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Echoed:
    """A C-ECHO-RQ was answered."""


@dataclass(frozen=True, slots=True)
class More:
    """`count` bytes of memory more are needed; wants a Grant."""

    count: int


@dataclass(frozen=True, slots=True)
class Less:
    """`count` bytes of memory are not needed any more."""

    count: int


class Why(StrEnum):
    """Why a connection comes back."""

    OTHER = "what came next is not a hand's; it follows, and the main process goes on with it"
    CLOSED = "the connection ended"
    BROKEN = "what came is no protocol data unit, or more than there may be"
    SILENT = "nothing came"
    ENDED = "the main process wanted it"


@dataclass(frozen=True, slots=True)
class Back:
    """The hand does not touch the connection any more. The last message."""

    why: Why
    rule: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The status of a C-STORE-RSP and its Error Comment."""

    status: int
    comment: str


@dataclass(frozen=True, slots=True)
class Grant:
    """Whether the memory is there."""

    is_given: bool


@dataclass(frozen=True, slots=True)
class End:
    """Finish the request under way and come back."""


Message = Kept | Asked | Echoed | More | Less | Back | Answer | Grant | End


class Channel:
    """One end of a pair of stream sockets; for one thread. Every method raises OSError where the other end is gone."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def send(self, message: Message, tail: bytes | memoryview = b"") -> None:
        """`message` is on its way, and `tail` behind it."""
        encoded = pickle.dumps(message)
        self.connection.sendall(_head.pack(len(encoded), len(tail)) + encoded)
        if len(tail):
            self.connection.sendall(tail)

    def receive(self) -> tuple[Message, int]:
        """The next message, waited for, and how many bytes follow it: they must be read with `read_tail`."""
        length, tail = _head.unpack(self._read(_head.size))
        return cast(Message, pickle.loads(self._read(length))), tail

    def read_tail(self, count: int) -> bytearray:
        """The `count` bytes behind the last message."""
        return self._read(count)

    @property
    def has_something(self) -> bool:
        """Whether a message has begun to come, or the other end is gone."""
        poller = select.poll()
        poller.register(self.connection, select.POLLIN)
        return bool(poller.poll(0))

    def close(self) -> None:
        """The other end will notice. Twice is once."""
        self.connection.close()

    def _read(self, count: int) -> bytearray:
        came = bytearray(count)
        view, filled = memoryview(came), 0
        while filled < count:
            got = self.connection.recv_into(view[filled:])
            if not got:
                raise ConnectionError("the other process has gone")
            filled += got
        return came
