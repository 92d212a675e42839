"""An experiment as its TOML file states it: everything that is not code.

A file has the tables of `Experiment`; those of `[tiny]` replace single values and make the same experiment small enough
for a test, those of `[short]` (where a file has them) small enough for two processor cores and a quarter of an hour.
Keys are checked against the dataclasses: an unknown or missing one, or a value of another type, is an error that names
the file and the key.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from inference.experiments.errors import SettingsError
from inference.training.settings import Fit

FOLDER: Final = Path(__file__).parent
LOSSES: Final = ("competition", "bce")
RULES: Final = ("sensitive", "f2")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The most by which a study is changed in training; 0 leaves that change out.

    `turn_deg`, `scale` (share) and `shift_mm` move the window; `mirror` is the chance of a left-right flip, the only
    flip there is. `gain` (share) and `offset_hu` are another calibration, `contrast` (share) denser or thinner bone,
    `noise_hu` added noise, `thick` how much thicker slices may be (1 = as they are), `blur` the chance of another
    kernel. `marrow_hu` makes spongy bone lumpy by so much, in lumps of 2 to 7 mm: real marrow is less even than a
    phantom's. `cut_level` is the chance that one level is removed from the study, label and all.

    `rescan` is the chance that another scanner shows the study, with other bone, in place of contrast, noise, thicker
    slices, kernel and lumps as above. These are the most of it (see `inference.experiments.rescan`): a kernel's SD
    `kernel_mm`, the `overshoot` of a sharp one, pixels of `pixel_mm`, slices of `slice_mm`, noise of `grain_hu`, a
    texture of 1 to 7 mm of SD `texture_hu` in bone. `density` is the least and the greatest factor on bone; `curve`
    bends its contrast (the log of an exponent).
    """

    turn_deg: float = 0.0
    scale: float = 0.0
    shift_mm: float = 0.0
    mirror: float = 0.0
    gain: float = 0.0
    offset_hu: float = 0.0
    contrast: float = 0.0
    noise_hu: float = 0.0
    thick: float = 1.0
    blur: float = 0.0
    marrow_hu: float = 0.0
    cut_level: float = 0.0
    rescan: float = 0.0
    kernel_mm: float = 0.9
    overshoot: float = 0.8
    pixel_mm: float = 1.1
    slice_mm: float = 2.5
    grain_hu: float = 60.0
    texture_hu: float = 150.0
    density: tuple[float, float] = (0.6, 1.7)
    curve: float = 0.3


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a network is trained; `batch` counts studies a step.

    `loss` of the study's eight answers: competition (the metric's own weights) or bce. `positive_share` of the studies
    drawn have a fracture; -1 draws them as they come. Every `validate_every` steps the averaged weights are tried on at
    most `validate_on` validation studies, and `patience` such trials without a better loss end the training (0: never).
    Validation studies, calibration's too, are seen by the scanners of `validate_as` by turns; by none, as they are.
    `cache_mib` bounds the studies held in memory, the device's own; `loaders` threads make batches.
    """

    loss: str
    steps: int
    batch: int
    learning_rate: float
    weight_decay: float
    warm_up_steps: int
    average_decay: float
    validate_every: int
    validate_on: int
    patience: int
    positive_share: float = -1.0
    validate_as: tuple[str, ...] = ()
    loaders: int = 2
    cache_mib: int = 6000
    seed: int = 20_261_121

    @property
    def fit(self) -> Fit:
        """The part that the training loop knows."""
        return Fit(
            channels=(),
            batch=self.batch,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warm_up_steps=self.warm_up_steps,
            steps=self.steps,
            average_decay=self.average_decay,
        )


@dataclass(frozen=True, kw_only=True)
class FineTraining:
    """How the fine path learns by itself before the whole network does (`inference.experiments.fine_first`).

    A step has `slices` of each of `studies` studies. `slice_weight` is the share of the loss of what a slice is called.
    """

    steps: int
    studies: int
    slices: int
    learning_rate: float
    weight_decay: float
    warm_up_steps: int
    average_decay: float
    slice_weight: float

    @property
    def fit(self) -> Fit:
        """The part that the training loop knows."""
        return Fit(
            channels=(),
            batch=self.studies,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warm_up_steps=self.warm_up_steps,
            steps=self.steps,
            average_decay=self.average_decay,
        )


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One named experiment. `network` and `input` are dataclasses of its family; an ensemble has `members` instead.

    `fine_training` is for a network with a fine path, which then learns by itself first.

    `rule` chooses the operating point: f2 (the highest F2), or sensitive (the highest specificity that keeps a
    sensitivity of 0.95).
    """

    name: str
    family: str
    origin: str
    summary: str
    network: Any = None
    input: Any = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    training: TrainingSettings | None = None
    fine_training: FineTraining | None = None
    members: tuple[str, ...] = ()
    rule: str = "f2"

    @property
    def is_ensemble(self) -> bool:
        """Whether it is made of other experiments and trains nothing itself."""
        return bool(self.members)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values; `experiment_from` reads it back."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return {key: value for key, value in plain.items() if value not in (None, [])}

    def digest(self) -> str:
        """SHA-256 of all settings."""
        text = json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def with_training(self, **changes: Any) -> Experiment:
        """The same with other training settings; None changes nothing, and so does any where nothing is trained."""
        given = {key: value for key, value in changes.items() if value is not None}
        if self.training is None or not given:
            return self
        return dataclasses.replace(self, training=dataclasses.replace(self.training, **given))


def experiment_names() -> tuple[str, ...]:
    """The experiments there are: the stems of the files beside this module."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read_experiment(name_or_path: str | Path, *, tiny: bool = False, short: bool = False) -> Experiment:
    """The experiment of that name, or of a TOML file anywhere. Raises SettingsError.

    `tiny` and `short` change it as its tables of that name say; a file without them has nothing to change.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = FOLDER / f"{name_or_path}.toml"
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"there is no experiment {name_or_path}; there are {', '.join(experiment_names())}"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error
    if tiny and short:
        raise SettingsError("tiny or short, not both")
    for size, is_asked in (("tiny", tiny), ("short", short)):
        for table, values in raw.pop(size, {}).items():
            if not isinstance(raw.get(table), dict) or not isinstance(values, dict):
                raise SettingsError(f"{path}: [{size}.{table}] has no [{table}] to change")
            if is_asked:
                raw[table] |= values
    return experiment_from(raw, str(path))


def experiment_from(raw: dict[str, Any], where: str) -> Experiment:
    """The experiment of parsed TOML or JSON. Raises SettingsError naming `where` and the key."""
    from inference.experiments.families import FAMILIES  # the families know this module

    rest = dict(raw)
    family = FAMILIES.get(str(rest.get("family")))
    if family is None:
        raise SettingsError(f"{where}: family {rest.get('family')!r} is none of {', '.join(FAMILIES)}")
    trained = TrainingSettings if family.build is not None else None
    tables = {"network": family.network, "input": family.input, "training": trained}
    for key, kind in tables.items():
        if key in rest and kind is None:
            raise SettingsError(f"{where}: an ensemble has no [{key}]")
        if kind is not None:
            rest[key] = parse(kind, rest.get(key, {}), f"{where} [{key}]")
    if "fine_training" in rest:
        rest["fine_training"] = parse(FineTraining, rest["fine_training"], f"{where} [fine_training]")
    rest["augmentation"] = parse(Augmentation, rest.get("augmentation", {}), f"{where} [augmentation]")
    experiment = parse(Experiment, rest, where)
    _check(experiment, where)
    return experiment


def parse(kind: type[T], raw: Any, where: str) -> T:
    """A dataclass from a table; every key and type is checked."""
    if not isinstance(raw, dict):
        raise SettingsError(f"{where}: expected a table, found {raw!r}")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(raw) - set(fields))
    if unknown:
        raise SettingsError(f"{where}: unknown key {unknown[0]!r}; there are {', '.join(fields)}")
    missing = sorted(
        name
        for name, f in fields.items()
        if name not in raw and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    )
    if missing:
        raise SettingsError(f"{where}: key {missing[0]!r} is missing")
    return kind(**{name: _value(hints[name], value, f"{where}: {name}") for name, value in raw.items()})


def _value(kind: Any, value: Any, where: str) -> Any:
    if kind is Any or dataclasses.is_dataclass(value):
        return value
    if isinstance(kind, types.UnionType):
        return None if value is None else _value(typing.get_args(kind)[0], value, where)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            raise SettingsError(f"{where} is {value!r}, expected a list")
        inner = typing.get_args(kind)
        each = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        if len(each) != len(value):
            raise SettingsError(f"{where} has {len(value)} values, expected {len(each)}")
        return tuple(_value(k, v, where) for k, v in zip(each, value, strict=True))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise SettingsError(f"{where} is {value!r}, expected {kind.__name__}")
    return value


def _check(experiment: Experiment, where: str) -> None:
    _check_augmentation(experiment.augmentation, f"{where} [augmentation]")
    if experiment.rule not in RULES:
        raise SettingsError(f"{where}: rule is {experiment.rule!r}, expected one of {', '.join(RULES)}")
    if experiment.fine_training is not None:
        _check_fine(experiment.fine_training, experiment.network, f"{where} [fine_training]")
    training = experiment.training
    if training is None:
        return
    if training.loss not in LOSSES:
        raise SettingsError(f"{where} [training]: loss is {training.loss!r}, expected one of {', '.join(LOSSES)}")
    for name in ("steps", "batch", "warm_up_steps", "validate_every", "validate_on", "loaders"):
        if getattr(training, name) < 1:
            raise SettingsError(f"{where} [training]: {name} is {getattr(training, name)}, expected at least 1")
    _check_average(training.average_decay, f"{where} [training]")


def _check_fine(fine: FineTraining, network: Any, where: str) -> None:
    if not getattr(network, "fine", ()) and not getattr(network, "coronal", ()):
        raise SettingsError(f"{where}: the network has no fine path")
    for name, least in (("steps", 1), ("studies", 1), ("slices", 2), ("warm_up_steps", 1)):
        if getattr(fine, name) < least:
            raise SettingsError(f"{where}: {name} is {getattr(fine, name)}, expected at least {least}")
    _check_average(fine.average_decay, where)


def _check_average(decay: float, where: str) -> None:
    if not 0.0 <= decay < 1.0:
        raise SettingsError(f"{where}: average_decay is {decay}, expected 0 to below 1")


def _check_augmentation(most: Augmentation, where: str) -> None:
    """Chances are chances, a width of more than nothing is one, and the bounds of density lie in order."""
    for name in ("mirror", "blur", "cut_level", "rescan"):
        if not 0.0 <= getattr(most, name) <= 1.0:
            raise SettingsError(f"{where}: {name} is {getattr(most, name)}, expected a chance from 0 to 1")
    for name in ("kernel_mm", "overshoot", "pixel_mm", "slice_mm", "grain_hu", "texture_hu", "curve"):
        if getattr(most, name) < 0.0:
            raise SettingsError(f"{where}: {name} is {getattr(most, name)}, expected at least 0")
    low, high = most.density
    if not 0.0 < low <= high:
        raise SettingsError(f"{where}: density is [{low}, {high}], expected two factors above 0 in order")
