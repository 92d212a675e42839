"""How far readers agree with the analysis, over the studies they gave a verdict on. Pure: verdicts in, figures out.

A share comes with its 95 % interval after Wilson (J Am Stat Assoc 22:209, 1927), which is sound for the few studies
that are there at first. What the figures are not: studies get a verdict because somebody chose to give one, often after
an alarm, so a sensitivity among them says nothing certain about the studies nobody looked at again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TypeVar

from dicom_node.core.finding import LEVELS
from dicom_node.core.verdict import Verdict

Key = TypeVar("Key")

_Z = 1.959963984540054  # of the normal distribution, two-sided 95 %


@dataclass(frozen=True, kw_only=True)
class Share:
    """`count` of `of`, with the interval that holds the true share with 95 % confidence; None of nothing."""

    count: int
    of: int

    @property
    def value(self) -> float | None:
        """From 0 to 1."""
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's, from 0 to 1."""
        if not self.of:
            return None
        share, n = self.count / self.of, self.of
        middle = share + _Z**2 / (2 * n)
        half = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
        whole = 1 + _Z**2 / n
        return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Called or not, fractured or not; `unseen` are fractures where nothing could be assessed, in no other figure."""

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0
    true_negative: int = 0
    unseen: int = 0

    @property
    def sensitivity(self) -> Share:
        """Of the fractured, how many were called."""
        return Share(count=self.true_positive, of=self.true_positive + self.false_negative)

    @property
    def specificity(self) -> Share:
        """Of those without a fracture, how many were not called."""
        return Share(count=self.true_negative, of=self.true_negative + self.false_positive)

    @property
    def predictive_value(self) -> Share:
        """Of the called, how many are fractured (positive predictive value)."""
        return Share(count=self.true_positive, of=self.true_positive + self.false_positive)


@dataclass(frozen=True, kw_only=True)
class Week:
    """`monday` begins it (ISO 8601); how many of the verdicts given in it agree."""

    monday: date
    agreed: Share


@dataclass(frozen=True, kw_only=True)
class OfBundle:
    """The verdicts on one bundle's results, `sha256` telling apart what has the same name."""

    name: str
    version: str
    sha256: str
    agreed: Share
    studies: Table


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Everything the page of agreement shows. `studies` and `levels` are tables among the studies with a verdict."""

    agreed: Share
    studies: Table
    levels: tuple[tuple[str, Table], ...]
    weeks: tuple[Week, ...]
    bundles: tuple[OfBundle, ...]


def agreement(verdicts: Sequence[Verdict]) -> Agreement:
    """The figures of these verdicts, one a study."""
    return Agreement(
        agreed=_agreed(verdicts),
        studies=_studies(verdicts),
        levels=tuple((level, _level(level, verdicts)) for level in LEVELS),
        weeks=_weeks(verdicts),
        bundles=_bundles(verdicts),
    )


def monday_of(day: date) -> date:
    """The first day of its week."""
    return day - timedelta(days=day.weekday())


def _agreed(verdicts: Sequence[Verdict]) -> Share:
    return Share(count=sum(verdict.agrees for verdict in verdicts), of=len(verdicts))


def _studies(verdicts: Iterable[Verdict]) -> Table:
    return _counted((verdict.called.is_positive, verdict.is_fractured, True) for verdict in verdicts)


def _level(level: str, verdicts: Iterable[Verdict]) -> Table:
    return _counted(
        (level in verdict.called.levels, level in verdict.truth, level in verdict.called.assessed)
        for verdict in verdicts
    )


def _counted(seen: Iterable[tuple[bool, bool, bool]]) -> Table:
    """Of (called, fractured, assessed). What was not assessed counts only where it was fractured."""
    counts = {(called, fractured): 0 for called in (True, False) for fractured in (True, False)}
    unseen = 0
    for called, fractured, assessed in seen:
        if assessed:
            counts[called, fractured] += 1
        else:
            unseen += fractured
    return Table(
        true_positive=counts[True, True],
        false_positive=counts[True, False],
        false_negative=counts[False, True],
        true_negative=counts[False, False],
        unseen=unseen,
    )


def _weeks(verdicts: Iterable[Verdict]) -> tuple[Week, ...]:
    """From the first week to the last, those without a verdict too."""
    by_monday = _grouped(verdicts, lambda verdict: monday_of(verdict.at.date()))
    if not by_monday:
        return ()
    first, last = min(by_monday), max(by_monday)
    mondays = [first + timedelta(weeks=number) for number in range((last - first).days // 7 + 1)]
    return tuple(Week(monday=monday, agreed=_agreed(by_monday.get(monday, ()))) for monday in mondays)


def _bundles(verdicts: Iterable[Verdict]) -> tuple[OfBundle, ...]:
    """In the order in which they were first judged."""
    by_bundle = _grouped(
        verdicts, lambda each: (each.called.bundle_name, each.called.bundle_version, each.called.bundle_sha256)
    )
    return tuple(
        OfBundle(name=name, version=version, sha256=sha256, agreed=_agreed(group), studies=_studies(group))
        for (name, version, sha256), group in by_bundle.items()
    )


def _grouped(verdicts: Iterable[Verdict], key: Callable[[Verdict], Key]) -> dict[Key, list[Verdict]]:
    groups: dict[Key, list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault(key(verdict), []).append(verdict)
    return groups
