"""Pages with something on each of them, served on loopback, and a browser that is logged in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from dicom_node.app.system import (
    Backup,
    Certificate,
    ConfiguredValue,
    Disk,
    Drift,
    DriftFinding,
    Gpu,
    ModelCard,
    Surroundings,
)
from dicom_node.app.verdicts import Verdicts
from dicom_node.core.account import Role
from dicom_node.core.commitment import CommitmentDuty, Reference
from dicom_node.core.errors import PeerRefused
from dicom_node.web.app import create_app
from dicom_node.web.server import WebServer
from tests.unit.app.node import CT, T0, Node, analysed, incoming, pacs, silenced
from tests.unit.app.quarantined import OTHER, set_aside
from tests.unit.web.builders import accounts, session, sources

POSITIVE = "1.2.1"
AROUND = Surroundings(
    versions=(("cspine-node", "1.2.3"), ("Python", "3.11")),
    disk=Disk(free=50_000_000_000, size=100_000_000_000, reserve=1_000_000_000),
    gpus=(Gpu(number="0", memory_used=1_000_000_000, memory_size=8_000_000_000, busy=0.5),),
    certificates=(Certificate(use="web", ends_at=T0 - timedelta(days=1)),),
    audit_waiting=3,
    drift=Drift(studies=40, findings=(DriftFinding(quantity="p_C1", verdict="watch", psi_excess=0.12),)),
    model=ModelCard(
        name="cspine-synthetic",
        version="0.6.0",
        sha256="ab" * 32,
        trained_on="Synthetic CT only",
        thresholds=(("C1", 0.15), ("patient_overall", 0.62)),
        metrics=(("validation.level_auc", "0.9"),),
    ),
    backup=Backup(at=T0 - timedelta(days=2), archive="/copy.tar", files=3, size_bytes=2_000_000),
)
CONFIGURATION = (
    ConfiguredValue(key="node.ae_title", value="CSPINE_AI", source="default"),
    ConfiguredValue(key="node.port", value="11112", source="node.toml:3"),
)


def busy_node(root: Path) -> Node:
    """A node on which every page has something to show."""
    node = Node(root, peers=(pacs(), pacs("viewer")))
    with silenced():
        node.pacs.failures.append(PeerRefused("pacs: SR was answered 0xA900"))
        for number, probability in enumerate((0.93, 0.1, 0.8, 0.2), start=1):
            study = f"1.2.{number}"
            node.analyzer.script.append(analysed(study, probability))
            node.receive_study(study=study)
            node.settle(turns=3)
        _judge(node)
        node.pacs.away.add("viewer")
        node.analyzer.script.append(analysed("1.2.5", 0.4))
        node.receive_study(study="1.2.5")
        node.settle(turns=6)
        node.receive(incoming(1, study="1.2.6"))
    with silenced():
        set_aside(node, incoming(1, study=POSITIVE, content=OTHER))
        set_aside(node, incoming(9, study=POSITIVE, header=None), readable=False)
    with node.uow() as uow:
        uow.commitments.take_on(
            CommitmentDuty(
                id=0,
                transaction_uid="2.25.1",
                calling_aet="SCANNER",
                peer="scanner",
                references=(Reference(sop_class_uid=CT, sop_instance_uid="1.2.1.1.1"),),
                asked_at=node.clock.now(),
                attempt=1,
                outcome="the scanner could not be reached",
            )
        )
        uow.commit()
    accounts(node).add("ann", Role.VIEWER, "", actor="a test")
    accounts(node).add_token("ann", role=Role.VIEWER, label="a script", days=30, actor="a test")
    return node


def _judge(node: Node) -> None:
    give = Verdicts(uow_factory=node.uow, clock=node.clock).give
    for week in range(4):
        give(POSITIVE, revision=1, false_positives=("C2",), remark="an old one", reader="ann")
        give("1.2.2", revision=1, missed=("C5",) if week % 2 else (), reader="ann")
        if week < 2:
            give(f"1.2.{week + 3}", revision=1, reader="bob")
        node.clock.advance(7 * 86_400)


@contextmanager
def served(node: Node, **changes: Any) -> Iterator[tuple[str, str]]:
    """The address of the pages, and the secret of an admin's session."""
    with served_as_it_is(node, **changes) as url:
        yield url, session(node, Role.ADMIN)


@contextmanager
def served_as_it_is(node: Node, **changes: Any) -> Iterator[str]:
    """The address of the pages, to which nobody has a key that was not given out before."""
    given: dict[str, Any] = {"surroundings": lambda: AROUND, "configuration": lambda: CONFIGURATION}
    app = create_app(sources(node, **given | changes), allowed_hosts=("127.0.0.1",))
    server = WebServer(app, host="127.0.0.1", port=0)
    server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()
