"""Which objects go to a peer, which instead of which, and why: decided from what the peer takes.

A peer is given the kinds it is configured for. A kind that it does not take is replaced by the next one of its line
that it takes: Comprehensive 3D SR by Comprehensive SR, then Enhanced SR (the same content); a segmentation by the
Secondary Captures that show it; the text SR by the PDF of the same words. Where no report of any kind is taken, the
captures carry it all. A choice once made is kept at later attempts for as long as the peer takes it, because an object
whose answer was lost may lie there already: another kind of the same content would then be a second copy.

To edit safely: a line never names its own head, and ends in something that most archives take.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dicom_node.core.finding import ResultKind, ResultObject
from dicom_node.core.peer import AUTOMATIC, ObjectChoice

K = ResultKind

FALLBACKS: Mapping[ResultKind, tuple[ResultKind, ...]] = {
    K.SEG: (K.SC,),
    K.SEG_LABELMAP: (K.SEG, K.SC),
    K.SUSPICION_SEG: (K.SC,),
    K.SR: (K.SR_COMPREHENSIVE, K.SR_ENHANCED, K.TEXT_SR, K.PDF, K.SC),
    K.SR_COMPREHENSIVE: (K.SR_ENHANCED, K.TEXT_SR, K.PDF, K.SC),
    K.SR_ENHANCED: (K.TEXT_SR, K.PDF, K.SC),
    K.TEXT_SR: (K.PDF, K.SC),
    K.SC: (K.PDF,),
    K.KOS: (),
    K.PDF: (K.TEXT_SR, K.SC),
    K.STATUS_SR: (),
}
"""What stands in for a kind, in this order."""

REPORTS = frozenset({K.SR, K.SR_COMPREHENSIVE, K.SR_ENHANCED, K.TEXT_SR, K.PDF, K.STATUS_SR})
"""Kinds that say the findings: a peer that was to have one and takes nothing in its place was not told."""

NAMES: Mapping[ResultKind, str] = {
    K.SEG: "vertebra segmentation",
    K.SEG_LABELMAP: "vertebra segmentation (LABELMAP)",
    K.SUSPICION_SEG: "suspicion segmentation",
    K.SR: "Comprehensive 3D SR",
    K.SR_COMPREHENSIVE: "Comprehensive SR",
    K.SR_ENHANCED: "Enhanced SR",
    K.TEXT_SR: "text SR",
    K.SC: "Secondary Captures",
    K.KOS: "Key Object Selection",
    K.PDF: "PDF",
    K.STATUS_SR: "status SR",
}
"""The kinds as a sentence names them."""

Refusal = Callable[[ResultObject], str]
"""Why the peer does not take an object, in words that follow "the peer"; empty where it takes it."""


@dataclass(frozen=True, kw_only=True)
class Substitution:
    """A kind that the peer was to get and did not. `sent` is what stands in for it, None where nothing does."""

    wanted: ResultKind
    sent: ResultKind | None
    why: str

    def __str__(self) -> str:
        if self.sent is None:
            return f"{NAMES[self.wanted]} left out: {self.why}"
        return f"{NAMES[self.sent]} instead of {NAMES[self.wanted]}: {self.why}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The objects that the peer is to hold in the end, in the order of sending, those it holds already among them."""

    objects: tuple[ResultObject, ...]
    substitutions: tuple[Substitution, ...] = ()

    @property
    def why_not_enough(self) -> str:
        """Why a peer that holds all of `objects` is still not served; empty where it is."""
        if not self.objects and self.substitutions:
            return f"none of the results was accepted: {self.reasons}"
        untold = [entry for entry in self.substitutions if entry.sent is None and entry.wanted in REPORTS]
        return "no report was accepted: " + "; ".join(map(str, untold)) if untold else ""

    @property
    def reasons(self) -> str:
        """Every substitution in one sentence; empty where there was none."""
        return "; ".join(map(str, self.substitutions))


@dataclass(frozen=True, kw_only=True)
class Shipment:
    """What there is for one peer. `stored` are the SOP Instance UIDs it holds, `earlier` the choices made before."""

    objects: tuple[ResultObject, ...]
    choice: ObjectChoice = AUTOMATIC
    stored: frozenset[str] = frozenset()
    earlier: tuple[Substitution, ...] = ()

    @property
    def candidates(self) -> tuple[ResultObject, ...]:
        """Every object that may have to be offered, whatever the peer takes."""
        kinds = {kind for wanted in self._wanted for kind in (wanted, *self._line(wanted))}
        return tuple(entry for entry in self.objects if entry.kind in kinds)

    def plan(self, refusal: Refusal) -> Plan:
        """What to send. `refusal` is asked about objects that the peer does not hold yet."""
        chosen: set[ResultKind] = set()
        substitutions: list[Substitution] = []
        for wanted in self._wanted:
            sent, why = self._choose(wanted, refusal)
            if sent is not None:
                chosen.add(sent)
            if sent is not wanted:
                substitutions.append(Substitution(wanted=wanted, sent=sent, why=why))
        objects = tuple(entry for entry in self.objects if entry.kind in chosen)
        return Plan(objects=objects, substitutions=tuple(substitutions))

    @property
    def _wanted(self) -> tuple[ResultKind, ...]:
        """The kinds of the choice that this result has content for. A status report goes to whoever asked for it."""
        kinds = (*self.choice.kinds, K.STATUS_SR)
        return tuple(kind for kind in kinds if self._of(kind) or (kind is K.SEG_LABELMAP and self._of(K.SEG)))

    def _line(self, wanted: ResultKind) -> tuple[ResultKind, ...]:
        # A LABELMAP may not have been made: it was configured after the encoding. The same content then goes as SEG.
        if not self.choice.negotiates:
            return (K.SEG,) if wanted is K.SEG_LABELMAP and not self._of(wanted) else ()
        return FALLBACKS[wanted]

    def _choose(self, wanted: ResultKind, refusal: Refusal) -> tuple[ResultKind | None, str]:
        for before in self.earlier:
            if before.wanted is wanted and before.sent is not None and not self._refused(before.sent, refusal):
                return before.sent, before.why
        reasons: dict[str, list[str]] = {}
        for kind in (wanted, *self._line(wanted)):
            why = self._refused(kind, refusal)
            if not why:
                return kind, _sentence(reasons, wanted)
            if kind is wanted or self._of(kind):
                reasons.setdefault(why, []).append(NAMES[kind])
        return None, _sentence(reasons, wanted)

    def _refused(self, kind: ResultKind, refusal: Refusal) -> str:
        objects = self._of(kind)
        if not objects:
            return "was not made"
        reasons = (refusal(entry) for entry in objects if entry.sop_instance_uid not in self.stored)
        return next((f"the peer {why}" for why in reasons if why), "")

    def _of(self, kind: ResultKind) -> tuple[ResultObject, ...]:
        return tuple(entry for entry in self.objects if entry.kind is kind)


def _sentence(reasons: Mapping[str, Sequence[str]], wanted: ResultKind) -> str:
    """Each reason once: first why the wanted kind is not taken, and which others are not for the same reason."""
    parts: list[str] = []
    for why, names in reasons.items():
        others = [name for name in names if name != NAMES[wanted]]
        if len(others) < len(names):
            parts.append(why + (f" (nor {', '.join(others)})" if others else ""))
        else:
            parts.append(f"{', '.join(others)}: {why}")
    return "; ".join(parts)
