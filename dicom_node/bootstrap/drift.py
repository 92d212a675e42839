"""Do the scores of late look like those before them? The comparison of `evaluate drift` on the node's own results.

The latest `RECENT` results are put beside those before them, of the same bundle: the site is its own reference, since
no other knows its patients. Nothing is said before there are thirty of each. What came out is kept until the next look.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from dicom_node.app.ticks import STALE_AFTER_PERIODS, Tick
from dicom_node.bootstrap.store import Store
from dicom_node.gauges import Sample

RECENT: Final = 100
REFERENCE: Final = 900
PERIOD_S: Final = 3600.0
_VERDICTS: Final = {"stable": 0.0, "watch": 1.0, "drifted": 2.0}


class ScoreDrift:
    """`look` now and then; `samples` are what the last look found."""

    def __init__(self, store: Store) -> None:
        import inference.evaluation.drift  # noqa: F401  SciPy takes half a second: now, not beside the first sender

        self._store = store
        self._found: tuple[Sample, ...] = ()

    def tick(self) -> Tick:
        """Looks once an hour."""
        return Tick(name="drift", call=self.look, period_s=PERIOD_S, stale_after_s=STALE_AFTER_PERIODS * PERIOD_S)

    def look(self) -> None:
        """Compare the results there are now. Raises StorageUnavailable."""
        with self._store.reading() as uow:
            results = uow.jobs.latest_results(limit=RECENT + REFERENCE)
        self._found = tuple(compared(results))

    def samples(self) -> Iterable[Sample]:
        """A source of the metrics page."""
        return self._found


def compared(results: Iterable[str]) -> Iterable[Sample]:
    """The findings on results (`result.json`), the newest first."""
    from inference.evaluation.drift import FEWEST, compare, make_reference

    records = _of_one_bundle([json.loads(result) for result in results])
    recent, before = records[:RECENT], records[RECENT:]
    yield "drift_studies", (), float(len(recent))
    if len(recent) < FEWEST or len(before) < FEWEST:
        return
    for finding in compare(make_reference(before, made_from="this node's earlier results"), recent):
        if finding.verdict in _VERDICTS:
            yield "drift_verdict", (finding.quantity,), _VERDICTS[finding.verdict]
        if finding.psi_excess is not None:
            yield "drift_psi", (finding.quantity,), finding.psi_excess


def _of_one_bundle(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drift records of what the newest result's bundle said; another bundle's scores are no reference for it."""
    from inference.evaluation.drift_record import QUANTITIES

    bundle = results[0]["bundle"]["sha256"] if results else ""
    records = []
    for result in results:
        if result["bundle"]["sha256"] != bundle:
            continue
        said = {f"p_{level['level']}": level["probability"] for level in result["levels"]}
        assessed = sum(value is not None for value in said.values())
        records.append(
            dict.fromkeys(QUANTITIES)
            | said
            | {"p_patient_overall": result["patient_overall"]["probability"], "levels_assessed": assessed}
        )
    return records
