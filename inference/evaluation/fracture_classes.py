"""What is found of each kind of fracture, and what each look-alike (decoy) is taken for, from the facts of studies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.evaluation.predictions import LEVEL_COLUMNS, Facts
from inference.evaluation.resampling import ratio, share

NO_DECOY: Final = "none"

_LEVELS: Final = LEVEL_COLUMNS[1:]
_WHOLE: Final = "study"

Array = NDArray[np.float64]
Bool = NDArray[np.bool_]
Row = dict[str, Any]


def by_fracture(weights: Array, uids: Sequence[str], truth: Bool, called: Bool, facts: Facts) -> list[Row]:
    """One row per kind: the share of its fractured levels that are called, and of its patients. The worst first.

    `truth` and `called` are [study, 8]. A vertebra with two kinds counts for both; `alone` says how many have only
    this one. A kind at a level that the truth calls whole is not counted: it lies outside the scan.
    """
    at = _levels_with(uids, facts, "fractures")
    rows = []
    for kind, bears in at.items():
        bears = np.asarray(bears & truth[:, 1:])
        levels = int(bears.sum())
        if not levels:
            continue
        patients = np.asarray(bears.any(axis=1))
        others = np.sum([other & bears for name, other in at.items() if name != kind], axis=0)
        rows.append(
            {
                "kind": kind,
                "alone": levels - int((others > 0).sum()),
                "sensitivity": _rate(weights, bears & called[:, 1:], bears),
                "patient_sensitivity": _rate(weights, patients & called[:, 0], patients),
            }
        )
    return sorted(rows, key=lambda row: (row["sensitivity"]["value"], row["kind"]))


def by_decoy(weights: Array, uids: Sequence[str], truth: Bool, called: Bool, facts: Facts) -> list[Row]:
    """One row per decoy: how often a whole vertebra that bears it is called fractured, and a whole neck with it.

    The first row is of vertebrae and necks without any decoy; the rest comes the most often mistaken first. A decoy
    that belongs to no level (motion) has no levels, only patients.
    """
    if not any("decoys" in facts.get(uid, {}) for uid in uids):
        return []
    known = np.array(["decoys" in facts.get(uid, {}) for uid in uids])
    at = _levels_with(uids, facts, "decoys")
    whole_neck = _whole_neck_with(uids, facts)
    none = np.zeros(truth[:, 1:].shape, dtype=bool)
    any_level = np.any([none, *at.values()], axis=0)
    any_neck = any_level.any(axis=1) | np.any([none[:, 0], *whole_neck.values()], axis=0)
    bare = _decoy_row(weights, NO_DECOY, ~any_level & known[:, None], ~any_neck & known, truth, called)
    rows = []
    for kind in sorted(set(at) | set(whole_neck)):
        bears = at.get(kind, none)
        necks = bears.any(axis=1) | whole_neck.get(kind, none[:, 0])
        rows.append(_decoy_row(weights, kind, bears, necks, truth, called))
    rows.sort(key=lambda r: (-(r["false_positive_rate"]["value"] or 0), -(r["patient_rate"]["value"] or 0), r["kind"]))
    return [bare, *rows]


def kinds_at(facts: dict[str, Any], what: str) -> dict[str, list[str]]:
    """The kinds of `fractures` or `decoys` of one study by level; `<what>_everywhere`, of no level, by "study"."""
    found: dict[str, list[str]] = {}
    for level, kinds in {**(facts.get(what) or {}), _WHOLE: facts.get(f"{what}_everywhere") or []}.items():
        for kind in kinds:
            found.setdefault(level if level in _LEVELS else _WHOLE, []).append(str(kind))
    return found


def _decoy_row(weights: Array, kind: str, bears: Bool, necks: Bool, truth: Bool, called: Bool) -> Row:
    whole, sound = bears & ~truth[:, 1:], necks & ~truth[:, 0]
    return {
        "kind": kind,
        "false_positive_rate": _rate(weights, whole & called[:, 1:], whole),
        "patient_rate": _rate(weights, sound & called[:, 0], sound),
    }


def _rate(weights: Array, hits: Bool, trials: Bool) -> Row:
    hit, tried = (a.reshape(len(a), -1).sum(axis=1).astype(np.float64) for a in (hits, trials))
    draws = ratio(weights @ hit, weights @ tried)
    return share(draws, int(hit.sum()), int(tried.sum()), why="there is none of them")


def _levels_with(uids: Sequence[str], facts: Facts, what: str) -> dict[str, Bool]:
    """For each kind, [study, 7]: which levels bear it."""
    found: dict[str, Bool] = {}
    for row, uid in enumerate(uids):
        for level, kinds in kinds_at(facts.get(uid, {}), what).items():
            for kind in kinds:
                mask = found.setdefault(kind, np.zeros((len(uids), len(_LEVELS)), dtype=bool))
                if level != _WHOLE:
                    mask[row, _LEVELS.index(level)] = True
    return {kind: found[kind] for kind in sorted(found)}


def _whole_neck_with(uids: Sequence[str], facts: Facts) -> dict[str, Bool]:
    """For each decoy that some study bears at no level, [study]."""
    found: dict[str, Bool] = {}
    for row, uid in enumerate(uids):
        for kind in kinds_at(facts.get(uid, {}), "decoys").get(_WHOLE, []):
            found.setdefault(kind, np.zeros(len(uids), dtype=bool))[row] = True
    return found
