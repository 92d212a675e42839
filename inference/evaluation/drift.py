"""Is what a node sees now what its bundle was validated on? Scores and inputs, quantity by quantity.

A `Reference` is made from the records of the validation studies and lies in the bundle: shares in ten quantile bins and
the distribution's own steps, no study's row. `compare` puts the records of a node's studies beside it:

* PSI, the population stability index over the bins: sum of (observed - reference) * ln(observed / reference). Chance
  alone gives about (bins - 1) * (1 / n_reference + 1 / n_observed); the `excess` over that is judged.
* Kolmogorov-Smirnov: the greatest distance of the two distributions, with its p value.
* the share of studies that lack the number, with Fisher's exact p value.

A verdict needs both an effect and evidence. p values are compared with a limit divided by the number of quantities, so
that many quantities do not raise an alarm by their number. Under `FEWEST` studies nothing is said.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov
from scipy.stats import fisher_exact

from inference.evaluation.drift_record import QUANTITIES, values_of

Verdict = Literal["stable", "watch", "drifted", "too few"]

FEWEST: Final = 30
WATCH_PSI, DRIFTED_PSI = 0.10, 0.25
WATCH_P, DRIFTED_P = 0.05, 0.01
WATCH_MISSING, DRIFTED_MISSING = 0.10, 0.25
FORMAT: Final = 1

_BINS: Final = 10
_STEPS: Final = 200
_ORDER: Final = ("stable", "too few", "watch", "drifted")

Array = NDArray[np.float64]


class DriftReferenceError(ValueError):
    """A reference cannot be made or read; the message says why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Distribution:
    """One quantity in the reference: `edges` between bins, the `counts` in them, and F(`values`) = `cdf`."""

    known: int
    missing: int
    edges: Array
    counts: Array
    values: Array
    cdf: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """The distributions of the quantities that validation knew; `made_from` says of which studies, in words."""

    made_from: str
    studies: int
    quantities: dict[str, Distribution]

    def to_json(self) -> dict[str, Any]:
        """Plain data for a bundle; `from_json` gives the same back."""
        lists = ("edges", "counts", "values", "cdf")
        return {
            "format": FORMAT,
            "made_from": self.made_from,
            "studies": self.studies,
            "quantities": {
                name: {"known": d.known, "missing": d.missing}
                | {key: [round(float(v), 6) for v in getattr(d, key)] for key in lists}
                for name, d in self.quantities.items()
            },
        }

    @classmethod
    def from_json(cls, data: Any) -> Reference:
        """What `to_json` gave; DriftReferenceError where it is another thing."""
        try:
            if data["format"] != FORMAT:
                raise DriftReferenceError(f"a reference of format {data['format']!r}; this program reads {FORMAT}")
            quantities = {str(name): _parsed(str(name), raw) for name, raw in data["quantities"].items()}
            return cls(made_from=str(data["made_from"]), studies=int(data["studies"]), quantities=quantities)
        except DriftReferenceError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DriftReferenceError(f"a reference that lacks or misstates {error}") from error


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is found of one quantity. Medians are None where there is no value."""

    quantity: str
    verdict: Verdict
    reference_known: int
    observed_known: int
    reference_median: float | None
    observed_median: float | None
    psi: float | None
    psi_excess: float | None
    ks: float | None
    ks_p: float | None
    reference_missing: float
    observed_missing: float
    missing_p: float


def make_reference(records: Sequence[Mapping[str, Any]], *, made_from: str) -> Reference:
    """The reference of validation records; a quantity that none of them has is left out.

    Raises DriftReferenceError for fewer than 30 records.
    """
    if len(records) < FEWEST:
        raise DriftReferenceError(f"{len(records)} records are too few for a reference; at least {FEWEST} are needed")
    quantities = {}
    for name in QUANTITIES:
        values, missing = values_of(records, name)
        if len(values):
            quantities[name] = _distribution(values, missing)
    return Reference(made_from=made_from, studies=len(records), quantities=quantities)


def read_reference(text: str) -> Reference:
    """The reference in a JSON text; DriftReferenceError where it is none."""
    try:
        return Reference.from_json(json.loads(text))
    except json.JSONDecodeError as error:
        raise DriftReferenceError(f"not JSON: {error}") from None


def compare(reference: Reference, observed: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """A finding for each quantity of the reference, from a node's records."""
    limit = max(1, len(reference.quantities))
    return [
        _finding(name, distribution, *values_of(observed, name), tests=limit)
        for name, distribution in reference.quantities.items()
    ]


def overall(findings: Iterable[Finding]) -> Verdict:
    """The gravest verdict; "too few" where nothing could be judged."""
    verdicts = {finding.verdict for finding in findings}
    if verdicts <= {"too few"}:
        return "too few"
    return max(verdicts - {"too few"}, key=_ORDER.index)


def _finding(name: str, known: Distribution, values: Array, missing: int, *, tests: int) -> Finding:
    total, reference_total = len(values) + missing, known.known + known.missing
    lacking = missing / total if total else 0.0
    lacked = known.missing / reference_total
    _, missing_p = fisher_exact([[missing, len(values)], [known.missing, known.known]])
    index, excess = psi(known, values) if len(values) else (None, None)
    distance, p = ks(known, values) if len(values) else (None, None)
    verdict: Verdict = "too few"
    if total >= FEWEST:
        verdict = _worse(
            _judged(abs(lacking - lacked), float(missing_p) * tests, WATCH_MISSING, DRIFTED_MISSING),
            "stable" if excess is None or p is None or len(values) < FEWEST
            else _judged(excess, p * tests, WATCH_PSI, DRIFTED_PSI),
        )  # fmt: skip
    return Finding(
        quantity=name,
        verdict=verdict,
        reference_known=known.known,
        observed_known=len(values),
        reference_median=float(np.interp(0.5, known.cdf, known.values)),
        observed_median=float(np.median(values)) if len(values) else None,
        psi=index,
        psi_excess=excess,
        ks=distance,
        ks_p=p,
        reference_missing=lacked,
        observed_missing=lacking,
        missing_p=float(missing_p),
    )


def psi(known: Distribution, values: Array) -> tuple[float, float]:
    """The population stability index (half a study added to every bin), and its excess over chance, at least 0."""
    counts = np.bincount(np.searchsorted(known.edges, values, side="right"), minlength=len(known.edges) + 1)
    used = (counts > 0) | (known.counts > 0)
    observed, expected = (c[used].astype(np.float64) + 0.5 for c in (counts, known.counts))
    observed, expected = observed / observed.sum(), expected / expected.sum()
    index = float(((observed - expected) * np.log(observed / expected)).sum())
    chance = (int(used.sum()) - 1) * (1 / known.known + 1 / len(values))
    return index, max(0.0, index - chance)


def ks(known: Distribution, values: Array) -> tuple[float, float]:
    """The greatest distance of the two distributions at the reference's steps, and its p value (asymptotic)."""
    observed = np.searchsorted(np.sort(values), known.values, side="right") / len(values)
    distance = float(np.abs(observed - known.cdf).max())
    root = np.sqrt(known.known * len(values) / (known.known + len(values)))
    return distance, float(kolmogorov((root + 0.12 + 0.11 / root) * distance))


def _judged(effect: float, p: float, watch: float, drifted: float) -> Verdict:
    if effect >= drifted and p < DRIFTED_P:
        return "drifted"
    return "watch" if effect >= watch and p < WATCH_P else "stable"


def _worse(a: Verdict, b: Verdict) -> Verdict:
    return max(a, b, key=_ORDER.index)


def _distribution(values: Array, missing: int) -> Distribution:
    different = np.unique(values)
    steps = different
    if len(different) > _STEPS:
        steps = np.unique(np.quantile(values, np.linspace(0, 1, _STEPS + 1), method="inverted_cdf"))
    edges = _edges(values, different)
    return Distribution(
        known=len(values),
        missing=missing,
        edges=edges,
        counts=np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1).astype(np.float64),
        values=steps,
        cdf=np.searchsorted(np.sort(values), steps, side="right") / len(values),
    )


def _edges(values: Array, different: Array) -> Array:
    """Nine quantiles; for up to ten different values a bin for each of them and one beyond each end."""
    if len(different) > _BINS:
        return np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
    between = (different[:-1] + different[1:]) / 2
    gap = float(np.diff(different).min()) / 2 if len(different) > 1 else max(1e-3, 1e-3 * abs(float(different[0])))
    return np.concatenate([[different[0] - gap], between, [different[-1] + gap]])


def _parsed(name: str, raw: Mapping[str, Any]) -> Distribution:
    edges, counts, values, cdf = (np.array(raw[key], dtype=np.float64) for key in ("edges", "counts", "values", "cdf"))
    known = int(raw["known"])
    if known < 1 or len(counts) != len(edges) + 1 or len(values) != len(cdf) or not len(values):
        raise DriftReferenceError(f"the distribution of {name} does not fit together")
    return Distribution(known=known, missing=int(raw["missing"]), edges=edges, counts=counts, values=values, cdf=cdf)
