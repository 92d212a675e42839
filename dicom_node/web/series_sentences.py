"""Why a series had no part in an analysis, in the forms in which the node says it (core/selection.py,
inference/series_facts.py, analysis/study.py). A kernel's name and the values of a header stay as they are.
"""

from __future__ import annotations

from dicom_node.catalogues import N_

SERIES_SENTENCES = (
    N_("modality {modality}, and the images do not look like CT"),
    N_("not stated"),
    N_("a localizer of {images}"),
    N_("1 image"),
    N_("{count} images"),
    N_("a Secondary Capture"),
    N_("the image type says derived or secondary"),
    N_("Image Type {value}"),
    N_("{images}, at least {least} are needed"),
    N_("the images cover {length} mm, at least {least} mm are needed"),
    N_("the slice normal is {angle} degrees off the head-foot axis, at most {most} are read"),
    N_("{orientation}: the slice normal is {angle} degrees off the head-foot axis, at most {most} are read"),
    N_("axial"),
    N_("sagittal"),
    N_("coronal"),
    N_("oblique"),
    N_("mixed"),
    N_("slice thickness {length} mm, at most {most} mm is read"),
    N_("slice spacing {length} mm, at most {most} mm is read"),
    N_("a gap of {gap} mm between slices that are {spacing} mm apart elsewhere"),
    N_("{count} of {total} images lie at a position taken already: interleaved phases or reconstructions"),
    N_("the headers give no slice orientation"),
    N_("the headers give no slice spacing"),
    N_("the headers give no slice orientation and no slice spacing"),
    N_("{figures}; the chosen series has {chosen}"),
    N_("{kernel}, {thickness} mm slices, {length} mm coverage"),
    N_("{kernel}, {thickness} mm slices, unknown coverage"),
    N_("{kernel}, unknown thickness, {length} mm coverage"),
    N_("{kernel}, unknown thickness, unknown coverage"),
    N_("bone kernel"),
    N_("soft kernel"),
    N_("unknown kernel"),
    N_("bone kernel {name}"),
    N_("soft kernel {name}"),
    N_("unknown kernel {name}"),
    N_("the model found no cervical vertebra in the pixels"),
    N_("No cervical spine was found in the volume."),
)
