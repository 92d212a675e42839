"""The tables of a data set in one pass that may be killed: a part for each study, then every table from the parts."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inference.dataset.errors import DataSetError
from inference.dataset.rsna import RsnaStudy
from inference.dataset.slice_predictors import PredictorChoice
from inference.dataset.tables import TABLES, WHOLE, study_tables
from inference.evaluation.resumable import Row, run
from inference.synthetic.spec import LEVELS

PARTS: Final = ".parts"
_MADE_WITH: Final = "made_with.json"
_KINDS: Final = ("csv", "parquet")


@dataclass(frozen=True, kw_only=True)
class StudyCase:
    """A study whose rows are to be made."""

    study: RsnaStudy

    @property
    def key(self) -> str:
        """The study's UID."""
        return self.study.study_instance_uid


@dataclass(frozen=True, kw_only=True)
class PartMaker:
    """Writes a study's part. Picklable."""

    parts: Path
    choice: PredictorChoice

    def __call__(self, case: StudyCase) -> Row:
        """The study's `notes`; its rows are in its part."""
        part = _part(self.parts, case.study)
        if not part.exists():
            made = study_tables(case.study, self.choice.build())
            unfinished = part.with_suffix(".partial")
            unfinished.write_text(json.dumps({"rows": made.rows, "notes": made.notes}), encoding="utf-8")
            os.replace(unfinished, part)
        return {"notes": json.loads(part.read_text(encoding="utf-8"))["notes"]}


def write_metadata(
    studies: Sequence[RsnaStudy],
    out: Path,
    choice: PredictorChoice,
    *,
    workers: int = 1,
    on_row: Callable[[Row], None] = lambda row: None,
) -> dict[str, int]:
    """Write every table of a data set into `out` as CSV and Parquet; the number of rows of each.

    Stopped and called again it goes on. `on_row` is told each study (`key`) and its `notes`. Raises DataSetError where
    `out` holds parts made with another predictor, ValueError for a table of predictions that cannot be read, OSError
    where `out` cannot be written.
    """
    choice.build()
    parts = out / PARTS
    _claim(parts, choice)
    cases = [StudyCase(study=study) for study in studies]
    run(cases, PartMaker(parts=parts, choice=choice), header={}, work=None, workers=workers, on_row=on_row)
    paths = [_part(parts, study) for study in studies]
    counts = {name: _write_table(out, name, paths) for name in TABLES}
    shutil.rmtree(parts)
    return counts


def _part(parts: Path, study: RsnaStudy) -> Path:
    return parts / f"{study.study_instance_uid}.json"


def _claim(parts: Path, choice: PredictorChoice) -> None:
    mark, wanted = parts / _MADE_WITH, {"table": str(choice.table), "bundle": str(choice.bundle)}
    if mark.exists() and json.loads(mark.read_text(encoding="utf-8")) != wanted:
        raise DataSetError(f"{parts} holds rows of an unfinished pass with another predictor: remove it to begin anew")
    parts.mkdir(parents=True, exist_ok=True)
    mark.write_text(json.dumps(wanted), encoding="utf-8")


def _write_table(out: Path, name: str, parts: Iterable[Path]) -> int:
    """Write one table as CSV and Parquet, a study at a time; the number of its rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = TABLES[name]
    schema = pa.schema([(column, _arrow_type(pa, name, column)) for column in columns])
    unfinished = [out / f".{name}.{kind}.partial" for kind in _KINDS]
    count = 0
    with (
        unfinished[0].open("w", newline="", encoding="utf-8") as file,
        pq.ParquetWriter(unfinished[1], schema) as table,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for part in parts:
            rows = json.loads(part.read_text(encoding="utf-8"))["rows"].get(name, [])
            writer.writerows(rows)
            if rows:
                arrays = [
                    pa.array(values, type=field.type)
                    for values, field in zip(zip(*rows, strict=True), schema, strict=True)
                ]
                table.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(rows)
    for path, kind in zip(unfinished, _KINDS, strict=True):
        os.replace(path, out / f"{name}.{kind}")
    return count


def _arrow_type(pa: Any, name: str, column: str) -> Any:
    if column == "StudyInstanceUID":
        return pa.string()
    is_mask = name == "meta_segmentation" and column in LEVELS
    return pa.int32() if is_mask or column in WHOLE else pa.float64()
