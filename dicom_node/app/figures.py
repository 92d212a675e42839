"""What a node has before it, in numbers: for the metrics page and for `cspine-node top`. No patient is in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dicom_node.core.circuit import Circuit
from dicom_node.core.delivery import Channel, DeliveryState
from dicom_node.core.job import JobState
from dicom_node.core.quarantine import QuarantineTotals
from dicom_node.core.study import StudyState
from dicom_node.core.tally import Tally
from dicom_node.ports import UnitOfWork


@dataclass(frozen=True, kw_only=True)
class Figures:
    """As of one moment. What has no tally is not there once; `circuits` are of receivers that could not be reached."""

    studies: Mapping[StudyState, Tally]
    jobs: Mapping[JobState, Tally]
    deliveries: Mapping[tuple[Channel, str, DeliveryState], Tally]
    circuits: tuple[Circuit, ...]
    unfinished_duties: int
    quarantine: QuarantineTotals


def node_figures(uow: UnitOfWork) -> Figures:
    """The figures in one transaction. Raises StorageUnavailable."""
    return Figures(
        studies=uow.studies.tally(),
        jobs=uow.jobs.tally(),
        deliveries=uow.deliveries.tally(),
        circuits=uow.circuits.all(),
        unfinished_duties=uow.commitments.unfinished_duties(),
        quarantine=uow.quarantine.totals(),
    )
