"""What age and chance add to a vertebra: osteophytes, thick joints, bridges, ossified ligaments, gas in discs.

All of it follows from the wear of the disc above and below (`PhantomSpec.disc_wear`) and lies in the vertebra's frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.curve import ALL_LEVELS, SpineCurve
from inference.synthetic.field import Prim, bar, box, chain, ellipsoid, placed
from inference.synthetic.shape import Vertebra
from inference.synthetic.solid import Layer, Solid, bone_layers, solid
from inference.synthetic.spec import PhantomSpec

Array = NDArray[Any]
_DISH = ("C2", "C3", "C4", "C5", "C6", "C7", "T1")
_OPLL = ("C2", "C3", "C4", "C5")


@dataclass(frozen=True, kw_only=True)
class Wear:
    """`prims` belong to the vertebra's own bone; `over` is painted afterwards and carries no label."""

    prims: list[Prim] = field(default_factory=list)
    over: list[Solid] = field(default_factory=list)


def wear_out(spec: PhantomSpec, level: str, shape: Vertebra, curve: SpineCurve) -> Wear:
    """The wear of one vertebra, C2 to T1; nothing elsewhere."""
    out = Wear()
    if level not in _DISH:
        return out
    rng = np.random.default_rng([spec.seed, 606, ALL_LEVELS.index(level)])
    half, place = curve.heights[level] / 2, curve.frames[level]
    above, below = _disc_wear(spec, level)
    front, back = shape.marks["front"][1], abs(shape.marks["front"][1])
    for way, worn in ((1, above), (-1, below)):
        if worn > 0.15:
            out.prims.extend(_lips(spec.scale, worn, way * half, front, back, rng))
        if worn > 0.3:
            out.over.append(_sclerosis(spec, worn, way * half, rng, place))
    if below > 0.5 and rng.random() < 0.5:
        out.over.append(_vacuum(spec, -half - curve.gaps[level] / 2, curve.gaps[level], rng, place))
    out.prims.extend(_joints(spec, shape, rng))
    out.prims.extend(_bridge(spec, level, shape, half, rng))
    out.prims.extend(_ossified(spec, level, half + curve.gaps[level], front, back, rng))
    if level == "C7":
        out.over.extend(_cervical_ribs(spec, shape, place))
    return out


def _disc_wear(spec: PhantomSpec, level: str) -> tuple[float, float]:
    i = _DISH.index(level)
    return (spec.disc_wear[i - 1] if i else 0.0), (spec.disc_wear[i] if i < 6 else 0.0)


def _lips(s: float, worn: float, z: float, front: float, back: float, rng: np.random.Generator) -> list[Prim]:
    """Bony lips along the endplate's front and rear edge, and at its sides, where the uncinates are."""
    way, inside = np.sign(z), z - np.sign(z) * 1.2 * s
    out = []
    size = worn * rng.uniform(0.4, 1.5)
    if size > 0.15:
        y, shift, wide = front + 0.9 * s, rng.normal(0, 2.5), rng.uniform(3.5, 7.5)
        thick = (0.8 + 1.1 * size) * s
        left, right = (np.array([shift + x * wide, 0, 0]) * s + [0, y, inside] for x in (-1, 1))
        out.append(bar(left, right, thick, k=2))
        beak = np.array([shift * s, y - 0.6 * s, inside])
        tip = beak + np.array([rng.normal(0, 0.8), -(0.5 + 4.0 * size), way * rng.uniform(0, 2.5) * size]) * s
        out.append(bar(beak, tip, rng.uniform(3, 6) * s, (0.9 + 0.8 * size) * s, taper=0.55, k=2))
    size = worn * rng.uniform(0.0, 1.0)
    if size > 0.25:
        y, wide = back - 0.4 * s, rng.uniform(4, 8)
        left, right = (np.array([x * wide * s, y, inside]) for x in (-1, 1))
        out.append(bar(left, right, (0.5 + 1.3 * size) * s, (0.8 + 0.6 * size) * s, k=1.5))
    for side in (-1, 1):
        size = worn * rng.uniform(0, 1.2)
        if size > 0.3:
            at = np.array([side * (11.5 + size), rng.uniform(0, 4.5), 0]) * s + [0, 0, z + 0.2 * s]
            radii = np.array([1.2 + 1.3 * size, 2.5 + 1.5 * size, 1.2 + 1.0 * size]) * s
            out.append(ellipsoid(at, radii, k=2))
    return out


def _sclerosis(spec: PhantomSpec, worn: float, z: float, rng: np.random.Generator, place: Array) -> Solid:
    """Dense marrow under a worn endplate."""
    s, way = spec.scale, np.sign(z)
    depth = rng.uniform(1.0, 2.6) * worn * s
    at = np.array([rng.normal(0, 2) * s, rng.normal(-0.5, 1.5) * s, z - way * (0.8 * s + depth)])
    plate = box(at, (rng.uniform(4.5, 8) * s, rng.uniform(3, 5) * s, depth), 0.8 * depth)
    dense = spec.bone_hu + worn * rng.uniform(60, 420)
    layers = (Layer(depth_mm=0, hu=float(dense), texture_hu=120, cell_mm=2.5),)
    return solid("sclerosis", placed([plate], place), layers, soft_mm=2.0, step_mm=1.2, seed=spec.seed)


def _vacuum(spec: PhantomSpec, z: float, gap: float, rng: np.random.Generator, place: Array) -> Solid:
    """Gas in a worn disc."""
    s = spec.scale
    at = np.array([rng.normal(0, 2) * s, rng.normal(-1, 2) * s, z])
    cleft = ellipsoid(at, (rng.uniform(2, 6) * s, rng.uniform(1.5, 4.5) * s, max(0.35 * gap, 0.6)))
    return solid("vacuum", placed([cleft], place), float(rng.uniform(-800, -250)), soft_mm=0.4, step_mm=0.7)


def _joints(spec: PhantomSpec, shape: Vertebra, rng: np.random.Generator) -> list[Prim]:
    """Thick, bulging facet joints."""
    out = []
    for side, name in ((-1, "pillar-right"), (1, "pillar-left")):
        size = spec.facet_wear * rng.uniform(0, 1.3)
        if name in shape.marks and size > 0.3:
            offset = np.array([side * rng.uniform(1, 4), rng.uniform(-2, 4), rng.choice([-1, 1]) * rng.uniform(3, 6)])
            at = shape.marks[name] + offset * spec.scale
            out.append(ellipsoid(at, rng.uniform(1.8, 2.6, 3) * (0.8 + 0.7 * size) * spec.scale, k=2.5))
    return out


def _bridge(spec: PhantomSpec, level: str, shape: Vertebra, half: float, rng: np.random.Generator) -> list[Prim]:
    """Its half of what joins it to a fused neighbour: the whole disc and the joints, or an osteophyte in front."""
    pair = spec.fused.split("-") if spec.fused else []
    if level not in pair:
        return []
    s, way = spec.scale, -1 if level == pair[0] else 1
    end = way * half
    if spec.fused_kind == "ankylosis":
        front = shape.marks["front"][1]
        start = np.array([0, front + 1.0 * s, end - way * 4 * s])
        out = [bar(start, np.array([0, front - 1.2 * s, end + way * 3.5 * s]), rng.uniform(5, 8) * s, 2.0 * s, k=2.5)]
        return [*out, box([0, 1.5 * s, end], (6.0 * s, 4.0 * s, 2.6 * s), 1.2 * s, k=2.5)]
    out = [box([0, 0.5 * s, end], (rng.uniform(6.0, 8.0) * s, 5.4 * s, 3.0 * s), 1.5 * s, k=3)]
    for name in ("pillar-left", "pillar-right", "lamina-left", "lamina-right"):
        if name in shape.marks:
            at = shape.marks[name]
            out.append(bar(at, at + np.array([0, way * -1.5, way * 9.0]) * s, 2.6 * s, 2.6 * s, k=3))
    return out


def _ossified(
    spec: PhantomSpec, level: str, reach: float, front: float, back: float, rng: np.random.Generator
) -> list[Prim]:
    """Ossified longitudinal ligament: flowing in front ("dish") or a bar in the canal ("opll")."""
    s = spec.scale
    if spec.ossification == "dish" and level != "C2":
        bulge = rng.uniform(1.0, 5.0) * s
        ends = ([rng.normal(0, 2), front - 0.5 * s, z] for z in (-reach, reach))
        low, high = (np.array(e) for e in ends)
        middle = np.array([rng.normal(0, 2), front - 0.4 * bulge, 0])
        return chain([low, middle, high], rng.uniform(4, 8) * s, 1.0 * s + 0.45 * bulge, up=(0, 1, 0), k=2.5)
    if spec.ossification == "opll" and level in _OPLL[1:]:
        y = back + rng.uniform(0.5, 1.8) * s
        low, high = (np.array([rng.normal(0, 1.0), y, z]) for z in (-reach, reach))
        return [bar(low, high, rng.uniform(2.5, 5) * s, rng.uniform(1.0, 2.0) * s, up=(0, 1, 0), k=1.5)]
    return []


def _cervical_ribs(spec: PhantomSpec, shape: Vertebra, place: Array) -> list[Solid]:
    """A rib of its own at the transverse process of C7, as long as the spec says."""
    out = []
    for side, name, length in zip((-1, 1), ("right", "left"), spec.cervical_rib_mm, strict=True):
        if length <= 0:
            continue
        start = shape.marks[f"tp-tip-{name}"] + np.array([side * 1.5, -2.0, 0]) * spec.scale
        steps = np.array([[0, 0, 0], [side * 8, -3, -3], [side * 9, -12, -8], [side * 2, -26, -14]]) * spec.scale
        whole = float(np.linalg.norm(steps[-1])) + 10
        points = start + steps * min(length / whole, 1.6)
        prims = placed(chain(points, 2.3 * spec.scale, 3.2 * spec.scale, k=2), place)
        layers = bone_layers(spec.cortex_hu, 0.9, 0.7 * spec.bone_hu, 80)
        out.append(solid("cervical-rib", prims, layers, step_mm=0.9, seed=spec.seed))
    return out
