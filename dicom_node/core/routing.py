"""Which peers get the results of a job, by what is configured for each of them and by rules, with the reasons.

First everybody who receives results is chosen; then the rules are applied in their order, each adding peers and
leaving others out where all of its conditions hold. The later rule has the last word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from dicom_node.core.finding import AnalysisResult, LevelStatus, Outcome
from dicom_node.core.peer import Peer


class ResultClass(StrEnum):
    """What a result says, as far as rules go. Nothing assessed is not a negative."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    NOT_ANALYSED = "not_analysed"


@dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """What rules look at in a study: every distinct value in its instances, without empty ones."""

    calling_aets: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    stations: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class ResultFacts:
    """What rules look at in a result."""

    result: ResultClass
    positive_levels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RoutingRule:
    """All conditions that are given must hold, each by any of its values. The first five are patterns in which *, ? and
    [] stand for characters, upper and lower case alike. `add` and `leave_out` name peers.
    """

    name: str
    calling_ae_titles: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
    stations: tuple[str, ...] = ()
    results: tuple[ResultClass, ...] = ()
    levels: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()

    def because(self, study: StudyFacts, result: ResultFacts) -> str | None:
        """Why the rule applies; None where it does not."""
        reasons: list[str] = []
        for what, wanted, found in self._patterns(study):
            met = [value for value in found if any(_matches(value, pattern) for pattern in wanted)]
            if wanted and not met:
                return None
            if wanted:
                reasons.append(f"the {what} is {_listed(met)}")
        if self.results and result.result not in self.results:
            return None
        if self.results:
            reasons.append(_SAYS[result.result])
        met_levels = [level for level in result.positive_levels if level in self.levels]
        if self.levels and not met_levels:
            return None
        if self.levels:
            reasons.append(f"{_listed(met_levels)} {'is' if len(met_levels) == 1 else 'are'} positive")
        return " and ".join(reasons) or "it applies to every study"

    def _patterns(self, study: StudyFacts) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
        yield "calling AE title", self.calling_ae_titles, study.calling_aets
        yield "modality", self.modalities, study.modalities
        yield "body part", self.body_parts, study.body_parts
        yield "study description", self.descriptions, (study.description,)
        yield "station", self.stations, study.stations


_SAYS = {
    ResultClass.POSITIVE: "the result is positive",
    ResultClass.NEGATIVE: "the result is negative",
    ResultClass.NOT_ANALYSED: "the study was not analysed",
}


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A receiver. `route` is the rule that added it, empty where it receives every result; `why` is a sentence."""

    peer: str
    why: str
    route: str = ""


@dataclass(frozen=True, kw_only=True)
class Route:
    """The receivers, in the order of the configuration, those that rules added last; `why` explains the choice."""

    destinations: tuple[Destination, ...]
    why: str

    @property
    def peers(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(entry.peer for entry in self.destinations)


def route(
    peers: Iterable[Peer],
    rules: Iterable[RoutingRule] = (),
    study: StudyFacts = StudyFacts(),
    result: ResultFacts = ResultFacts(result=ResultClass.NEGATIVE),
) -> Route:
    """Who gets this result. Nobody at all is a valid answer: results then stay on the node."""
    known = {peer.name: peer for peer in peers}
    chosen = {
        peer.name: Destination(peer=peer.name, why=f"results go to {peer.name}")
        for peer in known.values()
        if peer.receives_results and peer.enabled
    }
    remarks: list[str] = []
    for rule in rules:
        because = rule.because(study, result)
        if because is not None:
            remarks += _apply(rule, because, known, chosen)
    disabled = [peer.name for peer in known.values() if peer.receives_results and not peer.enabled]
    nobody = "no peer is set to receive results" if not remarks else "results go to nobody"
    parts = [f"results go to {', '.join(chosen)}" if chosen else nobody, *remarks]
    if disabled:
        parts.append(f"disabled: {', '.join(disabled)}")
    return Route(destinations=tuple(chosen.values()), why="; ".join(parts))


def why_not_deliverable(peer: Peer | None, name: str, *, is_routed: bool = False) -> str:
    """Why a delivery made earlier can no longer go to `name`; empty where it can.

    A disabled peer is not refused here: it may be enabled again, so its deliveries are tried later. Where a rule has
    added the peer (`is_routed`) it need not receive every result.
    """
    if peer is None:
        return f"peer {name} is no longer configured"
    if not peer.receives_results and not is_routed:
        return f"peer {name} is no longer set to receive results"
    return ""


def facts_of(result: AnalysisResult) -> ResultFacts:
    """What rules look at in an analysis."""
    levels = tuple(finding.level for finding in result.findings if finding.is_positive)
    if result.is_positive or levels:
        return ResultFacts(result=ResultClass.POSITIVE, positive_levels=levels)
    is_assessed = any(finding.status is LevelStatus.ASSESSED for finding in result.findings)
    if result.outcome is Outcome.ANALYSED and is_assessed:
        return ResultFacts(result=ResultClass.NEGATIVE)
    return ResultFacts(result=ResultClass.NOT_ANALYSED)


def _apply(rule: RoutingRule, because: str, known: dict[str, Peer], chosen: dict[str, Destination]) -> list[str]:
    remarks: list[str] = []
    for name in rule.add:
        peer = known.get(name)
        if peer is None or not peer.enabled:
            state = "is not configured" if peer is None else "is disabled"
            remarks.append(f"route {rule.name!r} would add peer {name!r}, which {state}")
        elif name not in chosen:
            why = f"route {rule.name!r} added peer {name!r} because {because}"
            chosen[name] = Destination(peer=name, why=why, route=rule.name)
            remarks.append(why)
    for name in rule.leave_out:
        if chosen.pop(name, None) is not None:
            remarks.append(f"route {rule.name!r} left out peer {name!r} because {because}")
    return remarks


def _matches(value: str, pattern: str) -> bool:
    return fnmatchcase(value.casefold(), pattern.casefold())


def _listed(values: Sequence[str]) -> str:
    return ", ".join(values)
