"""What an upper layer may be sent: good conversations as lists of PDUs, and ways to spoil them.

A conversation is bytes from the first A-ASSOCIATE-RQ to the end. `spoilt` is a pure function of its arguments, so that
a seed, a corpus and Hypothesis all make the same streams again.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from tests.integration.dimse_support import CT_IMAGE, OWN_AET, data_set_bytes, encode, instance
from tests.integration.test_dimse_bad_input import command, element, pdata

VERIFICATION = "1.2.840.10008.1.1"
PUSH_MODEL = "1.2.840.10008.1.20.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
RELEASE = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
ABORT = b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00"
_INTERESTING = (0x00, 0x01, 0x02, 0x10, 0x20, 0x50, 0x7F, 0x80, 0xFE, 0xFF)

Conversation = list[bytes]
Spoil = Callable[[Conversation, float, int], Conversation]


def request(calling: str = "SCANNER") -> bytes:
    """A-ASSOCIATE-RQ with every kind of item that is met."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = calling, OWN_AET
    contexts = [
        build_context(VERIFICATION),
        build_context(CT_IMAGE, ExplicitVRLittleEndian),
        build_context(CT_IMAGE, DEFLATED),
        build_context(PUSH_MODEL),
    ]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = contexts
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16_384
    implementation.implementation_class_uid = "1.2.3"
    role, extended, user = SCP_SCU_RoleSelectionNegotiation(), SOPClassExtendedNegotiation(), UserIdentityNegotiation()
    role.sop_class_uid, role.scu_role, role.scp_role = PUSH_MODEL, True, True
    extended.sop_class_uid, extended.service_class_application_information = CT_IMAGE, b"\2\0\3\0\1\0"
    user.user_identity_type, user.primary_field, user.secondary_field = 2, b"somebody", b"secret"
    primitive.user_information = [length, implementation, role, extended, user]
    return A_ASSOCIATE_RQ(primitive).encode()


def store(number: int = 1, *, context_id: int = 3, fragment_bytes: int = 200) -> Conversation:
    """C-STORE of a small CT image in fragments."""
    whole = data_set_bytes(encode(instance(number, rows=4)))
    uid = str(instance(number).SOPInstanceUID).encode()
    pieces = [whole[at : at + fragment_bytes] for at in range(0, len(whole), fragment_bytes)]
    fragments = [pdata(context_id, 0x00, piece) for piece in pieces[:-1]]
    return [pdata(context_id, 0x03, command(sop_instance=uid)), *fragments, pdata(context_id, 0x02, pieces[-1])]


def echo() -> Conversation:
    """C-ECHO."""
    body = element(0x0002, VERIFICATION.encode()) + element(0x0100, b"\x30\x00") + element(0x0110, b"\x01\x00")
    body += element(0x0800, b"\x01\x01")
    return [pdata(1, 0x03, element(0x0000, struct.pack("<L", len(body))) + body)]


def commitment() -> Conversation:
    """N-ACTION for storage commitment, with an empty data set."""
    body = element(0x0003, PUSH_MODEL.encode()) + element(0x0100, b"\x30\x01") + element(0x0110, b"\x01\x00")
    body += element(0x0800, b"\x01\x00") + element(0x1001, b"1.2.840.10008.1.20.1.1") + element(0x1008, b"\x01\x00")
    return [pdata(7, 0x03, element(0x0000, struct.pack("<L", len(body))) + body), pdata(7, 0x02, b"\0" * 8)]


def conversations() -> dict[str, Conversation]:
    """Good ones, by name."""
    return {
        "echo": [request(), *echo(), RELEASE],
        "store": [request(), *store(), RELEASE],
        "two stores": [request(), *store(1), *echo(), *store(2, fragment_bytes=60)],
        "deflated": [request(), *store(context_id=5), RELEASE],
        "commitment": [request(), *commitment(), RELEASE],
        "aborted": [request(), *store()[:2], ABORT],
    }


def _flip(stream: Conversation, where: float, value: int) -> Conversation:
    return _at_byte(
        stream, where, lambda piece, at: piece[:at] + bytes([piece[at] ^ (value % 255 + 1)]) + piece[at + 1 :]
    )


def _set(stream: Conversation, where: float, value: int) -> Conversation:
    byte = bytes([_INTERESTING[value % len(_INTERESTING)]])
    return _at_byte(stream, where, lambda piece, at: piece[:at] + byte + piece[at + 1 :])


def _insert(stream: Conversation, where: float, value: int) -> Conversation:
    noise = random.Random(value).randbytes(value % 64 + 1)
    return _at_byte(stream, where, lambda piece, at: piece[:at] + noise + piece[at:])


def _delete(stream: Conversation, where: float, value: int) -> Conversation:
    return _at_byte(stream, where, lambda piece, at: piece[:at] + piece[at + value % 64 + 1 :])


def _word(stream: Conversation, where: float, value: int) -> Conversation:
    """Two or four bytes, which lengths are."""
    word = (b"\xff\xff", b"\xff\xff\xff\xff", b"\0\0", b"\0\0\0\0", b"\0\0\0\1", b"\x7f\xff\xff\xff")[value % 6]
    return _at_byte(stream, where, lambda piece, at: piece[:at] + word + piece[at + len(word) :])


def _double(stream: Conversation, where: float, value: int) -> Conversation:
    at = _which(stream, where)
    return stream[:at] + [stream[at]] * (value % 5 + 2) + stream[at + 1 :]


def _leave_out(stream: Conversation, where: float, value: int) -> Conversation:
    at = _which(stream, where)
    return stream[:at] + stream[at + 1 + value % 2 :]


def _swap(stream: Conversation, where: float, value: int) -> Conversation:
    one, other = _which(stream, where), value % len(stream)
    swapped = list(stream)
    swapped[one], swapped[other] = swapped[other], swapped[one]
    return swapped


def _cut(stream: Conversation, where: float, value: int) -> Conversation:
    at = _which(stream, where)
    return [*stream[:at], stream[at][: value % (len(stream[at]) + 1)]]


def _length(stream: Conversation, where: float, value: int) -> Conversation:
    """The PDU's own length, a little or a lot off."""
    at = _which(stream, where)
    off = (-1, 1, -4, 4, 1 << 20, 1 << 31)[value % 6]
    length = (struct.unpack(">L", stream[at][2:6])[0] + off) % (1 << 32) if len(stream[at]) >= 6 else 0
    return [*stream[:at], stream[at][:2] + struct.pack(">L", length) + stream[at][6:], *stream[at + 1 :]]


SPOILS: dict[str, Spoil] = {
    spoil.__name__.strip("_"): spoil
    for spoil in (_flip, _set, _insert, _delete, _word, _double, _leave_out, _swap, _cut, _length)
}


def spoilt(stream: Conversation, spoils: list[tuple[str, float, int]]) -> bytes:
    """The conversation after each (name, place from 0 to 1, any number) of `spoils`."""
    for name, where, value in spoils:
        if stream:
            stream = SPOILS[name](stream, where, value)
    return b"".join(stream)


def corpus(each: int = 3) -> Iterator[tuple[str, bytes]]:
    """The same streams every time: each conversation as it is, and spoilt in every way at `each` places."""
    for name, stream in conversations().items():
        yield name, b"".join(stream)
        for spoil in SPOILS:
            numbers = random.Random(f"{name} {spoil}")
            for _ in range(each):
                where, value = numbers.random(), numbers.randrange(1 << 16)
                yield f"{name}, {spoil} {where:.3f} {value}", spoilt(stream, [(spoil, where, value)])


def _which(stream: Conversation, where: float) -> int:
    return min(int(where * len(stream)), len(stream) - 1)


def _at_byte(stream: Conversation, where: float, change: Callable[[bytes, int], bytes]) -> Conversation:
    place = where * len(stream)
    at = _which(stream, where)
    piece = stream[at]
    if not piece:
        return stream
    inside = min(int((place - at) * len(piece)), len(piece) - 1)
    return [*stream[:at], change(piece, inside), *stream[at + 1 :]]
