"""Things that look like fractures and are not: the phantom's labelled negatives.

Holes and clefts are subtracted from the smooth bone, so they get a cortical rim of their own: that rim is what
tells them from a fracture.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.field import Prim, bar, box, ellipsoid, placed, rotation, tube
from inference.synthetic.solid import Layer, Solid, bone_layers, solid
from inference.synthetic.spec import DECOYS, LEVELS, PhantomSpec
from inference.synthetic.vertebra import Vertebra

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoration:
    """What a vertebra wears: more of its own bone, and separate things (name, primitives, layers) in its frame."""

    prims: list[Prim] = field(default_factory=list)
    things: list[tuple[str, list[Prim], tuple[Layer, ...]]] = field(default_factory=list)

    def placed(self, frame: Array, spec: PhantomSpec) -> list[Solid]:
        """The separate things as solids in patient mm; they carry no label."""
        return [
            solid(name, placed(prims, frame), layers, step_mm=0.7, seed=spec.seed)
            for name, prims, layers in self.things
        ]


def decorate(spec: PhantomSpec, level: str, shape: Vertebra) -> Decoration:
    """The decoys of one level."""
    out = Decoration()
    for kind in spec.decoys:
        adder = _ADDERS.get(kind)
        if adder is not None:
            rng = np.random.default_rng([spec.seed, 717, LEVELS.index(level), DECOYS.index(kind)])
            adder(spec, level, shape.marks, rng, out)
    return out


def _channels(spec: PhantomSpec, level: str, m: dict[str, Array], rng: np.random.Generator, out: Decoration) -> None:
    """Basivertebral clefts in the rear wall and small vessel channels in pillars and laminae."""
    s = spec.scale
    if "rear-wall" in m and rng.random() < 0.7:
        at = m["rear-wall"] + np.array([rng.normal(0, 1), 0.5, rng.normal(0, 1)]) * s
        out.prims.append(
            bar(
                at,
                at - np.array([0, rng.uniform(4, 7), 0]) * s,
                rng.uniform(0.8, 2.5) * s,
                rng.uniform(0.5, 0.9) * s,
                op="-",
                k=0.6,
            )
        )
    for name in ("pillar-left", "pillar-right", "lamina-left", "lamina-right", "pars-left", "pars-right"):
        if name in m and rng.random() < 0.3:
            way = rng.normal(0, 1, 3)
            way = way / np.linalg.norm(way) * rng.uniform(4, 8) * s
            out.prims.append(tube(m[name] - way, m[name] + way, rng.uniform(0.7, 1.1) * s, op="-", k=0.5))


def _osteophytes(spec: PhantomSpec, level: str, m: dict[str, Array], rng: np.random.Generator, out: Decoration) -> None:
    """Beaks at the endplates' front edges and at uncinates and facets."""
    s = spec.scale
    for name, z in (("corner", -1), ("upper-corner", 1)):
        if name in m and rng.random() < 0.6:
            at = m[name] + np.array([rng.normal(0, 2), 0.8, -z * 1.0]) * s
            tip = at + np.array([rng.normal(0, 1), -rng.uniform(1.5, 4.5), z * rng.uniform(0, 2.5)]) * s
            out.prims.append(bar(at, tip, rng.uniform(3, 7) * s, 1.6 * s, taper=0.5, k=1.5))
    for side in ("left", "right"):
        if f"pillar-{side}" in m and rng.random() < 0.35:
            at = m[f"pillar-{side}"] + rng.normal(0, 1, 3) * [2.5, 4, 5] * s
            out.prims.append(ellipsoid(at, rng.uniform(2, 4, 3) * s, k=2))


def _chronic_spinous(
    spec: PhantomSpec, level: str, m: dict[str, Array], rng: np.random.Generator, out: Decoration
) -> None:
    """An old avulsed tip: a wide smooth gap between rounded, corticated ends."""
    if level != ("C6" if rng.random() < 0.3 else "C7"):
        return
    base, tip = m["spinous-base"], m["spinous-tip"]
    at = base + (tip - base) * rng.uniform(0.5, 0.75)
    out.prims.append(
        box(
            at,
            (9 * spec.scale, rng.uniform(1.2, 2.2) * spec.scale, 12 * spec.scale),
            1.0,
            rotation(rng.uniform(-25, 25)),
            op="-",
            k=2.5,
        )
    )


def _cleft(spec: PhantomSpec, level: str, m: dict[str, Array], rng: np.random.Generator, out: Decoration) -> None:
    """A congenital gap in the posterior arch of C1 with rounded ends."""
    if level == "C1":
        half = (rng.uniform(1.2, 3.5) * spec.scale, 8 * spec.scale, 9 * spec.scale)
        at = m["back"] + np.array([rng.normal(0, 2), 0, 0]) * spec.scale
        out.prims.append(box(at, half, 0.8, op="-", k=3.0))


def _ossicle(spec: PhantomSpec, level: str, m: dict[str, Array], rng: np.random.Generator, out: Decoration) -> None:
    """Small rounded bones beside the vertebra: nuchal, below the anterior arch, at a facet."""
    if rng.random() > 0.3:
        return
    places = [
        m[k] + d
        for k, d in (
            ("spinous-tip", np.array([0, 7.0, -1])),
            ("corner", np.array([2.0, -3.5, -2.5])),
            ("front", np.array([0, -2.0, -7.5])),
            ("tp-tip-left", np.array([3.5, 0, -2.0])),
        )
        if k in m
    ]
    at = places[int(rng.integers(len(places)))]
    layers = bone_layers(spec.cortex_hu, 0.8, spec.bone_hu, 40)
    out.things.append(
        ("ossicle", [ellipsoid(at, rng.uniform(1.4, 3.2, 3), rotation(*rng.uniform(-40, 40, 3)))], layers)
    )


def _calcification(
    spec: PhantomSpec, level: str, m: dict[str, Array], rng: np.random.Generator, out: Decoration
) -> None:
    """Calcified plaques in vertebral and carotid arteries, and in the longus colli or ligaments."""
    prims = []
    for side, x in (("left", 1), ("right", -1)):
        if rng.random() < 0.5:
            prims.append(
                ellipsoid(m[f"foramen-{side}"] + rng.normal(0, 1, 3) * [1, 1, 5], rng.uniform(0.7, 1.6, 3), k=0.4)
            )
        if level in ("C3", "C4", "C5") and rng.random() < 0.8:
            at = np.array([x * 25, -20, 0]) + rng.normal(0, 1, 3) * [2.5, 2.5, 5]
            prims += [ellipsoid(at + rng.normal(0, 1.8, 3), rng.uniform(0.8, 2.4, 3), k=0.4) for _ in range(3)]
    if rng.random() < 0.15:
        prims.append(
            ellipsoid(
                m.get("corner", m["canal"]) + np.array([rng.normal(0, 4), -3, 2]), (1.5, 1.0, rng.uniform(2, 5)), k=0.4
            )
        )
    if prims:
        out.things.append(
            ("calcification", prims, (Layer(depth_mm=0, hu=float(rng.uniform(350, 900)), texture_hu=300, cell_mm=1.5),))
        )


def _hardware(spec: PhantomSpec, level: str, m: dict[str, Array], rng: np.random.Generator, out: Decoration) -> None:
    """An anterior plate with two screws at each of C5 and C6."""
    if level not in ("C5", "C6"):
        return
    s, way = spec.scale, -1 if level == "C5" else 1
    front = m["front"] + np.array([0, -1.2, 0]) * s
    prims = [box(front + np.array([0, 0, way * 3.5]) * s, (8 * s, 1.2 * s, 8.5 * s), 1.0, k=0.5)]
    for x in (-5, 5):
        head = front + np.array([x, 0, 0]) * s
        prims.append(bar(head, head + np.array([-x * 0.25, 14, way * -0.5]) * s, 1.7 * s, k=0.5))
    out.things.append(("hardware", prims, (Layer(depth_mm=0, hu=5500.0),)))


def _os_odontoideum(
    spec: PhantomSpec, level: str, m: dict[str, Array], rng: np.random.Generator, out: Decoration
) -> None:
    """A dens that never fused: a smooth, corticated gap above its base."""
    if level == "C2":
        at = m["dens-base"] + np.array([0, 0, rng.uniform(4.5, 7)]) * spec.scale
        out.prims.append(
            box(at, (8 * spec.scale, 9 * spec.scale, rng.uniform(1.0, 2.0) * spec.scale), 0.8, op="-", k=3.0)
        )


def _schmorl(spec: PhantomSpec, level: str, m: dict[str, Array], rng: np.random.Generator, out: Decoration) -> None:
    """Rounded dents in the endplates."""
    if "upper-corner" in m and rng.random() < 0.5:
        z = m["upper-corner" if rng.random() < 0.5 else "corner"][2]
        out.prims.append(
            ellipsoid([rng.normal(0, 3), rng.normal(0, 2), z], rng.uniform(2.0, 4.0, 3) * spec.scale, op="-", k=1.2)
        )


_ADDERS = {
    "nutrient-foramina": _channels,
    "osteophytes": _osteophytes,
    "chronic-spinous": _chronic_spinous,
    "c1-posterior-cleft": _cleft,
    "ossicle": _ossicle,
    "vascular-calcification": _calcification,
    "hardware": _hardware,
    "os-odontoideum": _os_odontoideum,
    "schmorl-node": _schmorl,
}
