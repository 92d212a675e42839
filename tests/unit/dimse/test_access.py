"""Who gets in, decided from values."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from dicom_node.core.delivery_terms import OwnTerms
from dicom_node.core.identifiers import AETitle
from dicom_node.core.peer import Peer, PeerTls, UserIdentity
from dicom_node.dimse.access import Admitted, Load, Refused, Requestor, admit, check_load, normalise_address
from dicom_node.dimse.addresses import HostAddresses

BOOK = {"pacs.example": frozenset({"192.0.2.1", "2001:db8::1"})}


def a_peer(**changes: object) -> Peer:
    values: dict[str, object] = {
        "name": "pacs", "ae_title": AETitle("PACS"), "host": "192.0.2.1", "port": 104, "may_send": True,
    }  # fmt: skip
    return Peer(**(values | changes))  # type: ignore[arg-type]


def decide(
    *peers: Peer,
    calling: str = "PACS",
    called: str = "US",
    address: str = "192.0.2.1",
    certificate: str | None = None,
    users: tuple[str, ...] = (),
):
    return admit(
        Requestor(calling_aet=calling, called_aet=called, address=address, certificate_sha256=certificate),
        peers=peers,
        own_aet="US",
        addresses_of=lambda host: BOOK.get(host, frozenset({host})),
        is_user=lambda user: user.user_name in users,
    )


def numbers(decision: Admitted | Refused) -> tuple[int, int, int]:
    assert isinstance(decision, Refused)
    return decision.result, decision.source, decision.reason


def test_the_configured_peer_gets_in():
    assert decide(a_peer()) == Admitted(peer=a_peer())


def test_a_peer_that_is_to_commit_gets_in_to_report_also_where_it_may_not_send():
    reports = a_peer(may_send=False, delivery=OwnTerms(storage_commitment=True))
    assert decide(reports) == Admitted(peer=reports)


def test_spaces_around_ae_titles_are_not_significant():
    assert isinstance(decide(a_peer(), calling=" PACS  ", called="US              "), Admitted)


def test_calling_somebody_else_is_refused_before_anything_else_is_said():
    assert numbers(decide(called="THEM")) == (1, 1, 7)


@pytest.mark.parametrize(
    ("peer", "rule"),
    [
        (a_peer(ae_title=AETitle("OTHER")), "calling_ae_title"),
        (a_peer(enabled=False), "calling_ae_title"),
        (a_peer(host="192.0.2.2"), "address"),
        (a_peer(may_send=False), "may_send"),
    ],
)
def test_whoever_may_not_send_is_not_recognised_and_the_log_knows_why(peer, rule):
    refused = decide(peer)
    assert numbers(refused) == (1, 1, 3)
    assert refused.rule == rule


def test_of_two_peers_with_one_ae_title_the_one_at_the_address_counts():
    far, near = a_peer(name="far", host="192.0.2.9"), a_peer(name="near")
    assert decide(far, near) == Admitted(peer=near)


@pytest.mark.parametrize("address", ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "2001:0db8:0:0::1"])
def test_a_peer_given_by_name_gets_in_from_each_of_its_addresses(address):
    assert isinstance(decide(a_peer(host="pacs.example"), address=address), Admitted)


def networks(*words: str):
    return tuple(ip_network(word) for word in words)


@pytest.mark.parametrize(
    ("address", "gets_in"),
    [
        ("10.1.255.255", True),
        ("::ffff:10.1.2.3", True),
        ("fd00::1", True),
        ("192.0.2.7", True),
        ("10.2.0.0", False),
        ("fe80::1%eth0", False),
        ("192.0.2.1", False),
    ],
)
def test_a_peer_with_networks_gets_in_from_each_of_them_and_not_from_its_host(address, gets_in):
    peer = a_peer(addresses=networks("10.1.0.0/16", "fd00::/8", "192.0.2.7/32"))
    decision = decide(peer, address=address)
    assert isinstance(decision, Admitted) is gets_in
    if not gets_in:
        assert decision.rule == "address"
        assert "10.1.0.0/16" in decision.why


PINNED = PeerTls(certificate_sha256="ab" * 32)


@pytest.mark.parametrize(
    ("tls", "certificate", "rule"),
    [
        (PeerTls(), None, "tls"),
        (PeerTls(), "", None),
        (PeerTls(), "cd" * 32, None),
        (PINNED, None, "tls"),
        (PINNED, "", "certificate"),
        (PINNED, "cd" * 32, "certificate"),
        (PINNED, "ab" * 32, None),
        (None, "cd" * 32, None),
    ],
)
def test_a_peer_with_tls_gets_in_encrypted_only_and_with_its_pinned_certificate_only(tls, certificate, rule):
    decision = decide(a_peer(tls=tls), certificate=certificate)
    if rule is None:
        assert isinstance(decision, Admitted)
    else:
        assert decision.rule == rule
        assert numbers(decision) == (1, 1, 3)


def test_a_peer_that_must_name_its_user_is_rejected_by_the_provider_where_it_does_not():
    peer = a_peer(must_identify_as=UserIdentity(user_name="ct1"))
    assert isinstance(decide(peer, users=("ct1",)), Admitted)
    assert numbers(decide(peer)) == (1, 2, 1)


def test_of_two_peers_with_one_ae_title_and_address_the_one_that_can_be_proven_counts():
    strict, lax = a_peer(name="strict", tls=PINNED), a_peer(name="lax", port=105)
    assert decide(strict, lax) == Admitted(peer=lax)
    assert decide(strict, lax, certificate="ab" * 32) == Admitted(peer=strict)


def test_a_zone_is_no_part_of_an_address():
    assert normalise_address("fe80::1%eth0") == "fe80::1"


@pytest.mark.parametrize(
    ("in_all", "from_there", "expected"),
    [(9, 4, None), (10, 0, "maximum_associations"), (9, 5, "maximum_per_address")],
)
def test_one_too_many_is_a_transient_refusal(in_all, from_there, expected):
    load = Load(open_associations=in_all, open_from_address=from_there, maximum=10, maximum_per_address=5)
    refused = check_load(load)
    assert (refused.rule if refused else None) == expected
    if refused:
        assert numbers(refused) == (2, 3, 2)


class Names:
    """A name server that counts questions, and fails on demand."""

    def __init__(self) -> None:
        self.questions = 0
        self.answer = frozenset({"192.0.2.1"})
        self.is_away = False
        self.now = 0.0

    def __call__(self, host: str) -> frozenset[str]:
        self.questions += 1
        if self.is_away:
            raise OSError("no name server")
        return self.answer

    def addresses(self) -> HostAddresses:
        return HostAddresses(resolve=self, ttl_s=60.0, monotonic=lambda: self.now)


def test_an_address_is_never_looked_up():
    names = Names()
    assert names.addresses()("::ffff:192.0.2.7") == {"192.0.2.7"}
    assert names.questions == 0


def test_a_name_is_looked_up_once_in_a_while():
    names = Names()
    addresses = names.addresses()
    addresses("pacs")
    names.now = 59.0
    names.answer = frozenset({"192.0.2.2"})
    assert addresses("pacs") == {"192.0.2.1"}
    names.now = 61.0
    assert addresses("pacs") == {"192.0.2.2"}
    assert names.questions == 2


def test_the_last_good_answer_serves_while_the_name_server_is_away():
    names = Names()
    addresses = names.addresses()
    addresses("pacs")
    names.is_away, names.now = True, 61.0
    assert addresses("pacs") == {"192.0.2.1"}
    assert addresses("pacs") == {"192.0.2.1"}
    assert names.questions == 2


def test_a_name_that_never_resolved_has_no_addresses():
    names = Names()
    names.is_away = True
    assert names.addresses()("pacs") == frozenset()
