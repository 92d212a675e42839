"""Sequences that stand in a result hundreds of times, encoded once: above all lists of references to instances.

pydicom encodes the items and takes them into a data set as bytes; whoever reads the data set in memory gets items.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from pydicom.charset import default_encoding
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_sequence
from pydicom.tag import Tag

Instances = tuple[tuple[str, str], ...]
"""(SOP Class UID, SOP Instance UID) of each."""


def refer(target: Dataset, keyword: str, instances: Instances) -> None:
    """The sequence of this keyword names these instances (SOP Instance Reference Macro, PS3.3 Table 10-11)."""
    put(target, keyword, _encoded(instances))


def put(target: Dataset, keyword: str, items: bytes) -> None:
    """The sequence of this keyword has these items, as `encoded` gives them."""
    tag = Tag(keyword)
    target[tag] = RawDataElement(tag, "SQ", len(items), items, 0, False, True)  # type: ignore[assignment]


def encoded(items: Iterable[Dataset]) -> bytes:
    """The items in Explicit VR Little Endian; their texts are ASCII."""
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_sequence(stream, DataElement(Tag("ReferencedSOPSequence"), "SQ", list(items)), [default_encoding])
    return stream.getvalue()


@lru_cache(maxsize=8)
def _encoded(instances: Instances) -> bytes:
    return encoded(_item(*instance) for instance in instances)


def _item(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item
