"""What the analysis says about a study."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

LEVELS: tuple[str, ...] = ("C1", "C2", "C3", "C4", "C5", "C6", "C7")

PointLps = tuple[float, float, float]


class LevelStatus(StrEnum):
    """How much of a level the model could look at."""

    ASSESSED = "assessed"
    PARTLY_IN_FIELD_OF_VIEW = "partly_in_field_of_view"
    NOT_ASSESSED = "not_assessed"


class Outcome(StrEnum):
    """What became of an analysis."""

    ANALYSED = "analysed"
    NOT_APPLICABLE = "not_applicable"
    FAILED = "failed"
    NOT_RUN = "not_run"  # stopped before it said anything; told to the peers that ask, never in a `result.json`


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One cervical level. `probability` is None unless `status` is ASSESSED; both probabilities are in [0, 1].

    `location_mm_lps` is a representative point of the level in LPS mm; `key_index_zyx` is the voxel (slice,
    row, column) of the analysed volume to point at, on the most suspicious slice where the level is positive.
    """

    level: str
    status: LevelStatus
    threshold: float
    probability: float | None = None
    location_mm_lps: PointLps | None = None
    box_mm_lps: tuple[PointLps, PointLps] | None = None
    key_index_zyx: tuple[int, int, int] | None = None

    @property
    def is_positive(self) -> bool:
        """True where the level was assessed and its probability reaches its threshold."""
        return self.probability is not None and self.probability >= self.threshold


@dataclass(frozen=True, kw_only=True)
class BundleIdentity:
    """Which weights spoke.

    `levels_named_by` is the localiser that named the levels in the place of the bundle's own, empty where none did.
    """

    name: str
    version: str
    sha256: str
    trained_on: str = "synthetic data only"
    levels_named_by: str = ""

    @property
    def content(self) -> str:
        """Another text as soon as other weights speak, whichever of them."""
        return f"{self.sha256}+{self.levels_named_by}" if self.levels_named_by else self.sha256


@dataclass(frozen=True, kw_only=True)
class SourceSlice:
    """The instance (and frame, counted from 1, for multiframe) behind one z index of the analysed volume.

    `position_mm_lps` and `instance_number` are what a single-frame instance's header says, where the analysis has kept
    it: whoever needs no more need not open the file again.
    """

    sop_instance_uid: str
    sop_class_uid: str
    file: Path
    frame_number: int | None = None
    position_mm_lps: PointLps | None = None
    instance_number: int | None = None


@dataclass(frozen=True, kw_only=True)
class SeriesRejection:
    """A series that takes no part, the rule that left it out and the figures behind it."""

    series_instance_uid: str
    rule: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class SelectionRecord:
    """Which series was analysed and why the others were not. `chosen` is None where none was."""

    chosen: str | None
    rejected: tuple[SeriesRejection, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AnalysisResult:
    """Everything the analysis hands to encoding, delivery and the pages.

    `mask_path` is a .npz file with `mask` uint8 [z, y, x] (0 background, 1-7 = C1-C7), a box of the grid of the chosen
    series that begins at `start_zyx` of its `shape_zyx` voxels and outside of which all is background (where a file has
    neither, `mask` is the whole grid), and `affine_lps` float64 [4, 4] of that grid as in `inference.volume.Volume`;
    `slices[k]` is the source of z index k.
    `views_path` is a folder of 2D views for pictures (see `dicom_node.analysis.views`).
    `suspicion_path` is a .npz file with, for each assessed level, where it looks suspicious: `C2_values` float32
    [z, y, x] in 0-1 on a grid of its own, and `C2_affine` float64 [4, 4], from (x, y, z, 1) to LPS mm.
    `viewer_path` is a folder with the CT for the study page's viewer (see `dicom_node.app.viewing`).
    `representative` is one readable instance of the study, from which a study that was not analysed takes its
    demographics; None where there is none.
    `inputs` are numbers about the analysed volume (slices, spacings, medians of HU, noise), for drift; None where there
    is too little of what a number is about.
    Of the compressed frames that were read, `frames_decoded_ahead` lay decoded, `frames_decoded_then` did not.
    """

    study_instance_uid: str
    outcome: Outcome
    reason: str | None
    selection: SelectionRecord
    bundle: BundleIdentity
    device: str
    findings: tuple[Finding, ...] = ()
    overall_probability: float | None = None
    overall_threshold: float = 0.5
    mask_path: Path | None = None
    slices: tuple[SourceSlice, ...] = ()
    views_path: Path | None = None
    suspicion_path: Path | None = None
    viewer_path: Path | None = None
    representative: SourceSlice | None = None
    quality: tuple[str, ...] = ()
    timings_s: tuple[tuple[str, float], ...] = ()
    inputs: tuple[tuple[str, float | None], ...] = ()
    frames_decoded_ahead: int = 0
    frames_decoded_then: int = 0

    @property
    def is_positive(self) -> bool:
        """True where the study as a whole reaches the overall threshold."""
        return self.overall_probability is not None and self.overall_probability >= self.overall_threshold


class ResultKind(StrEnum):
    """The kinds of object this node makes, in the order in which they are made and sent; each is a series of its own.

    What another object refers to comes before it.
    """

    SEG = "SEG"  # the vertebrae, BINARY
    SEG_LABELMAP = "SEG_LABELMAP"  # the vertebrae, LABELMAP; on request
    SUSPICION_SEG = "SUSPICION_SEG"  # where positive levels look suspicious, in bands
    SR = "SR"  # TID 1500, Comprehensive 3D SR
    SR_COMPREHENSIVE = "SR_COMPREHENSIVE"  # the same content as Comprehensive SR
    SR_ENHANCED = "SR_ENHANCED"  # the same content as Enhanced SR
    TEXT_SR = "TEXT_SR"  # TID 2000, sentences
    SC = "SC"  # key images, several instances
    KOS = "KOS"  # the original key slices
    PDF = "PDF"  # the sentences and the key images on paper
    STATUS_SR = "STATUS_SR"  # why a study was not analysed; on request


@dataclass(frozen=True, kw_only=True)
class ResultObject:
    """One DICOM object made from an analysis. `file` is a complete Part 10 file; key images are several objects."""

    kind: ResultKind
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    file: Path
