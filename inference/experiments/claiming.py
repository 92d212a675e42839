"""A run's folder belongs to one request: `run.json` says which, and another request is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from inference.experiments.errors import RunMismatch, SettingsError
from inference.experiments.settings import experiment_from

if TYPE_CHECKING:
    from inference.experiments.running import Run

# Settings that change nothing in what is learnt: a run may be continued with others.
_OF_THE_MACHINE: Final = ("loaders", "cache_mib")


def claim(run: Run, studies: dict[str, str]) -> None:
    """The folder belongs to this run, or becomes its own; `studies` are digests of those it has.

    Raises RunMismatch saying what differs from the run that is there.
    """
    asked: dict[str, Any] = {
        "experiment": _learnt(run.experiment.as_json()),
        "studies": studies,
        "start": None if run.start is None else run.start.source,
    }
    file = run.folder / "run.json"
    if not file.exists():
        part = file.with_suffix(".part")
        part.write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")
        os.replace(part, file)
        return
    differing = _differing(asked, _request(file))
    if differing:
        raise RunMismatch(
            f"{run.folder} holds a run with other settings ({', '.join(differing)}); continue it with its own "
            f"(see {file}) or take another folder"
        )


def _request(file: Path) -> dict[str, Any]:
    """What the run that is there was asked for; settings that came into the program since count as their defaults."""
    before: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    try:
        before["experiment"] = _learnt(experiment_from(before["experiment"], str(file)).as_json())
    except (KeyError, SettingsError):
        before["experiment"] = {}
    return before


def _learnt(experiment: dict[str, Any]) -> dict[str, Any]:
    """The settings without those of the machine."""
    training = {key: value for key, value in experiment["training"].items() if key not in _OF_THE_MACHINE}
    return {**experiment, "training": training}


def _differing(asked: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """What differs: tables of the experiment in brackets, then the rest."""
    mine, theirs = asked["experiment"], before["experiment"]
    tables = [f"[{key}]" for key in mine if theirs.get(key) != mine[key]]
    return tables + [key for key in asked if key != "experiment" and before.get(key) != asked[key]]
