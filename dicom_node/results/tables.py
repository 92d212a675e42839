"""What encoding reads once in a process, read beforehand."""

from __future__ import annotations

import highdicom as hd
import numpy as np
from pydicom.uid import ExplicitVRLittleEndian, generate_uid


def load_tables() -> None:
    """highdicom's tables of modules and attributes: 0.4 s that the first object of a process waits for otherwise.

    They are read by the first object that is built, so one of a single pixel is, and thrown away.
    """
    hd.sc.SCImage(
        pixel_array=np.zeros((1, 1), dtype=np.uint8),
        photometric_interpretation=hd.PhotometricInterpretationValues.MONOCHROME2,
        bits_allocated=8,
        coordinate_system=hd.CoordinateSystemNames.PATIENT,
        study_instance_uid=generate_uid(),
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="",
        patient_orientation=("L", "P"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
