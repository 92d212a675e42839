"""CT instances with every bit of their encoding under a test's control: signs, bits, padding, syntaxes, frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

from inference.functional_groups import FrameHeader
from inference.headers import InstanceHeader

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def ct_slice(stored: NDArray[np.generic], number: int = 1, **elements: Any) -> Dataset:
    """An explicit little endian CT slice of the stored values [row, column], at z = `number` mm.

    `elements` replace or add elements by keyword; None deletes.
    """
    signed = stored.dtype.kind == "i"
    bits = stored.dtype.itemsize * 8
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = f"1.2.826.0.1.3680043.10.1338.9.{number + 1000}"
    dataset.StudyInstanceUID = "1.2.826.0.1.3680043.10.1338.9.1"
    dataset.SeriesInstanceUID = "1.2.826.0.1.3680043.10.1338.9.2"
    dataset.FrameOfReferenceUID = "1.2.826.0.1.3680043.10.1338.9.3"
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SliceThickness = 1.0
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = [-10.0, -20.0, float(number)]
    dataset.ImageOrientationPatient = list(AXIAL)
    dataset.PixelSpacing = [0.5, 0.25]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    _apply(dataset, elements)
    return dataset


def write(dataset: Dataset, file: Path, transfer_syntax_uid: str = ExplicitVRLittleEndian, **meta: Any) -> Path:
    """Write with a file meta group; the data set's pixel data must be encoded in that syntax already."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax_uid
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CTImageStorage)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3")
    for keyword, value in meta.items():
        setattr(dataset.file_meta, keyword, value)
    file.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(file, enforce_file_format=True)
    return file


def write_slices(folder: Path, stored: NDArray[np.generic], **elements: Any) -> list[Path]:
    """One file for each slice of [z, y, x], one millimetre apart from z = 0 upwards."""
    return [write(ct_slice(plane, k, **elements), folder / f"{k:03d}.dcm") for k, plane in enumerate(stored)]


def write_encapsulated(folder: Path, frames: Sequence[bytes], like: NDArray[np.generic], syntax: str) -> list[Path]:
    """One file for each encoded frame, described as `like` [z, y, x] is."""
    files = []
    for k, frame in enumerate(frames):
        dataset = ct_slice(like[k], k)
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        files.append(write(dataset, folder / f"{k:03d}.dcm", syntax))
    return files


def to_jpeg_lossless(source: Path, target: Path) -> Path:
    """Transcode one file to JPEG Lossless, first-order prediction (1.2.840.10008.1.2.4.70)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(target))
    assert writer.Write()
    return target


def enhanced_ct(stored: NDArray[np.int16], positions: Sequence[Sequence[float]], **elements: Any) -> Dataset:
    """An Enhanced CT instance of [frame, y, x]: positions per frame, orientation, measures and rescale shared."""
    dataset = ct_slice(stored[0], 1)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(dataset, keyword)
    del dataset.RescaleSlope, dataset.RescaleIntercept
    dataset.SOPClassUID = EnhancedCTImageStorage
    dataset.NumberOfFrames = len(stored)
    dataset.PixelData = stored.astype("<i2").tobytes()
    shared = Dataset()
    shared.PlaneOrientationSequence = [item(ImageOrientationPatient=list(AXIAL))]
    shared.PixelMeasuresSequence = [item(PixelSpacing=[0.5, 0.25], SliceThickness=2.0)]
    shared.PixelValueTransformationSequence = [item(RescaleSlope=1, RescaleIntercept=0, RescaleType="HU")]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=list(position))],
            FrameContentSequence=[item(InStackPositionNumber=k + 1, StackID="1")],
        )
        for k, position in enumerate(positions)
    ]
    _apply(dataset, elements)
    return dataset


def item(**elements: Any) -> Dataset:
    """A sequence item with these elements."""
    dataset = Dataset()
    _apply(dataset, elements)
    return dataset


def header(
    position: Sequence[float], orientation: Sequence[float] = AXIAL, number: int = 1, **fields: Any
) -> InstanceHeader:
    """An instance header without a file, for what is decided from headers alone."""
    frame = {
        "frame_number": None,
        "image_orientation": tuple(orientation),
        "image_position": tuple(position),
        "pixel_spacing_mm": (0.5, 0.25),
        "slice_thickness_mm": 1.0,
        "rescale_slope": 1.0,
        "rescale_intercept": 0.0,
        "convolution_kernel": fields.get("convolution_kernel", ""),
        "stack_id": "",
        "temporal_position_index": None,
    }
    frame |= {name: fields.pop(name) for name in list(fields) if name in frame}
    known: dict[str, Any] = {
        "file": Path(f"{number}.dcm"),
        "study_instance_uid": "1.1",
        "series_instance_uid": "1.2",
        "sop_instance_uid": f"1.2.{number}",
        "sop_class_uid": str(CTImageStorage),
        "transfer_syntax_uid": str(ExplicitVRLittleEndian),
        "modality": "CT",
        "image_type": ("ORIGINAL", "PRIMARY", "AXIAL"),
        "manufacturer": "",
        "series_description": "",
        "body_part_examined": "",
        "rows": 8,
        "columns": 8,
        "number_of_frames": 1,
        "instance_number": number,
        "series_number": 1,
        "acquisition_number": 1,
        "frame_of_reference_uid": "1.3",
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "pixels": None,
        "frames": (FrameHeader(**frame),),
        **{name: frame[name] for name in ("image_orientation", "image_position", "pixel_spacing_mm")},
        "slice_thickness_mm": frame["slice_thickness_mm"],
        "convolution_kernel": frame["convolution_kernel"],
    }
    return InstanceHeader(**{**known, **fields})


def _apply(dataset: Dataset, elements: dict[str, Any]) -> None:
    for keyword, value in elements.items():
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
