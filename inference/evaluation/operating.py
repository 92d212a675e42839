"""From a head's probability to a call: temperature, bias and thresholds, all fitted on validation studies.

Each of the eight heads (patient_overall, C1 ... C7) has its own: p' = sigmoid(logit(p) / temperature + bias), and the
head is called where p' >= threshold. Two thresholds are kept and `rule` says which is in force: "f2" (the highest F2,
which counts a miss four times as much as a false alarm) and "sensitive" (the highest specificity that keeps the wanted
sensitivity). Never fit them on the studies whose numbers are reported.

A threshold that rests on three fractures is chance. A level with fewer than `FEW_POSITIVES` in validation takes the
numbers of all seven levels together. On 60 of 80 validation studies, drawn twenty times, that gave an F2 of 0.67 on the
other 20 where numbers of each level's own gave 0.58, with a third of the false alarms.

F2 depends on how many are fractured. Where half the patients are, as among the studies that models are made with,
calling everybody has an F2 of 0.85 and next to nothing beats it. The patient's threshold is therefore the best for
`PATIENT_PREVALENCE`, the upper end of what emergency departments report (4 to 9 %). One level in nine is fractured in
validation, about as in the challenge; that is left as it is.

The competition weighs positives more and each study alike, so what scores best there is not the honest probability:
objective "log_loss" fits honest ones, objective "competition" what scores best.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from inference.evaluation.metrics import competition_weights
from inference.evaluation.predictions import LEVEL_COLUMNS

Rule = Literal["sensitive", "f2"]
Objective = Literal["log_loss", "competition"]

SENSITIVITY_GOAL: Final = 0.95
FEW_POSITIVES: Final = 20
PATIENT_PREVALENCE: Final = 0.09
FORMAT: Final = 1

_CLIP: Final = 1e-7
# Standard deviations of the weak priors on log(temperature) and on the bias.
_TEMPERATURE_SD: Final = 1.0
_BIAS_SD: Final = 2.0

Array = NDArray[np.float64]


class OperatingPointsError(ValueError):
    """Operating points cannot be fitted or read; the message says what is wrong."""


@dataclass(frozen=True, kw_only=True)
class HeadPoint:
    """One head's numbers. The thresholds apply to calibrated probabilities.

    `positives` is how many fractures of validation they rest on, of all levels where they are the seven levels' in
    common; with none (or nothing else) the head is left as it is and both thresholds are 0.5.
    """

    temperature: float
    bias: float
    threshold_f2: float
    threshold_sensitive: float
    positives: int


@dataclass(frozen=True, kw_only=True)
class OperatingPoints:
    """The eight heads in the order of LEVEL_COLUMNS; `studies` is how many validation studies they were fitted on."""

    heads: tuple[HeadPoint, ...]
    rule: Rule
    sensitivity_goal: float
    objective: Objective
    studies: int

    def __post_init__(self) -> None:
        if len(self.heads) != len(LEVEL_COLUMNS):
            raise OperatingPointsError(f"{len(self.heads)} heads, not {len(LEVEL_COLUMNS)}")
        if self.rule not in ("sensitive", "f2"):
            raise OperatingPointsError(f"rule {self.rule!r} is neither 'sensitive' nor 'f2'")
        if self.objective not in ("log_loss", "competition"):
            raise OperatingPointsError(f"objective {self.objective!r} is neither 'log_loss' nor 'competition'")
        for name, head in zip(LEVEL_COLUMNS, self.heads, strict=True):
            if not (np.isfinite(head.temperature) and head.temperature > 0 and np.isfinite(head.bias)):
                raise OperatingPointsError(f"{name}: temperature {head.temperature} with bias {head.bias}")
            if not (0 <= head.threshold_f2 <= 1 and 0 <= head.threshold_sensitive <= 1):
                raise OperatingPointsError(f"{name}: a threshold lies outside 0 to 1")

    @property
    def thresholds(self) -> Array:
        """The eight thresholds of the rule in force."""
        return np.array([h.threshold_f2 if self.rule == "f2" else h.threshold_sensitive for h in self.heads])

    def calibrated(self, values: Array) -> Array:
        """The calibrated probabilities of raw ones, [..., 8]."""
        temperature, bias = (np.array([getattr(h, name) for h in self.heads]) for name in ("temperature", "bias"))
        return np.asarray(sigmoid(logit(values) / temperature + bias))

    def thresholds_alone(self) -> OperatingPoints:
        """For probabilities that these points have calibrated already."""
        return replace(self, heads=tuple(replace(head, temperature=1.0, bias=0.0) for head in self.heads))

    def called(self, values: Array) -> NDArray[np.bool_]:
        """Which heads are called fractured, from raw probabilities [..., 8]."""
        return np.asarray(self.calibrated(values) >= self.thresholds)

    def to_json(self) -> dict[str, Any]:
        """Plain data for a manifest; `from_json` gives the same object back."""
        return {
            "format": FORMAT,
            "rule": self.rule,
            "sensitivity_goal": self.sensitivity_goal,
            "objective": self.objective,
            "validation_studies": self.studies,
            "heads": {name: dict(vars(head)) for name, head in zip(LEVEL_COLUMNS, self.heads, strict=True)},
        }

    @classmethod
    def from_json(cls, data: Any) -> OperatingPoints:
        """What `to_json` gave; OperatingPointsError where something is missing or out of range."""
        try:
            if data["format"] != FORMAT:
                raise OperatingPointsError(
                    f"operating points of format {data['format']!r}; this program reads {FORMAT}"
                )
            heads = tuple(
                HeadPoint(
                    temperature=float(data["heads"][name]["temperature"]),
                    bias=float(data["heads"][name]["bias"]),
                    threshold_f2=float(data["heads"][name]["threshold_f2"]),
                    threshold_sensitive=float(data["heads"][name]["threshold_sensitive"]),
                    positives=int(data["heads"][name]["positives"]),
                )
                for name in LEVEL_COLUMNS
            )
            return cls(
                heads=heads,
                rule=data["rule"],
                sensitivity_goal=float(data["sensitivity_goal"]),
                objective=data["objective"],
                studies=int(data["validation_studies"]),
            )
        except OperatingPointsError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise OperatingPointsError(f"operating points lack or misstate {error}") from error


def read_operating_points(text: str) -> OperatingPoints:
    """The operating points in a JSON text; OperatingPointsError where it is none."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise OperatingPointsError(f"not JSON: {error}") from None
    return OperatingPoints.from_json(data)


def fit_operating_points(
    truth: Array,
    values: Array,
    *,
    rule: Rule = "f2",
    sensitivity_goal: float = SENSITIVITY_GOAL,
    objective: Objective = "log_loss",
    calibrate: Literal["heads", "no"] = "heads",
    views: int = 1,
) -> OperatingPoints:
    """The operating points of raw probabilities [study, 8] on validation studies with their truth (0/1).

    `calibrate="no"` keeps every temperature at 1 and every bias at 0: the probabilities are calibrated already. Where
    each study stands in `views` rows, seen in another way in each, fractures and studies are counted once.
    """
    if truth.shape != values.shape or truth.ndim != 2 or truth.shape[1] != len(LEVEL_COLUMNS) or not len(truth):
        raise OperatingPointsError(f"truth {truth.shape} and probabilities {values.shape} are not both [study, 8]")
    if not 0 < sensitivity_goal <= 1:
        raise OperatingPointsError(f"a sensitivity of {sensitivity_goal} cannot be kept")
    weights = competition_weights(truth) if objective == "competition" else np.ones_like(truth)
    fractured = truth > 0.5

    def fitted(columns: slice) -> HeadPoint:
        y, p, w = fractured[:, columns].ravel(), values[:, columns].ravel(), weights[:, columns].ravel()
        prevalence = PATIENT_PREVALENCE if columns.start == 0 else None
        head = _fit_head(y, p, w, sensitivity_goal, prevalence, is_calibrated=calibrate == "no")
        return replace(head, positives=head.positives // views)

    in_common = fitted(slice(1, None))
    heads = [fitted(slice(0, 1))]
    for column in range(1, len(LEVEL_COLUMNS)):
        is_rare = fractured[:, column].sum() < FEW_POSITIVES * views
        heads.append(in_common if is_rare else fitted(slice(column, column + 1)))
    return OperatingPoints(
        heads=tuple(heads),
        rule=rule,
        sensitivity_goal=sensitivity_goal,
        objective=objective,
        studies=len(truth) // views,
    )


def _fit_head(
    y: NDArray[np.bool_], p: Array, w: Array, sensitivity_goal: float, prevalence: float | None, *, is_calibrated: bool
) -> HeadPoint:
    if y.all() or not y.any():
        return _left_alone(int(y.sum()))
    temperature, bias = (1.0, 0.0) if is_calibrated else fit_temperature(y, p, w)
    honest = sigmoid(logit(p) / temperature + bias)
    return HeadPoint(
        temperature=temperature,
        bias=bias,
        threshold_f2=threshold_of_best_f2(y, honest, prevalence=prevalence),
        threshold_sensitive=threshold_keeping(y, honest, sensitivity_goal),
        positives=int(y.sum()),
    )


def fit_temperature(truth: NDArray[np.bool_], probabilities: Array, weights: Array) -> tuple[float, float]:
    """Temperature and bias with the least weighted log loss (weights are brought to a mean of 1) and weak priors.

    The priors (log temperature 0 +- 1, bias 0 +- 2) are worth about one study: they matter only where few are there.
    """
    z, w = logit(probabilities), weights / weights.mean()

    spread = np.array([_TEMPERATURE_SD, _BIAS_SD])

    def cost(theta: Array) -> tuple[float, Array]:
        """Per study, with its gradient: of a sum over many studies the optimiser loses the digits that matter."""
        scaled = z * np.exp(-theta[0]) + theta[1]
        loss = (w * (np.logaddexp(0.0, scaled) - truth * scaled)).sum() + ((theta / spread) ** 2).sum() / 2
        slope = w * (sigmoid(scaled) - truth)
        gradient = np.array([-(slope * z).sum() * np.exp(-theta[0]), slope.sum()]) + theta / spread**2
        return float(loss) / len(z), gradient / len(z)

    best = minimize(cost, np.zeros(2), method="BFGS", jac=True).x
    return float(np.exp(best[0])), float(best[1])


def threshold_of_best_f2(truth: NDArray[np.bool_], probabilities: Array, *, prevalence: float | None = None) -> float:
    """The threshold with the highest F2; of equally good ones the middle. Needs a positive.

    With `prevalence` F2 is that of a population in which this share is positive, whatever share is here.
    """
    candidates = _between(probabilities)
    called = probabilities[None, :] >= candidates[:, None]
    tp = (called & truth).sum(axis=1)
    fp = called.sum(axis=1) - tp
    positives = truth.sum()
    odds = 1.0 if prevalence is None else (1 - prevalence) / prevalence * positives / max((~truth).sum(), 1)
    # F2 = 5 tp / (5 tp + 4 fn + fp), and tp + fn is the same for all: the denominator is tp + fp + 4 * positives.
    f2 = 5 * tp / (tp + odds * fp + 4 * positives)
    best = candidates[np.isclose(f2, f2.max(), rtol=0, atol=1e-12)]
    return float(best[(len(best) - 1) // 2])


def threshold_keeping(truth: NDArray[np.bool_], probabilities: Array, sensitivity: float) -> float:
    """The highest threshold that still calls this share of the positives: halfway to the next lower score below."""
    positives = np.sort(probabilities[truth])
    # The last misses allowed; a hair is added so that 0.05 * 20 is one and not 0.9999.
    lowest = positives[min(int((1 - sensitivity) * len(positives) + 1e-9), len(positives) - 1)]
    return float(max(c for c in _between(probabilities) if c <= lowest))


def logit(probabilities: Array) -> Array:
    """log(p / (1 - p)) of probabilities clipped to [1e-7, 1 - 1e-7]."""
    p = np.clip(probabilities, _CLIP, 1 - _CLIP)
    return np.asarray(np.log(p) - np.log1p(-p))


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)), without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -z)))


def _between(probabilities: Array) -> Array:
    """A threshold under each different score, halfway (in logits) to the next lower one; the lowest calls all."""
    scores = np.unique(probabilities)
    z = logit(scores)
    between = sigmoid((z[:-1] + z[1:]) / 2)
    # Scores so near that rounding would put the middle on the lower one: then the upper itself is the threshold.
    between = np.where(between > scores[:-1], np.minimum(between, scores[1:]), scores[1:])
    return np.concatenate([[scores[0] / 2], between])


def _left_alone(positives: int) -> HeadPoint:
    return HeadPoint(temperature=1.0, bias=0.0, threshold_f2=0.5, threshold_sensitive=0.5, positives=positives)
