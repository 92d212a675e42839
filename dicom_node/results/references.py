"""Lists of references to instances, encoded once: hundreds of them stand in nearly every object of a result.

pydicom encodes the items and takes them into a data set as bytes; whoever reads the data set in memory gets items.
"""

from __future__ import annotations

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
    value = _encoded(instances)
    tag = Tag(keyword)
    target[tag] = RawDataElement(tag, "SQ", len(value), value, 0, False, True)  # type: ignore[assignment]


@lru_cache(maxsize=8)
def _encoded(instances: Instances) -> bytes:
    """The items in Explicit VR Little Endian."""
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    items = DataElement(Tag("ReferencedSOPSequence"), "SQ", [_item(*instance) for instance in instances])
    write_sequence(stream, items, [default_encoding])
    return stream.getvalue()


def _item(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item
