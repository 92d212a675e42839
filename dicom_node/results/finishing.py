"""The last steps of every object: its study, its sentences, its maker, its times, its file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset

from dicom_node.core.finding import BundleIdentity, ResultKind, ResultObject
from dicom_node.results.charset import fit_texts
from dicom_node.results.provenance import Equipment, stamp_equipment, stamp_times, take_over_study, write


@dataclass(frozen=True, kw_only=True)
class Finishing:
    """`header` is an instance of the study, from which demographics and character set come; it is not changed."""

    header: Dataset
    study_instance_uid: str
    equipment: Equipment
    bundle: BundleIdentity
    created_at: datetime
    out_dir: Path

    def finish(self, data_set: Dataset, kind: ResultKind, suffix: str = "") -> ResultObject:
        """The data set lies in the file named for its kind (and `suffix`, where a kind has several), durable."""
        take_over_study(data_set, self.header, study_instance_uid=self.study_instance_uid)
        fit_texts(data_set)
        stamp_equipment(data_set, self.equipment, self.bundle)
        stamp_times(data_set, self.created_at)
        file = self.out_dir / f"{kind.lower()}{suffix}.dcm"
        write(data_set, file)
        return ResultObject(
            kind=kind,
            sop_class_uid=str(data_set.SOPClassUID),
            sop_instance_uid=str(data_set.SOPInstanceUID),
            series_instance_uid=str(data_set.SeriesInstanceUID),
            file=file,
        )
