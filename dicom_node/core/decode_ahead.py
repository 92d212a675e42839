"""Images that are decoded while their study is still coming in: which, and what can become of one."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.core.data_set_digest import is_digest
from dicom_node.core.study import InstanceRecord

CT_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.2",  # CT
        "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
        "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
    }
)
# What is not compressed is read as fast as it could be copied; a deflated data set is inflated for its header anyway.
COMPRESSED_SYNTAXES = frozenset(
    {
        "1.2.840.10008.1.2.4.50",  # JPEG Baseline
        "1.2.840.10008.1.2.4.51",  # JPEG Extended
        "1.2.840.10008.1.2.4.57",  # JPEG Lossless
        "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first-order prediction
        "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
        "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-lossless
        "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
        "1.2.840.10008.1.2.4.91",  # JPEG 2000
        "1.2.840.10008.1.2.4.201",  # HTJ2K Lossless
        "1.2.840.10008.1.2.4.202",  # HTJ2K Lossless RPCL
        "1.2.840.10008.1.2.4.203",  # HTJ2K
        "1.2.840.10008.1.2.5",  # RLE Lossless
    }
)


def is_worth_decoding(record: InstanceRecord) -> bool:
    """Whether an analysis may read the image and would have to decode it, by what its row knows."""
    return (
        record.sop_class_uid in CT_CLASSES
        and record.transfer_syntax_uid in COMPRESSED_SYNTAXES
        and is_digest(record.digest)
    )


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """The frames are there and take `size_bytes`."""

    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class NoRoom:
    """They would take `needed_bytes`, which is more than there is room for now; 0 where nobody could say."""

    needed_bytes: int


@dataclass(frozen=True, kw_only=True)
class LeftAlone:
    """No analysis reads the image, or it cannot be decoded: trying again changes nothing."""

    why: str


@dataclass(frozen=True, kw_only=True)
class DecoderLost:
    """The decoder crashed, hung or was ended over it."""

    why: str


DecodeOutcome = Decoded | NoRoom | LeftAlone | DecoderLost
