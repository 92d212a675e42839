"""`evaluate localiser`: a bundle's localiser on held-out phantoms, study by study."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch

from inference.bundle import LOCALISER, PLACE, SHAPE, load_bundle
from inference.evaluation.held_out import LEAST_VOXEL_MM, LEAST_VOXEL_TRUNK_MM, Case, held_out, make_study
from inference.evaluation.localiser import LITTLE_IN_VIEW, NEAR_EDGE_MM, score
from inference.evaluation.localiser_summary import summarise
from inference.evaluation.resumable import run
from inference.localise import NetworkLocaliser

Row = dict[str, Any]

_ROOT: Final = Path(__file__).parents[1]
# What decides a row: another state of these is another run.
_CODE: Final = (
    "synthetic/*.py",
    "localise.py",
    "placing.py",
    "pose.py",
    "shape.py",
    "postprocess.py",
    "level_order.py",
    "mask.py",
    "preprocess.py",
    "spine.py",
    "models/*.py",
    "evaluation/held_out.py",
    "evaluation/localiser.py",
)


@dataclass(frozen=True, kw_only=True)
class Assess:
    """Renders a case, locates its spine and scores it. Picklable: each process loads the bundle for itself."""

    bundle: str
    device: str
    threads: int

    def __call__(self, case: Case) -> Row:
        """The row of one case."""
        localiser = bundle_localiser(self.bundle, self.device, self.threads)
        begin = time.perf_counter()
        study = make_study(case)
        rendered = time.perf_counter()
        spine = localiser.locate(study.volume)
        seconds = {"render": round(rendered - begin, 2), "locate": round(time.perf_counter() - rendered, 2)}
        return {"group": case.group, "seed": case.seed, **score(study, spine), "seconds": seconds}


@lru_cache(maxsize=1)
def bundle_localiser(bundle: str, device: str = "cpu", threads: int = 1) -> NetworkLocaliser:
    """The localiser of a bundle, as the pipeline uses it; `threads` sets torch's process-wide count."""
    torch.set_num_threads(threads)
    target = torch.device(device)
    loaded = load_bundle(bundle, target)
    return NetworkLocaliser(loaded.localiser, target, place_net=loaded.place, shape_net=loaded.shape)


def evaluate_localiser(
    bundle: str,
    *,
    first_seed: int,
    phantoms: int,
    without: int,
    workers: int,
    work: Path | None,
    on_row: Callable[[Row], None],
    device: str = "cpu",
) -> dict[str, Any]:
    """The metrics of `localiser_summary` with how they were made; resumes from the `work` file (see `resumable`)."""
    cases = held_out(first_seed, phantoms, without)
    threads = max(1, (torch.get_num_threads() or 1) // max(1, workers))
    measure = Assess(bundle=bundle, device=device, threads=threads)
    header = run_header(bundle, device)
    rows = run(cases, measure, header=header, work=work, workers=workers, on_row=on_row)
    return {"made": {**header, **how_made(first_seed)}, **summarise(rows)}


def run_header(bundle: str, device: str) -> Row:
    """What a row depends on beside its case: weights, code, device."""
    manifest = load_bundle(bundle).manifest
    return {
        **{f"{Path(name).stem}_sha256": manifest["files"][name] for name in (LOCALISER, PLACE, SHAPE)},
        "code_sha256": code_sha256(),
        "device": device,
    }


def code_sha256() -> str:
    """One hash over the sources that make a study and its answer."""
    total = hashlib.sha256()
    for pattern in _CODE:
        for file in sorted(_ROOT.glob(pattern)):
            total.update(file.name.encode() + b"\0" + file.read_bytes())
    return total.hexdigest()


def how_made(first_seed: int) -> Row:
    """The design in words and numbers, for the reader of the metrics."""
    return {
        "kind": "synthetic data only",
        "first_seed": first_seed,
        "least_voxel_mm_zyx": {"neck and head": list(LEAST_VOXEL_MM), "trunk": list(LEAST_VOXEL_TRUNK_MM)},
        "dice_at_mm": 1.0,
        "status_margins": f"a complete level within {NEAR_EDGE_MM:g} mm of the border may be called partly in view, a "
        f"partial one with less than {LITTLE_IN_VIEW:.0%} of its box in view may go unreported; strict: neither",
        "intervals": "95 %: Wilson for shares, bootstrap over studies for means and percentiles",
    }
