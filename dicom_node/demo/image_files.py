"""One CT image in a file, in any of the transfer syntaxes that the node accepts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import gdcm
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

SYNTAXES: Final[dict[str, UID]] = {
    "implicit-vr-little-endian": ImplicitVRLittleEndian,
    "explicit-vr-little-endian": ExplicitVRLittleEndian,
    "explicit-vr-big-endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle-lossless": RLELossless,
    "jpeg-lossless-sv1": JPEGLosslessSV1,
    "jpeg-ls-lossless": JPEGLSLossless,
    "jpeg-2000-lossless": JPEG2000Lossless,
}
# Deflated and RLE are for pydicom alone; the rest name the encoder that is installed with the project.
_PLUGINS: Final = {RLELossless: "pylibjpeg", JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pylibjpeg"}


def write_image(ds: Dataset, stored: NDArray[Any], path: Path, syntax: UID) -> Path:
    """Encode the stored values in a transfer syntax and write the Part 10 file; returns its path."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = syntax if not syntax.is_encapsulated else ExplicitVRLittleEndian
    swapped = stored.astype(stored.dtype.newbyteorder(">"))
    ds.PixelData = (swapped if syntax == ExplicitVRBigEndian else stored).tobytes()
    ds["PixelData"].VR = "OW"
    if syntax == JPEGLosslessSV1:
        _encode_with_gdcm(ds)
    elif syntax in _PLUGINS:
        ds.compress(syntax, stored, encoding_plugin=_PLUGINS[syntax], generate_instance_uid=False)
    ds.save_as(path, enforce_file_format=True)
    return path


def _encode_with_gdcm(ds: Dataset) -> None:
    """Replace native pixel data by JPEG Lossless SV1, which pydicom cannot encode."""
    with tempfile.TemporaryDirectory() as folder:
        plain, coded = Path(folder) / "plain.dcm", Path(folder) / "coded.dcm"
        whole = Dataset()
        whole.update(ds)
        whole.file_meta = ds.file_meta
        whole.SOPClassUID, whole.Modality = CTImageStorage, "CT"
        whole.save_as(plain, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        writer = gdcm.ImageWriter()
        if not reader.Read():
            raise RuntimeError(f"GDCM cannot read the image {ds.SOPInstanceUID} to be encoded")
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise RuntimeError(f"GDCM cannot encode the image {ds.SOPInstanceUID} as JPEG Lossless")
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(coded))
        if not writer.Write():
            raise RuntimeError(f"GDCM cannot write the image {ds.SOPInstanceUID}")
        encoded = dcmread(coded)
    ds.PixelData = encoded.PixelData
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1
