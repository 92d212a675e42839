"""A person as implicit surfaces in patient millimetres, built from a spec."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.breaks import Breaks
from inference.synthetic.curve import ALL_LEVELS, SpineCurve, build_curve
from inference.synthetic.decoration import Decoration, Decoy, Shade
from inference.synthetic.decoys import decorate
from inference.synthetic.field import bar, bounds_of, ellipsoid, placed
from inference.synthetic.fractures import break_vertebra, squash_of
from inference.synthetic.muscles import muscles
from inference.synthetic.neck import Neck
from inference.synthetic.skull import Head
from inference.synthetic.solid import Layer, Solid, bone_layers, solid
from inference.synthetic.spec import LEVELS, PhantomSpec
from inference.synthetic.throat import Throat
from inference.synthetic.trunk import Trunk
from inference.synthetic.vertebra import Traits, Vertebra, build_vertebra
from inference.synthetic.wear import wear_out

Array = NDArray[Any]
# C1-C7, then T1-T12 numbered on as in the RSNA 2022 segmentations, then L1-L5.
LABELS = {level: number for number, level in enumerate(ALL_LEVELS, start=1)}
SKULL_LABEL = 25
_LOWEST = {"cspine": "T6", "neck": "T6", "head": "T3", "chest": "L4", "abdomen": "L5", "wholebody": "L5"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Anatomy:
    """Solids in painting order, then the articulating bones (skull first, then C1 downwards).

    `centres_lps_mm` is the body's centre (C1: the ring's); `boxes_lps_mm` the bone's (lo, hi) corners.
    """

    spec: PhantomSpec
    curve: SpineCurve
    flesh: Solid
    soft: tuple[Solid, ...]
    bones: tuple[Solid, ...]
    over: tuple[Solid, ...]
    outside: tuple[Solid, ...]
    breaks: dict[str, Breaks]
    shapes: dict[str, Vertebra]
    centres_lps_mm: dict[str, tuple[float, float, float]]
    boxes_lps_mm: dict[str, tuple[Array, Array]]
    fracture_boxes: dict[str, list[tuple[Array, Array]]]
    metal_lps_mm: Array
    decoys: tuple[Decoy, ...]
    shades: tuple[Shade, ...]


def _marrow_hu(spec: PhantomSpec, level: str) -> float:
    """Cancellous HU falls from C2 to T1."""
    index = ALL_LEVELS.index(level)
    share = float(np.interp(index, [0, 1, 3, 5, 7, 10, 23], [1.08, 1.05, 1.0, 0.9, 0.78, 0.68, 0.55]))
    return spec.bone_hu * share


def _traits(spec: PhantomSpec, level: str, curve: SpineCurve) -> Traits:
    return Traits(
        scale=spec.scale,
        width=spec.width_scale,
        height_mm=curve.heights.get(level, 0.0),
        spinous=spec.spinous_scale[LEVELS.index(level)] if level in LEVELS else 1.0,
        rough_mm=spec.shape_noise_mm,
        rough_cell_mm=spec.shape_cell_mm,
        variant=spec.c1_variant if level == "C1" else "",
        squash=squash_of(spec, level),
    )


def _vertebrae(
    spec: PhantomSpec, curve: SpineCurve
) -> tuple[list[Solid], dict[str, Vertebra], dict[str, Decoration], list[Solid]]:
    lowest = ALL_LEVELS.index(_LOWEST[spec.coverage])
    solids, shapes, extras, worn = [], {}, {}, []
    for i, level in enumerate(ALL_LEVELS[: lowest + 1]):
        rng = np.random.default_rng([spec.seed, 202, i])
        shape = build_vertebra(level, rng, _traits(spec, level, curve))
        extra = decorate(spec, level, shape) if level in LEVELS else Decoration()
        wear = wear_out(spec, level, shape, curve)
        worn += wear.over
        prims = placed(shape.prims + wear.prims + extra.prims, curve.frames[level])
        hu = _marrow_hu(spec, level)
        thick = spec.cortex_mm * (1.5 if level == "C1" else 1.0)
        layers = bone_layers(spec.cortex_hu, thick, hu, spec.marrow_texture_hu)
        solids.append(solid(level, prims, layers, label=LABELS[level], step_mm=0.8, seed=spec.seed + 17 * i))
        shapes[level], extras[level] = shape, extra
    return solids, shapes, extras, worn


def _surroundings(spec: PhantomSpec, neck: Neck, curve: SpineCurve) -> list[Solid]:
    """Table, pillow or board; a collar follows the skin and is the renderer's business."""
    c4, c7 = curve.frames["C4"][:3, 3], curve.frames["C7"][:3, 3]
    back = c7[1] + (125 if spec.coverage in ("cspine", "neck", "head") else 150) * spec.scale + spec.fat_mm
    table = [bar([c4[0] - 190, back + 12, c4[2]], [c4[0] + 190, back + 12, c4[2]], 5.0, 1200.0, up=(0, 0, 1))]
    shell = (Layer(depth_mm=0, hu=-250.0), Layer(depth_mm=2.0, hu=-960.0))
    out = [solid("table", table, shell, step_mm=2.0)]
    head = curve.frames["skull"][:3, 3]
    if spec.collar == "pillow":
        at = head + np.array([0, 95, 30])
        out.append(
            solid("pillow", [ellipsoid(at, (110, 28, 90))], (Layer(depth_mm=0, hu=-940.0, texture_hu=30),), step_mm=2.0)
        )
    elif spec.collar == "board":
        plate = [bar([c4[0] - 140, back - 14, c4[2]], [c4[0] + 140, back - 14, c4[2]], 7.0, 900.0, up=(0, 0, 1))]
        out.append(solid("board", plate, (Layer(depth_mm=0, hu=-80.0), Layer(depth_mm=3.0, hu=-900.0)), step_mm=2.0))
    return out


def build_anatomy(spec: PhantomSpec) -> Anatomy:
    """Everything that can be painted, placed in patient space; nothing is rendered yet."""
    curve = build_curve(spec)
    head, neck, trunk = Head(spec, curve.frames["skull"]), Neck(spec, curve), Trunk(spec, curve)
    throat = Throat(neck)
    vertebrae, shapes, extras, worn = _vertebrae(spec, curve)
    low = spec.coverage in ("wholebody", "chest", "abdomen")
    skin = head.flesh() + neck.flesh() + trunk.flesh()
    flesh = solid(
        "flesh",
        skin,
        (
            Layer(depth_mm=0, hu=15),
            Layer(depth_mm=1.8, hu=spec.fat_hu, texture_hu=14, cell_mm=6),
            Layer(depth_mm=1.8 + spec.fat_mm, hu=0.5 * spec.fat_hu + 0.5 * spec.muscle_hu, texture_hu=44, cell_mm=9),
        ),
        step_mm=2.5,
        seed=spec.seed,
    )
    skull, face, brain = head.bones()
    soft = [
        *(trunk.abdomen() if low else []),
        *trunk.lungs(),
        *muscles(neck),
        *neck.viscera(),
        *head.mouth(),
        *throat.airway(),
        *neck.discs(),
        *neck.canal(),
        *neck.vessels(),
    ]
    other = [*trunk.ribs(), *trunk.girdle(), *(trunk.pelvis() if low else [])]
    over = [*worn, face, brain, *head.air(), *head.jaw(), *throat.cartilages(), *other, *neck.tubes()]
    over += [solid_ for lv, e in extras.items() for solid_ in e.placed(curve.frames[lv], spec)]
    breaks = {lv: break_vertebra(spec, lv, shapes[lv], curve.frames[lv]) for lv in LEVELS}
    breaks = {lv: b for lv, b in breaks.items() if b}
    return Anatomy(
        spec=spec,
        curve=curve,
        flesh=flesh,
        soft=tuple(soft),
        bones=(replace(skull, label=SKULL_LABEL), *vertebrae),
        over=tuple(over),
        outside=tuple(_surroundings(spec, neck, curve)),
        breaks=breaks,
        shapes=shapes,
        centres_lps_mm={v.name: _point(curve.frames[v.name][:3, 3]) for v in vertebrae},
        boxes_lps_mm={v.name: bounds_of(v.prims) for v in vertebrae},
        fracture_boxes=_fracture_boxes(breaks, {v.name: bounds_of(v.prims) for v in vertebrae}),
        metal_lps_mm=_metal(over),
        decoys=_decoys(spec, extras, curve),
        shades=tuple(shade for lv, e in extras.items() for shade in e.shades(curve.frames[lv])),
    )


def _decoys(spec: PhantomSpec, extras: dict[str, Decoration], curve: SpineCurve) -> tuple[Decoy, ...]:
    """The labelled negatives that are really there, and motion where the scan has it."""
    moved = [Decoy(kind="motion", level=None, centre_lps_mm=None)] if spec.scanner.motion_mm else []
    return (*(d for lv, e in extras.items() for d in e.decoys(curve.frames[lv], lv)), *moved)


def _fracture_boxes(
    breaks: dict[str, Breaks], boxes: dict[str, tuple[Array, Array]]
) -> dict[str, list[tuple[Array, Array]]]:
    """A rough box per break (the exact one is the mask's): 14 mm about its surfaces' centres, inside the bone."""
    out: dict[str, list[tuple[Array, Array]]] = {}
    for level, broken in breaks.items():
        lo, hi = boxes[level]
        at = [s.frame[:3, 3] for c in broken.cuts for s in c.surfaces] + [np.asarray(c.centre) for c in broken.cracks]
        at += [np.asarray(b.centre) for b in broken.bruises if b.marks]
        out[level] = [(np.maximum(p - 14, lo), np.minimum(p + 14, hi)) for p in at]
    return out


def _point(at: Array) -> tuple[float, float, float]:
    return float(at[0]), float(at[1]), float(at[2])


def _metal(solids: list[Solid]) -> Array:
    """Centres of metal, LPS mm [n, 3]."""
    found = []
    for s in solids:
        if s.name in ("dental-metal", "hardware"):
            for p in s.prims:
                lo, hi = p.bounds
                found.append((lo + hi) / 2)
    return np.array(found).reshape(-1, 3)
