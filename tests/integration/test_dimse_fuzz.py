"""Bytes nobody should send, to a running receiver: spoilt conversations, and data sets by themselves.

After each: the connection is ended by the node, no thread died of it, nothing was answered with Success that was not
stored, no failure was one that nobody foresaw, and the next good peer is served. The corpus is the same every time;
`make fuzz` (FUZZ_SECONDS, ten minutes by default) looks for more.
"""

from __future__ import annotations

import os
import resource
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from dicom_node.app import counting
from dicom_node.dimse import association_request
from dicom_node.dimse.contexts import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, encoding_of
from dicom_node.dimse.data_set import DataSetUnreadable, Head, read_head
from dicom_node.dimse.echo import echo
from dicom_node.dimse.server import ReceiverLimits
from tests.builders import dicom_streams
from tests.integration.dimse_support import (
    OWN_AET,
    Node,
    data_set_bytes,
    encode,
    instance,
    open_socket,
    peer,
    running_node,
)

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
EXAMPLES = 40
LIMITS = ReceiverLimits(
    maximum_instance_bytes=200_000,
    maximum_inflated_bytes=1 << 20,
    requests_per_second_per_address=100_000.0,
    acse_timeout_s=10.0,
    network_timeout_s=10.0,
)
MOST_GROWTH_MB = 256.0
SLOWEST_S = 20.0


@dataclass
class Watched:
    """A running node, and what died in it."""

    node: Node
    dead: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with running_node(limits=LIMITS) as node:
        watched = Watched(node)
        before = threading.excepthook
        threading.excepthook = lambda what: watched.dead.append(f"{what.exc_type.__name__}: {what.exc_value}")
        try:
            yield watched
        finally:
            threading.excepthook = before


def converse(port: int, stream: bytes, cuts: tuple[int, ...] = (), *, patience_s: float = 0.05) -> bytes:
    """What the node answers until it ends the connection, which it must."""
    answer = b""
    with open_socket(port) as connection:
        try:
            # The rest is worth something only after the request was accepted.
            request, stream = stream[: first_pdu(stream)], stream[first_pdu(stream) :]
            connection.sendall(request)
            answer += some(connection, 10 * patience_s)
            cuts = tuple(cut for cut in cuts if cut < len(stream))
            for start, end in zip((0, *cuts), (*cuts, len(stream)), strict=True):
                connection.sendall(stream[start:end])
            # A connection that is half closed is over for the node: it gets a moment for its answers first.
            while more := some(connection, patience_s):
                answer += more
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(SLOWEST_S)
            while more := connection.recv(65_536):
                answer += more
        except TimeoutError:
            raise AssertionError(f"the connection was not ended in {SLOWEST_S} s after {stream!r}") from None
        except OSError:  # the node ended it first
            pass
    return answer


def first_pdu(stream: bytes) -> int:
    length = struct.unpack(">L", stream[2:6])[0] + 6 if len(stream) >= 6 else len(stream)
    return min(length, len(stream))


def some(connection: socket.socket, patience_s: float) -> bytes:
    """What the node says now; nothing where it waits for more, or has ended the connection."""
    connection.settimeout(patience_s)
    try:
        return connection.recv(65_536)
    except TimeoutError:
        return b""


def successes(answer: bytes) -> int:
    """C-STORE-RSP with Status 0x0000 in the node's own bytes, which are well-formed."""
    count = at = 0
    while at + 6 <= len(answer):
        length = struct.unpack_from(">L", answer, at + 2)[0]
        body = answer[at + 6 : at + 6 + length]
        if answer[at] == 0x04:
            is_store = struct.pack("<HHLH", 0x0000, 0x0100, 2, 0x8001) in body
            count += is_store and struct.pack("<HHLH", 0x0000, 0x0900, 2, 0x0000) in body
        at += 6 + length
    return count


def withstand(watched: Watched, stream: bytes, cuts: tuple[int, ...] = ()) -> None:
    node = watched.node
    before = len(node.receiving.instances)
    answered = successes(converse(node.port, stream, cuts))
    node.wait_until_idle()
    stored = node.receiving.instances[before:]
    assert answered <= len(stored), stream
    assert not watched.dead, (watched.dead, stream)
    assert not node.counts.counted[(counting.INSTANCES_REJECTED, "internal_error")], stream
    assert len(node.associations.opened_) == len(node.associations.closed_), stream
    del node.receiving.instances[:]


def keep_looking(check: Callable[..., None], examples: int = EXAMPLES, **strategies: st.SearchStrategy[Any]) -> None:
    """Try `check` on what the strategies give, or with other seeds for the seconds that were asked for; memory stays
    bounded."""
    before, number, ends_at = peak_mb(), 0, time.monotonic() + SECONDS / 3
    quick = settings(
        max_examples=examples if not SECONDS else 100,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    while not number or time.monotonic() < ends_at:

        def once(**values: Any) -> None:
            check(**values)

        seed(number)(quick(given(**strategies)(once)))()
        number += 1
    assert peak_mb() - before < MOST_GROWTH_MB


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def test_the_good_conversations_are_good(watched):
    answers = {
        name: converse(watched.node.port, b"".join(stream), patience_s=1.0)
        for name, stream in dicom_streams.conversations().items()
    }
    watched.node.wait_until_idle()
    assert {name: successes(answer) for name, answer in answers.items()} == {
        "echo": 0, "store": 1, "two stores": 2, "deflated": 0, "commitment": 0, "aborted": 0,
    }  # fmt: skip
    assert len(watched.node.receiving.instances) == 3
    del watched.node.receiving.instances[:]


def test_the_corpus_of_spoilt_conversations_is_withstood(watched):
    for _name, stream in dicom_streams.corpus():
        withstand(watched, stream)
    assert echo(peer(OWN_AET, port=watched.node.port), "SCANNER", 10.0).ok


PLACES = st.floats(0.0, 1.0, exclude_max=True, allow_nan=False)
SPOILS = st.lists(st.tuples(st.sampled_from(list(dicom_streams.SPOILS)), PLACES, st.integers(0, 1 << 16)), max_size=6)


def test_conversations_spoilt_in_any_way_and_sent_in_any_pieces_are_withstood(watched, capsys):
    conversations = dicom_streams.conversations()
    tried = 0

    def spoilt(name: str, spoils: list[tuple[str, float, int]], cuts: list[float]) -> None:
        nonlocal tried
        tried += 1
        stream = dicom_streams.spoilt(conversations[name], spoils)
        withstand(watched, stream, tuple(sorted(int(cut * len(stream)) for cut in cuts)))

    keep_looking(spoilt, name=st.sampled_from(list(conversations)), spoils=SPOILS, cuts=st.lists(PLACES, max_size=3))
    assert echo(peer(OWN_AET, port=watched.node.port), "SCANNER", 10.0).ok
    with capsys.disabled():
        sys.stdout.write(f"\nfuzz: {tried} spoilt conversations withstood\n" if SECONDS else "")


def test_any_bytes_after_a_good_request_are_withstood(watched):
    def noisy(noise: bytes) -> None:
        withstand(watched, dicom_streams.request() + noise)

    keep_looking(noisy, 15, noise=st.binary(max_size=600))


def head_of(data: bytes, notation: str) -> Head | None:
    begun = time.perf_counter()
    try:
        return read_head(data, encoding_of(notation), maximum_inflated_bytes=1 << 20)
    except DataSetUnreadable:
        return None
    finally:
        assert time.perf_counter() - begun < SLOWEST_S


def test_data_sets_spoilt_in_any_way_are_read_or_refused(capsys):
    whole = data_set_bytes(encode(instance(1, rows=4)))
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(whole) + deflater.flush()
    notations = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED)
    tried = 0

    def spoilt(notation: str, spoils: list[tuple[str, float, int]], repeated: int) -> None:
        nonlocal tried
        tried += 1
        head_of(dicom_streams.spoilt([deflated if notation == DEFLATED else whole] * repeated, spoils), notation)

    keep_looking(spoilt, notation=st.sampled_from(notations), spoils=SPOILS, repeated=st.integers(1, 40))
    with capsys.disabled():
        sys.stdout.write(f"\nfuzz: {tried} spoilt data sets read or refused\n" if SECONDS else "")


@given(noise=st.binary(max_size=400))
@settings(max_examples=100, database=None)
def test_any_bytes_are_a_request_or_a_sentence_about_why_not(noise):
    good = dicom_streams.request()
    assert association_request.problem_of(good) == ""
    for pdu in (noise, good[:80] + noise, good[: len(good) - len(noise)] + noise):
        assert isinstance(association_request.problem_of(pdu), str)
