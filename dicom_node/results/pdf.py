"""The report on paper: A4, the verdict first, the spine from the side beside the levels, what was
looked at and its limits, and at the end the key images.

Drawn with ReportLab in its invariant mode, so that the same report is the same bytes. The fonts have no Chinese,
Japanese or Korean letters: of a name, the groups that can be written are shown, and where there are none, the Patient
ID has to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image as Pixels
from reportlab import rl_config
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    Image,
    KeepTogether,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)
from reportlab.platypus.doctemplate import LayoutError

from dicom_node.core.errors import EncodingInvalid
from dicom_node.results.calls import Call
from dicom_node.results.facts import PATIENT, PATIENT_ID, Facts, name_groups, shown_facts
from dicom_node.results.fonts import BOLD, REGULAR, font_file
from dicom_node.results.wording import NEGATIVE, POSITIVE, Narrative, picture_caption
from dicom_node.results.words import Words

_MARGIN = 16 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_GAP = 6 * mm
_FOOT = 12 * mm
_SIDE_VIEW = "sagittal"
_JPEG_QUALITY = 92
_INK, _SOFT, _LINE, _RED = HexColor("#1b2127"), HexColor("#57626d"), HexColor("#d9dee3"), HexColor("#a3201a")
_VERDICT = {
    POSITIVE: (HexColor("#fbe6e4"), HexColor("#a3201a")),
    NEGATIVE: (HexColor("#e2f3e8"), HexColor("#1e6b3a")),
}
_NEITHER = (HexColor("#fdf1d6"), HexColor("#6b4700"))


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """What goes on paper. `pictures` are PNGs as `pictures.save_pictures` names them; `made_on` is a DICOM date."""

    narrative: Narrative
    facts: Facts
    pictures: Sequence[Path]
    made_on: str


def write_pdf(sheet: Sheet) -> bytes:
    """The PDF file. Raises OSError for a picture or font that cannot be read, EncodingInvalid for what fits no page."""
    _register_fonts()
    words = Words(language=sheet.narrative.language)
    stream = BytesIO()
    paper = BaseDocTemplate(
        stream,
        pagesize=A4,
        invariant=1,
        title=sheet.narrative.title,
        lang=sheet.narrative.language,
        author="",
        creator="cspine-node",
    )
    frame = Frame(_MARGIN, _MARGIN + _FOOT, _WIDTH, A4[1] - 2 * _MARGIN - _FOOT, 0, 0, 0, 0)
    foot = _Foot(notice=sheet.narrative.limits[0], owner=_owner(sheet.facts, words))
    paper.addPageTemplates([PageTemplate(frames=[frame], onPage=foot.draw)])
    try:
        paper.build(_story(sheet, words))
    except LayoutError as error:
        raise EncodingInvalid("the report does not fit on its pages") from error
    return stream.getvalue()


@dataclass(frozen=True, kw_only=True)
class _Foot:
    """On each page: whose it is, what it is not, and its number."""

    notice: str
    owner: str

    def draw(self, canvas: Canvas, paper: BaseDocTemplate) -> None:
        canvas.saveState()
        canvas.setStrokeColor(_LINE)
        canvas.line(_MARGIN, _MARGIN + _FOOT - 3 * mm, A4[0] - _MARGIN, _MARGIN + _FOOT - 3 * mm)
        canvas.setFillColor(_SOFT)
        canvas.setFont(REGULAR, 8)
        canvas.drawString(_MARGIN, _MARGIN + 4 * mm, self.owner)
        canvas.drawRightString(A4[0] - _MARGIN, _MARGIN + 4 * mm, str(canvas.getPageNumber()))
        canvas.drawString(_MARGIN, _MARGIN, self.notice)
        canvas.restoreState()


def _story(sheet: Sheet, words: Words) -> list[Flowable]:
    told = sheet.narrative
    by_name = {file.stem: file for file in sheet.pictures}
    story: list[Flowable] = [_text(told.title, "title"), _facts(sheet, words), Spacer(1, 4 * mm), _verdict(told)]
    story += _section(words("Changes since the earlier report"), told.changes)
    story += _findings(told, words, by_name.get(_SIDE_VIEW))
    story += _section(words("What was looked at"), told.looked_at)
    story += _section(words("Quality notes"), told.quality)
    story += _section(words("Limits"), told.limits)
    others = [name for name in by_name if name != _SIDE_VIEW]
    story += _images([by_name[name] for name in sorted(others, key=lambda name: not name.startswith("key_"))], words)
    return story


def _facts(sheet: Sheet, words: Words) -> Flowable:
    """Two pairs a row; a value that the font does not have is replaced by what it has of it."""
    facts = [(name, _writable(name, value)) for name, value in sheet.facts]
    shown = [*shown_facts(facts, words), (words("Report made on"), words.date(sheet.made_on))]
    cells: list[Flowable] = [
        _text(f"<b>{escape(value)}</b><br/>{_soft(name)}", "fact", plain=False) for name, value in shown
    ]
    cells += [_text("", "fact")] * (-len(cells) % 4)
    rows = [cells[start : start + 4] for start in range(0, len(cells), 4)]
    return Table(rows, colWidths=[_WIDTH / 4] * 4, style=_bare())


def _soft(text: str) -> str:
    return f'<font size="7.5" color="#57626d">{escape(text)}</font>'


def _verdict(told: Narrative) -> Flowable:
    back, ink = _VERDICT.get(told.verdict.kind, _NEITHER)
    style = TableStyle(
        [
            ("BACKGROUND", (0, 0), (-1, -1), back),
            ("LEFTPADDING", (0, 0), (-1, -1), 4 * mm),
            ("TOPPADDING", (0, 0), (0, 0), 2.5 * mm),
            ("TOPPADDING", (0, 1), (0, 1), 0),
            ("BOTTOMPADDING", (0, 1), (0, 1), 2.5 * mm),
        ]
    )
    said = _text(f'<font color="#{ink.hexval()[2:]}"><b>{escape(told.verdict.text)}</b></font>', "verdict", plain=False)
    return Table([[said], [_text(told.limits[0], "small")]], colWidths=[_WIDTH], style=style)


def _findings(told: Narrative, words: Words, side_view: Path | None) -> list[Flowable]:
    if not told.levels:
        return []
    heading = _text(words("Findings"), "heading")
    sentences: list[Flowable] = [
        _text(said.text, "positive" if said.call is Call.PRESENT else "body") for said in told.levels
    ]
    if side_view is None:
        return [heading, *sentences]
    picture = _picture(side_view, _WIDTH * 0.42, 110 * mm)
    taken = picture.drawWidth + _GAP
    style = _bare(("ALIGN", (1, 0), (1, 0), "RIGHT"))
    columns = Table([[[heading, *sentences], picture]], colWidths=[_WIDTH - taken, taken], style=style)
    return [Spacer(1, 3 * mm), columns]


def _images(files: Sequence[Path], words: Words) -> list[Flowable]:
    """Two a row, each with its caption below."""
    width = (_WIDTH - _GAP) / 2
    cells: list[list[Flowable]] = [
        [_picture(file, width, 95 * mm), _text(picture_caption(file.stem, words), "small")] for file in files
    ]
    cells += [[]] * (len(cells) % 2)
    tables = [
        Table([cells[start : start + 2]], colWidths=[width + _GAP / 2] * 2, style=_bare())
        for start in range(0, len(cells), 2)
    ]
    if not tables:
        return []
    return [KeepTogether([_text(words("Images"), "heading"), tables[0]]), *tables[1:]]


def _section(heading: str, texts: Sequence[str]) -> list[Flowable]:
    if not texts:
        return []
    first, *rest = (_text(text, "body") for text in texts)
    return [KeepTogether([_text(heading, "heading"), first]), *rest]


def _picture(file: Path, width: float, height: float) -> Image:
    """The picture, as large as fits; as JPEG, which is a tenth of the size and looks the same on paper."""
    stream = BytesIO()
    with Pixels.open(file) as pixels:
        columns, rows = pixels.size
        pixels.convert("RGB").save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    stream.seek(0)
    scale = min(width / columns, height / rows)
    return Image(stream, columns * scale, rows * scale, hAlign="LEFT")


def _text(text: str, style: str, *, plain: bool = True) -> Paragraph:
    """A paragraph; `plain` text is taken literally, other text is ReportLab's markup."""
    return Paragraph(escape(_known(_kept_together(text))) if plain else text, _styles()[style])


def _bare(*more: tuple[object, ...]) -> TableStyle:
    padding = [(f"{side}PADDING", (0, 0), (-1, -1), 0) for side in ("LEFT", "RIGHT", "TOP")]
    return TableStyle(
        [*padding, ("BOTTOMPADDING", (0, 0), (-1, -1), 2 * mm), ("VALIGN", (0, 0), (-1, -1), "TOP"), *more]
    )


@cache
def _styles() -> dict[str, ParagraphStyle]:
    def style(name: str, size: float, **more: object) -> ParagraphStyle:
        return ParagraphStyle(
            name, **{"fontName": REGULAR, "fontSize": size, "leading": 1.4 * size, "textColor": _INK} | more
        )

    return {
        "title": style("title", 15, fontName=BOLD, spaceAfter=4 * mm),
        "heading": style("heading", 11, fontName=BOLD, spaceBefore=4 * mm, spaceAfter=1.5 * mm),
        "verdict": style("verdict", 12.5),
        "body": style("body", 9, spaceAfter=1.2 * mm),
        "positive": style("positive", 9, fontName=BOLD, textColor=_RED, spaceAfter=1.2 * mm),
        "fact": style("fact", 9),
        "small": style("small", 8, textColor=_SOFT),
    }


@cache
def _register_fonts() -> None:
    """Once in a process."""
    rl_config.useA85 = 0  # binary streams: writing them as text takes longer than everything else
    for name in (REGULAR, BOLD):
        pdfmetrics.registerFont(TTFont(name, font_file(name)))
    pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=REGULAR, boldItalic=BOLD)


def _kept_together(text: str) -> str:
    """No line begins with a unit or, in French, with a mark."""
    for mark in ("%", "mm", ":", ";", "?", "!"):
        text = text.replace(f" {mark}", f"\u00a0{mark}")
    return text


def _has(text: str) -> bool:
    """Whether the font has every letter."""
    known = pdfmetrics.getFont(BOLD).face.charToGlyph
    return all(ord(letter) in known for letter in text)


def _known(text: str) -> str:
    return text if _has(text) else "".join(letter if _has(letter) else "?" for letter in text)


def _writable(name: str, value: str) -> str:
    """What of the value can be written; of a name the groups that the font has, and nothing where it has none."""
    if name != PATIENT:
        return _known(value)
    return "=".join(group for group in value.split("=") if _has(group))


def _owner(facts: Facts, words: Words) -> str:
    """Name and Patient ID, for the foot of a page that may lie alone."""
    known = dict(facts)
    names = name_groups(_writable(PATIENT, known.get(PATIENT, "")))
    number = _known(known.get(PATIENT_ID, ""))
    label = words("Patient ID")
    return "; ".join([*names[:1], *([f"{label} {number}"] if number else [])])
