"""Who gets in, as a requestor sees it."""

from __future__ import annotations

import subprocess
from ipaddress import ip_network

import pytest
from pynetdicom import AE
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.sop_class import Verification

from dicom_node.core.errors import StorageUnavailable
from dicom_node.core.peer import UserIdentity
from dicom_node.dimse import counted
from dicom_node.dimse.echo import echo
from dicom_node.dimse.requestor import answer_of
from dicom_node.dimse.server import ReceiverLimits
from tests.builders.stock_scu import keeping_answers
from tests.integration.dimse_support import OWN_AET, instance, peer, running_node, wait_for, write
from tests.peers import DCMTK_ENVIRONMENT, require


def associate(port: int, *, calling: str = "SCANNER", called: str = OWN_AET):
    entity = AE(calling)
    entity.add_requested_context(Verification)
    entity.connection_timeout = entity.acse_timeout = 5
    return outcome(entity.associate("127.0.0.1", port, ae_title=called))


def outcome(association):
    """As the peer answered: pynetdicom may come back before the association knows, and may take a rejection for no
    connection (`answer_of`)."""
    wait_for(lambda: association.is_established or association.is_rejected or association.is_aborted, "the outcome")
    answer = answer_of(association)
    if answer is not None and answer.result:
        association.is_rejected, association.acceptor.primitive = True, answer
    return association


def rejection(association) -> tuple[int, int, int]:
    answer = association.acceptor.primitive
    return answer.result, answer.result_source, answer.diagnostic


def test_a_configured_peer_may_echo():
    with running_node() as node:
        association = associate(node.port)
        assert association.is_established
        assert keeping_answers(association).send_c_echo().Status == 0x0000
        association.release()
        node.wait_until_idle()
        assert node.associations.endings() == ["released"]


@pytest.mark.parametrize(
    ("calling", "called", "expected", "rule"),
    [
        ("STRANGER", OWN_AET, (1, 1, 3), "calling_ae_title"),
        ("SCANNER", "SOMEBODY", (1, 1, 7), "called_ae_title"),
        ("scanner", OWN_AET, (1, 1, 3), "calling_ae_title"),
    ],
)
def test_a_wrong_ae_title_is_rejected_with_the_reason_of_the_standard(calling, called, expected, rule):
    with running_node() as node:
        association = associate(node.port, calling=calling, called=called)
        assert association.is_rejected
        assert rejection(association) == expected
        node.wait_until_counted(counted.ASSOCIATIONS_REJECTED, rule)
        assert not node.associations.opened_


@pytest.mark.parametrize("changes", [{"host": "192.0.2.7"}, {"may_send": False}, {"enabled": False}])
def test_a_peer_that_may_not_send_from_here_is_rejected_like_an_unknown_one(changes):
    with running_node([peer(**changes)]) as node:
        association = associate(node.port)
        assert association.is_rejected
        assert rejection(association) == (1, 1, 3)


def test_a_peer_given_by_name_is_recognised_by_its_address():
    with running_node([peer(host="localhost")]) as node:
        association = associate(node.port)
        assert association.is_established
        association.release()


def test_a_peer_added_while_the_node_runs_gets_in():
    with running_node([]) as node:
        assert associate(node.port).is_rejected
        node.directory.entries.append(peer())
        association = associate(node.port)
        assert association.is_established
        association.release()


def test_one_association_too_many_is_rejected_for_now_and_gets_in_later():
    limits = ReceiverLimits(maximum_associations=2, acse_timeout_s=3.0, network_timeout_s=5.0)
    with running_node(limits=limits) as node:
        first, second = associate(node.port), associate(node.port)
        third = associate(node.port)
        assert rejection(third) == (2, 3, 2)
        first.release()
        second.release()
        node.wait_until_idle()
        again = associate(node.port)
        assert again.is_established
        again.release()


def test_one_address_cannot_take_every_place():
    limits = ReceiverLimits(maximum_associations_per_address=1, acse_timeout_s=3.0, network_timeout_s=5.0)
    with running_node(limits=limits) as node:
        first, second = associate(node.port), associate(node.port)
        assert rejection(second) == (2, 3, 2)
        node.wait_until_counted(counted.ASSOCIATIONS_REJECTED, "maximum_per_address")
        first.release()


def test_an_association_that_cannot_be_recorded_is_rejected_for_now():
    with running_node() as node:
        node.associations.failures.append(StorageUnavailable("disk I/O error"))
        association = associate(node.port)
        assert rejection(association) == (2, 3, 1)
        assert node.server.open_associations == 0


def test_an_end_that_cannot_be_recorded_at_once_is_recorded_later():
    with running_node() as node:
        association = associate(node.port)
        node.associations.failures.append(StorageUnavailable("disk I/O error"))
        association.release()
        node.wait_until_idle()
        assert node.associations.endings() == ["released"]


def test_a_peer_of_a_network_gets_in_from_anywhere_in_it():
    with running_node([peer(host="192.0.2.7", addresses=(ip_network("127.0.0.0/8"),))]) as node:
        assert echo(peer(OWN_AET, port=node.port), "SCANNER", 5.0).ok
        node.directory.entries[:] = [peer(addresses=(ip_network("10.0.0.0/8"),))]
        assert not echo(peer(OWN_AET, port=node.port), "SCANNER", 5.0).ok


CT1 = UserIdentity(user_name="ct1", passcode_variable="CT1_PASSCODE")


@pytest.mark.parametrize(
    ("user", "is_let_in"),
    [
        ([], False),
        (["-usr", "ct1"], False),
        (["-usr", "ct1", "-pwd", "wrong"], False),
        (["-usr", "ct1", "-pwd", "secret"], True),
        (["-usr", "ct1", "-pwd", "secret", "-rsp"], True),
    ],
)
def test_storescu_of_dcmtk_is_let_in_with_the_user_and_passcode_that_are_configured(user, is_let_in, tmp_path):
    file = write(tmp_path, instance(1))
    with running_node([peer(must_identify_as=CT1)], environ={"CT1_PASSCODE": "secret"}) as node:
        done = subprocess.run(
            [require("storescu", "dcmtk"), "-d", "-aet", "SCANNER", "-aec", OWN_AET, *user, "127.0.0.1",
             str(node.port), str(file)],
            env=DCMTK_ENVIRONMENT, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert (done.returncode == 0) is is_let_in, said
        assert len(node.receiving.instances) == is_let_in
        if not is_let_in:
            node.wait_until_counted(counted.ASSOCIATIONS_REJECTED, "user_identity")
            assert "Rejected Permanent" in said
        assert ("Server Response (not dumped) length: 0" in said) is ("-rsp" in user), said


def test_we_name_ourselves_to_a_peer_that_wants_to_know(monkeypatch):
    monkeypatch.setenv("OUR_PASSCODE", "secret")
    us = UserIdentity(user_name="ct1", passcode_variable="OUR_PASSCODE")
    with running_node([peer(must_identify_as=CT1)], environ={"CT1_PASSCODE": "secret"}) as node:
        assert echo(peer(OWN_AET, port=node.port, identify_as=us), "SCANNER", 5.0).ok
        monkeypatch.setenv("OUR_PASSCODE", "old")
        assert not echo(peer(OWN_AET, port=node.port, identify_as=us), "SCANNER", 5.0).ok
        monkeypatch.delenv("OUR_PASSCODE")
        assert "OUR_PASSCODE" in echo(peer(OWN_AET, port=node.port, identify_as=us), "SCANNER", 5.0).why


def test_where_a_passcode_cannot_be_read_nobody_gets_in_for_now():
    with running_node([peer(must_identify_as=CT1)], environ={}) as node:
        us = UserIdentity(user_name="ct1", passcode_file="/dev/null")
        assert not echo(peer(OWN_AET, port=node.port, identify_as=us), "SCANNER", 5.0).ok
        entity = AE("SCANNER")
        entity.add_requested_context(Verification)
        item = UserIdentityNegotiation()
        item.user_identity_type, item.primary_field, item.secondary_field = 2, b"ct1", b"x"
        association = outcome(entity.associate("127.0.0.1", node.port, ae_title=OWN_AET, ext_neg=[item]))
        assert rejection(association) == (2, 3, 1)
        assert node.server.open_associations == 0
