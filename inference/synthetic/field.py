"""Signed distance fields on regular lattices: the primitives every structure of the phantom is made of.

A primitive knows the rigid transform from patient millimetres to its own frame, so on a lattice, whose
index-to-patient map is affine, its local coordinates are three broadcast sums of one-dimensional arrays. That
and evaluating each primitive only near itself is what keeps a whole neck under a second in plain NumPy.

Distances are negative inside, in mm, float32, and only trustworthy within `REACH_MM` of a surface: further out a
field holds at most `FAR_MM`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.synthetic.noise import value_noise

Array = NDArray[Any]
REACH_MM = 4.0
FAR_MM = 9.0
_ROUGH_REACH_MM = 3.2
_EPS = np.float32(1e-6)


@dataclass(frozen=True, kw_only=True, eq=False)
class Prim:
    """One primitive: `local = inv @ (x, y, z, 1)`; `half` bounds it in its own frame, centred on the origin.

    `op` is "+" (smooth union with what came before), "-" (smooth subtraction) or "~" (what came before made uneven);
    `k` is the blend radius, mm.
    """

    kind: str
    inv: Array
    params: tuple[float, ...]
    half: tuple[float, float, float]
    op: str = "+"
    k: float = 1.5

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """Axis-aligned bounds (lo, hi) in the frame that `inv` maps from."""
        back = np.linalg.inv(self.inv[:, :3])
        centre = -back @ self.inv[:, 3]
        reach = np.abs(back) @ np.asarray(self.half)
        return centre - reach, centre + reach


@dataclass(frozen=True, kw_only=True, eq=False)
class Lattice:
    """A box of sample points: LPS mm = `affine` (3 x 4) @ (ix, iy, iz, 1); `shape` is [z, y, x]."""

    affine: Array
    shape: tuple[int, int, int]

    @cached_property
    def _back(self) -> Array:
        return np.linalg.inv(self.affine[:, :3])

    def index_box(self, lo: Array, hi: Array) -> tuple[slice, slice, slice] | None:
        """The [z, y, x] slices of the samples that may lie between two corners in mm; None where there are none."""
        inverse = self._back
        middle = inverse @ ((lo + hi) / 2 - self.affine[:, 3])
        reach = np.abs(inverse) @ ((hi - lo) / 2)
        first = np.maximum(np.floor(middle - reach).astype(int), 0)
        last = np.minimum(np.ceil(middle + reach).astype(int) + 1, np.array(self.shape[::-1]))
        if np.any(first >= last):
            return None
        x, y, z = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        return z, y, x

    def part(self, box: tuple[slice, slice, slice]) -> Lattice:
        """The lattice of one index box of this one."""
        z, y, x = box
        affine = self.affine.copy()
        affine[:, 3] = self.affine @ np.array([x.start, y.start, z.start, 1.0])
        return Lattice(affine=affine, shape=(z.stop - z.start, y.stop - y.start, x.stop - x.start))

    def coordinates(self, inv: Array) -> tuple[Array, Array, Array]:
        """Local coordinates (u, v, w) of every sample under a 3 x 4 transform, float32 [z, y, x]."""
        nz, ny, nx = self.shape
        full = np.vstack([self.affine, [0, 0, 0, 1]])
        m = (np.asarray(inv) @ full).astype(np.float32)
        ix, iy, iz = (np.arange(n, dtype=np.float32) for n in (nx, ny, nz))
        out = []
        for row in m:
            plane = (row[1] * iy + row[3])[:, None] + row[0] * ix
            out.append((row[2] * iz)[:, None, None] + plane)
        return out[0], out[1], out[2]


def rigid_inverse(frame: Array) -> Array:
    """The 3 x 4 inverse of a rigid 4 x 4 (or 3 x 4) transform."""
    turn = frame[:3, :3].T
    return np.hstack([turn, (-turn @ frame[:3, 3])[:, None]])


def placed(prims: list[Prim], frame: Array) -> list[Prim]:
    """The primitives moved from a local frame into the one that the rigid 4 x 4 `frame` maps to."""
    back = np.vstack([rigid_inverse(frame), [0, 0, 0, 1]])
    return [replace(p, inv=p.inv @ back) for p in prims]


def bounds_of(prims: list[Prim]) -> tuple[Array, Array]:
    """Axis-aligned bounds of the union parts of a list of primitives."""
    corners = [p.bounds for p in prims if p.op == "+"]
    return np.min([c[0] for c in corners], axis=0), np.max([c[1] for c in corners], axis=0)


# --- constructors ---------------------------------------------------------------------------------------------
def rotation(x_deg: float = 0.0, y_deg: float = 0.0, z_deg: float = 0.0) -> Array:
    """Rz @ Ry @ Rx, right-handed, degrees. Positive x leans "up" towards anterior (-y) in LPS."""
    ax, ay, az = np.radians([x_deg, y_deg, z_deg])
    cx, sx, cy, sy, cz, sz = np.cos(ax), np.sin(ax), np.cos(ay), np.sin(ay), np.cos(az), np.sin(az)
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return rz @ ry @ rx


def frame(centre: Any, turn: Array | None = None) -> Array:
    """A rigid 4 x 4 from a centre and a rotation."""
    out = np.eye(4)
    out[:3, 3] = centre
    if turn is not None:
        out[:3, :3] = turn
    return out


def ellipsoid(centre: Any, radii: Any, turn: Array | None = None, *, op: str = "+", k: float = 1.5) -> Prim:
    """An ellipsoid with semi-axes `radii`."""
    a, b, c = (float(r) for r in radii)
    inv = rigid_inverse(frame(centre, turn))
    return Prim(kind="ellipsoid", inv=inv, params=(a, b, c), half=(a, b, c), op=op, k=k)


def box(centre: Any, half: Any, r: float, turn: Array | None = None, *, op: str = "+", k: float = 1.5) -> Prim:
    """A box with half sizes `half` (rounding included) and edge radius `r`."""
    a, b, c = (float(h) for h in half)
    inv = rigid_inverse(frame(centre, turn))
    return Prim(kind="box", inv=inv, params=(a - r, b - r, c - r, r), half=(a, b, c), op=op, k=k)


def _cross(v: Array, w: Array) -> Array:
    return np.array([v[1] * w[2] - v[2] * w[1], v[2] * w[0] - v[0] * w[2], v[0] * w[1] - v[1] * w[0]])


def _along(start: Any, end: Any, up: Any) -> tuple[Array, float]:
    start, end = np.asarray(start, float), np.asarray(end, float)
    length = float(np.linalg.norm(end - start))
    w = (end - start) / length
    up = np.asarray(up, float)
    v = up - w * (w @ up)
    if np.linalg.norm(v) < 1e-3:
        v = np.array([0.0, 1.0, 0.0]) - w * w[1]
    v = v / np.linalg.norm(v)
    return frame((start + end) / 2, np.column_stack([_cross(v, w), v, w])), length


def bar(
    start: Any,
    end: Any,
    a: float,
    b: float | None = None,
    *,
    up: Any = (0.0, 0.0, 1.0),
    taper: float = 1.0,
    op: str = "+",
    k: float = 1.5,
) -> Prim:
    """A capsule between two points with elliptic section: `b` along `up`, `a` across; `taper` scales the end."""
    place, length = _along(start, end, up)
    b = a if b is None else b
    widest = max(1.0, taper)
    half = (a * widest, b * widest, length / 2 + min(a, b) * widest)
    return Prim(kind="bar", inv=rigid_inverse(place), params=(a, b, length / 2, taper), half=half, op=op, k=k)


def plate(
    start: Any, end: Any, thick: float, tall: float, *, lean_deg: float = 0.0, r: float = 1.2, k: float = 2.0
) -> Prim:
    """A flat plate between two points, half sizes `thick` and `tall`, upright but for its top leaning forwards."""
    place, length = _along(start, end, (0, 0, 1))
    u, v, w = (place[:3, i] for i in range(3))
    lean = np.radians(lean_deg) * (1 if u[1] < 0 else -1)
    turn = np.column_stack([u * np.cos(lean) - v * np.sin(lean), v * np.cos(lean) + u * np.sin(lean), w])
    return box(place[:3, 3], (thick, tall, length / 2 + thick), min(r, 0.9 * thick), turn, k=k)


def tube(
    start: Any, end: Any, a: float, b: float | None = None, *, up: Any = (0, 1, 0), op: str = "-", k: float = 0.8
) -> Prim:
    """A flat-ended elliptic cylinder between two points; by default it drills a hole."""
    place, length = _along(start, end, up)
    b = a if b is None else b
    return Prim(kind="tube", inv=rigid_inverse(place), params=(a, b, length / 2), half=(a, b, length / 2), op=op, k=k)


def chain(points: Any, a: Any, b: Any = None, *, up: Any = (0, 0, 1), k: float = 1.5) -> list[Prim]:
    """Bars along a polyline; `a` and `b` may be one value or one per segment."""
    n = len(points) - 1
    first = np.broadcast_to(np.asarray(a, float), n)
    second = first if b is None else np.broadcast_to(np.asarray(b, float), n)
    return [bar(points[i], points[i + 1], float(first[i]), float(second[i]), up=up, k=k) for i in range(n)]


def curved(points: Any, a: Any, b: Any = None, *, up: Any = (0, 0, 1), k: float = 1.5) -> list[Prim]:
    """`chain` along a Catmull-Rom curve through the points: two bars for each segment."""
    p = np.asarray(points, float)
    n = len(p) - 1
    ends = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    middle = (9 * (ends[1:-2] + ends[2:-1]) - ends[:-3] - ends[3:]) / 16
    path = np.empty((2 * n + 1, 3))
    path[::2], path[1::2] = p, middle
    twice = [None if v is None else np.repeat(np.broadcast_to(np.asarray(v, float), n), 2) for v in (a, b)]
    return chain(path, twice[0], twice[1], up=up, k=k)


def vertebral_body(
    centre: Any,
    *,
    width: float,
    depth: float,
    height: float,
    flare: float,
    waist: float,
    arch: float,
    tilt_top_mm: float = 0.0,
    tilt_bottom_mm: float = 0.0,
    wedge_mm: float = 0.0,
    dip_mm: float = 0.0,
    k: float = 1.5,
) -> Prim:
    """A vertebral body: superelliptic section, waisted, flared upwards, arched below.

    The tilts make its back taller than its front, by that much above and below at either wall. `wedge_mm` lowers
    the front of the upper endplate, `dip_mm` its middle (a compressed body).
    """
    params = (width / 2, depth / 2, height / 2, flare, waist, arch, tilt_top_mm, tilt_bottom_mm, wedge_mm, dip_mm)
    half = (width / 2 + flare + 1, depth / 2 + 1.5, height / 2 + 2.5)
    return Prim(kind="body", inv=rigid_inverse(frame(centre)), params=params, half=half, k=k)


def roughness(seed: int, size_mm: float, cell_mm: float) -> Prim:
    """Makes the surface of all primitives before it uneven by about `size_mm`, over cells of `cell_mm`."""
    far = (1e3, 1e3, 1e3)
    return Prim(kind="rough", inv=np.eye(4)[:3], params=(float(seed), size_mm, cell_mm), half=far, op="~", k=0.0)


# --- distances ------------------------------------------------------------------------------------------------
def _ellipsoid(u: Array, v: Array, w: Array, a: float, b: float, c: float) -> Array:
    u = u * np.float32(1 / a)
    v = v * np.float32(1 / b)
    w = w * np.float32(1 / c)
    k0 = np.sqrt(u * u + v * v + w * w)
    u *= np.float32(1 / a)
    v *= np.float32(1 / b)
    w *= np.float32(1 / c)
    k1 = np.sqrt(u * u + v * v + w * w) + _EPS
    out: Array = k0 * (k0 - 1) / k1 - _EPS
    return np.where(k0 < 0.05, np.float32(-min(a, b, c)), out)


def _box(u: Array, v: Array, w: Array, a: float, b: float, c: float, r: float) -> Array:
    u = np.abs(u) - np.float32(a)
    v = np.abs(v) - np.float32(b)
    w = np.abs(w) - np.float32(c)
    inside = np.minimum(np.maximum(np.maximum(u, v), w), 0)
    np.maximum(u, 0, out=u)
    np.maximum(v, 0, out=v)
    np.maximum(w, 0, out=w)
    return np.sqrt(u * u + v * v + w * w) + inside - np.float32(r)


def _bar(u: Array, v: Array, w: Array, a: float, b: float, half: float, taper: float) -> Array:
    q = np.clip(w, np.float32(-half), np.float32(half))
    w = w - q
    if taper != 1.0:
        scale = 1 + np.float32((taper - 1) / (2 * half)) * (q + np.float32(half))
        u, v, w = u / scale, v / scale, w / scale
    if abs(a - b) < 1e-3:
        d = np.sqrt(u * u + v * v + w * w) - np.float32(a)
    else:
        d = _ellipsoid(u, v, w, a, b, min(a, b))
    return d * scale if taper != 1.0 else d


def _tube(u: Array, v: Array, w: Array, a: float, b: float, half: float) -> Array:
    r = np.sqrt(u * u + v * v) + _EPS
    rho = r if abs(a - b) < 1e-3 else np.sqrt((u / np.float32(a)) ** 2 + (v / np.float32(b)) ** 2) + _EPS
    side = r - np.float32(a) if abs(a - b) < 1e-3 else r - r / rho
    return np.maximum(side, np.abs(w) - np.float32(half))


def _body(
    u: Array,
    v: Array,
    w: Array,
    a: float,
    b: float,
    h: float,
    flare: float,
    waist: float,
    arch: float,
    tilt_top: float,
    tilt_bottom: float,
    wedge: float,
    dip: float,
) -> Array:
    t = np.clip(w * np.float32(1 / h), -1.2, 1.2)
    tt = t * t
    aa = np.float32(a - waist) + np.float32(waist) * tt + np.float32(flare) * np.maximum(t, 0) * tt
    bb = np.float32(b - waist) + np.float32(waist) * tt
    x, y = u / aa, v / bb
    xx, yy = x * x, y * y
    rho = 0.5 * np.sqrt(xx + yy) + 0.5 * np.sqrt(np.sqrt(xx * xx + yy * yy)) + _EPS
    side = np.sqrt(u * u + v * v) * (1 - 1 / rho)
    np.minimum(xx, 1.5, out=xx)
    np.minimum(yy, 1.5, out=yy)
    np.clip(y, -1.2, 1.2, out=y)
    top = np.float32(h + 0.1) + np.float32(1.0) * xx + np.float32(tilt_top) * y
    if wedge or dip:
        top = top - np.float32(wedge) * np.clip(0.5 - 0.5 * y, 0, 1) - np.float32(dip) * np.maximum(1 - xx - yy, 0)
    bottom = np.float32(-h - 0.5) + np.float32(arch) * (1 - yy) + np.float32(0.8) * xx - np.float32(tilt_bottom) * y
    ends = np.maximum(w - top, bottom - w)
    return smooth_max(side, ends, 2.0)


_DISTANCE: dict[str, Callable[..., Array]] = {
    "ellipsoid": _ellipsoid,
    "box": _box,
    "bar": _bar,
    "tube": _tube,
    "body": _body,
}


def smooth_min(a: Array, b: Array, k: float) -> Array:
    """Polynomial smooth minimum with blend radius `k` mm (Quilez); differs from min only where |a - b| < k."""
    m = np.maximum(np.float32(k) - np.abs(a - b), 0)
    return np.minimum(a, b) - m * m * np.float32(0.25 / k)


def smooth_max(a: Array, b: Array, k: float) -> Array:
    """Polynomial smooth maximum with blend radius `k` mm."""
    m = np.maximum(np.float32(k) - np.abs(a - b), 0)
    return np.maximum(a, b) + m * m * np.float32(0.25 / k)


def distance(prim: Prim, lattice: Lattice) -> Array:
    """The primitive's own distance, mm, at every sample of the lattice."""
    u, v, w = lattice.coordinates(prim.inv)
    return _DISTANCE[prim.kind](u, v, w, *prim.params)


def evaluate(prims: list[Prim], lattice: Lattice, far: float = FAR_MM) -> Array:
    """The smooth union/subtraction of the primitives, in order, float32 [z, y, x]; `far` where nothing is near."""
    out = np.full(lattice.shape, np.float32(far), dtype=np.float32)
    for prim in prims:
        if prim.op == "~":
            _roughen(out, prim, lattice)
            continue
        lo, hi = prim.bounds
        margin = max(REACH_MM, prim.k) if prim.op == "+" else prim.k + 0.5
        box_ = lattice.index_box(lo - margin, hi + margin)
        if box_ is None:
            continue
        d = distance(prim, lattice.part(box_))
        here = out[box_]
        out[box_] = smooth_min(here, d, prim.k) if prim.op == "+" else smooth_max(here, -d, prim.k)
    return out


def _roughen(out: Array, prim: Prim, lattice: Lattice) -> None:
    """Shift the surface in place by two octaves of smooth noise, where the field is near it.

    It is worn down by half a millimetre at most, so that thin plates stay whole; away from the surface the shift fades
    to nothing, so that no rounding decides about it.
    """
    seed, size, cell = prim.params
    z, y, x = np.nonzero(np.abs(out) < np.float32(_ROUGH_REACH_MM))
    fade = np.minimum(np.float32(_ROUGH_REACH_MM) - np.abs(out[z, y, x]), 1)
    index = np.stack([x, y, z]).astype(np.float32)
    m = (prim.inv @ np.vstack([lattice.affine, [0, 0, 0, 1]])).astype(np.float32)
    at = m[:, :3] @ index + m[:, 3:]
    where = (at[0], at[1], at[2])
    shift = value_noise(int(seed), where, cell)
    shift += np.float32(0.5) * value_noise(int(seed) + 1, where, 0.47 * cell)
    out[z, y, x] += fade * np.minimum(np.float32(size) * shift, np.float32(0.4))
