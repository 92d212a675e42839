"""The findings as one picture: what a workstation shows that takes nothing but captures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from PIL import Image, ImageDraw

from dicom_node.core.finding import LEVELS
from dicom_node.results import codes, drawing
from dicom_node.results.calls import Call
from dicom_node.results.wording import NEGATIVE, POSITIVE, LevelSaid, Narrative

_SIDE_PX = 1024
_EDGE_PX = 36
_TEXT_PX, _SMALL_PX, _TITLE_PX, _VERDICT_PX = 27, 23, 34, 32
_LEADING = 1.25
_PAPER: drawing.RGB = (8, 10, 12)
_SOFT: drawing.RGB = (168, 176, 184)
_ALARM: drawing.RGB = (255, 120, 105)
_VERDICTS: dict[str, drawing.RGB] = {POSITIVE: (122, 24, 20), NEGATIVE: (22, 78, 44)}
_NEITHER: drawing.RGB = (92, 68, 10)


def draw_summary(narrative: Narrative) -> Image.Image:
    """Verdict, levels, what was looked at and the limits, as many pixels high as they need and at least square."""
    height = 2 * _SIDE_PX
    page = _written(narrative, height)
    while page.needed_px > height:
        height *= 2
        page = _written(narrative, height)
    return page.cut()


def _written(narrative: Narrative, height: int) -> _Page:
    page = _Page(Image.new("RGB", (_SIDE_PX, height), _PAPER))
    page.write([narrative.title], size=_TITLE_PX)
    page.gap(14)
    page.boxed(narrative.verdict.text, _VERDICTS.get(narrative.verdict.kind, _NEITHER))
    page.gap(18)
    page.write(narrative.changes, size=_SMALL_PX, ink=_SOFT)
    for said in narrative.levels:
        page.level(said)
    page.gap(14)
    page.write((*narrative.looked_at, *narrative.quality), size=_SMALL_PX, ink=_SOFT)
    page.gap(10)
    page.write(narrative.limits, size=_SMALL_PX, ink=drawing.NOTICE_INK)
    return page


class _Page:
    """A column of text that grows downwards."""

    def __init__(self, image: Image.Image) -> None:
        self._image = image
        self._draw = ImageDraw.Draw(image)
        self._y = float(_EDGE_PX)

    @property
    def needed_px(self) -> int:
        """The height of what was written, with the edge below it."""
        return max(_SIDE_PX, round(self._y) + _EDGE_PX // 2)

    def gap(self, pixels: float) -> None:
        self._y += pixels

    def write(
        self,
        paragraphs: Iterable[str],
        *,
        size: int,
        ink: drawing.RGB = drawing.INK,
        left: float = _EDGE_PX,
    ) -> None:
        for paragraph in paragraphs:
            for line in _wrapped(paragraph, size, _SIDE_PX - _EDGE_PX - left):
                self._draw.text((left, self._y), line, fill=ink, font=drawing.font(size))
                self._y += size * _LEADING
            self._y += size * 0.3

    def boxed(self, said: str, fill: drawing.RGB) -> None:
        lines = list(_wrapped(said, _VERDICT_PX, _SIDE_PX - 2 * _EDGE_PX - 32))
        height = len(lines) * _VERDICT_PX * _LEADING + 26
        box = (_EDGE_PX, self._y, _SIDE_PX - _EDGE_PX, self._y + height)
        self._draw.rounded_rectangle(box, radius=10, fill=fill)
        for number, line in enumerate(lines):
            place = (_EDGE_PX + 16, self._y + 11 + number * _VERDICT_PX * _LEADING)
            self._draw.text(place, line, fill=drawing.MARK, font=drawing.font(_VERDICT_PX))
        self._y += height

    def level(self, said: LevelSaid) -> None:
        """The sentence beside a chip in the level's colour, that of the pictures."""
        if said.level in LEVELS:
            box = (_EDGE_PX, self._y - 1, _EDGE_PX + 12, self._y + _TEXT_PX + 3)
            self._draw.rectangle(box, fill=codes.COLOURS[said.level].rgb)
        ink = _ALARM if said.call is Call.PRESENT else _SOFT if said.call is None else drawing.INK
        self.write([said.text], size=_TEXT_PX, ink=ink, left=_EDGE_PX + 28)

    def cut(self) -> Image.Image:
        return self._image.crop((0, 0, _SIDE_PX, self.needed_px))


def _wrapped(paragraph: str, size: int, width: float) -> Iterator[str]:
    """Lines of whole words, a number with its sign. What Pillow's font has no letter for becomes a question mark."""
    line = ""
    for word in paragraph.replace(" %", "\u00a0%").encode("latin-1", "replace").decode("latin-1").split(" "):
        longer = f"{line} {word}" if line else word
        if line and drawing.font(size).getlength(longer) > width:
            yield line
            line = word
        else:
            line = longer
    yield line
