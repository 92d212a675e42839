"""Reference lists are encoded once and read as if they were made item by item."""

from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.results.references import refer

INSTANCES = tuple(("1.2.840.10008.5.1.4.1.1.2", f"2.25.{number}") for number in range(10))


def references(data_set: Dataset) -> list[tuple[str, str]]:
    return [(item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in data_set.SourceImageSequence]


def test_references_read_as_items_in_memory():
    target = Dataset()
    refer(target, "SourceImageSequence", INSTANCES)
    assert references(target) == list(INSTANCES)


def test_references_are_written_as_those_made_item_by_item():
    encoded, plain = Dataset(), Dataset()
    refer(encoded, "SourceImageSequence", INSTANCES)
    items = []
    for sop_class, sop_instance in INSTANCES:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        items.append(item)
    plain.SourceImageSequence = items
    written = []
    for data_set in (encoded, plain):
        stream = BytesIO()
        data_set.save_as(stream, implicit_vr=False, little_endian=True)
        written.append(stream.getvalue())
    assert written[0] == written[1]
    assert references(dcmread(BytesIO(written[0]), force=True)) == list(INSTANCES)
