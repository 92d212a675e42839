"""Who gets in, as a requestor sees it."""

from __future__ import annotations

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from dicom_node.core.errors import StorageUnavailable
from dicom_node.dimse import counted
from dicom_node.dimse.server import ReceiverLimits
from tests.integration.dimse_support import OWN_AET, peer, running_node


def associate(port: int, *, calling: str = "SCANNER", called: str = OWN_AET):
    entity = AE(calling)
    entity.add_requested_context(Verification)
    entity.connection_timeout = entity.acse_timeout = 5
    return entity.associate("127.0.0.1", port, ae_title=called)


def rejection(association) -> tuple[int, int, int]:
    answer = association.acceptor.primitive
    return answer.result, answer.result_source, answer.diagnostic


def test_a_configured_peer_may_echo():
    with running_node() as node:
        association = associate(node.port)
        assert association.is_established
        assert association.send_c_echo().Status == 0x0000
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
        assert node.counts.counted[(counted.ASSOCIATIONS_REJECTED, rule)] == 1
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
        assert node.counts.counted[(counted.ASSOCIATIONS_REJECTED, "maximum_per_address")] == 1
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
