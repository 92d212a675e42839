"""A C-STORE request as bytes: as pynetdicom writes it, in PDUs as long as the peer allows."""

from __future__ import annotations

from io import BytesIO

import pytest
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu import P_DATA_TF

from dicom_node.dimse.outgoing import p_data, store_request

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize("instance", ["1.2.3", "1.2.34"])
def test_the_command_set_is_the_one_that_pynetdicom_writes(instance: str) -> None:
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 513, 0x0000
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, instance
    primitive.DataSet = BytesIO(b"\x08\x00\x05\x00CS\x00\x00")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    expected = encode(message.command_set, True, True)
    assert store_request(message_id=513, sop_class_uid=CT, sop_instance_uid=instance) == expected


@pytest.mark.parametrize("length", [0, 1, 10, 4089, 4090, 4091, 20_000])
@pytest.mark.parametrize("is_command", [True, False])
def test_pdus_are_full_and_the_last_fragment_says_so(length: int, is_command: bool) -> None:
    message = bytes(number % 251 for number in range(length))
    pieces = list(p_data(5, message, is_command=is_command, maximum_length=4096))
    pdus = [P_DATA_TF() for _ in pieces[::2]]
    for pdu, head, fragment in zip(pdus, pieces[::2], pieces[1::2], strict=True):
        pdu.decode(head + bytes(fragment))
        assert pdu.pdu_length == len(fragment) + 6
    values = [value for pdu in pdus for value in pdu.presentation_data_value_items]
    assert [value.presentation_context_id for value in values] == [5] * len(pdus)
    assert b"".join(value.presentation_data_value[1:] for value in values) == message
    assert [value.presentation_data_value[0] for value in values] == [
        (1 if is_command else 0) | (2 if number == len(values) - 1 else 0) for number in range(len(values))
    ]
    assert all(pdu.pdu_length == 4096 for pdu in pdus[:-1])


@pytest.mark.parametrize("maximum_length", [0, 1 << 31])
def test_a_peer_without_a_limit_gets_pdus_of_a_sensible_length(maximum_length: int) -> None:
    heads = list(p_data(1, bytes(1 << 20), is_command=False, maximum_length=maximum_length))[::2]
    assert len(heads) == 5
    assert max(int.from_bytes(head[2:6], "big") for head in heads) == 1 << 18


def test_fragments_are_of_even_length_but_for_the_last() -> None:
    fragments = list(p_data(1, bytes(101), is_command=False, maximum_length=27))[1::2]
    assert {len(fragment) for fragment in fragments[:-1]} == {20}
