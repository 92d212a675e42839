"""Why something failed, and what the analysis remarked, in the forms in which the node says it.

A failure is `Kind: sentence`, where the kind is the class of the error (`core/errors.py`). What a receiver or the
operating system said stands in the braces and stays as it was said.
"""

from __future__ import annotations

from dicom_node.catalogues import N_

KINDS = {
    "StorageUnavailable": N_("disk or database cannot be written"),
    "PeerUnreachable": N_("receiver not reachable"),
    "AssociationAborted": N_("connection broken off"),
    "PeerBusy": N_("receiver busy"),
    "PeerRefused": N_("receiver refuses"),
    "SopClassNotAccepted": N_("receiver does not take it"),
    "EncodingInvalid": N_("the result cannot be written"),
    "BundleMismatch": N_("the bundle cannot be used"),
    "GeometryUnsupported": N_("the images cannot become a volume"),
    "LocaliserUnusable": N_("the localiser cannot be used"),
    "GpuOutOfMemory": N_("the memory of the GPU did not suffice"),
    "WorkerLost": N_("the analysis process was lost"),
    "WorkerTimeout": N_("the analysis took too long"),
}
OF_A_KIND = N_("{trouble}: {failure}")

# app/deliver_results.py, app/run_analysis.py, app/requeue.py, core/retry.py, core/worklist.py
_ATTEMPTS = (
    N_("{failure}; gave up after 1 attempt"),
    N_("{failure}; gave up after {count} attempts"),
    N_("{failure}; gave up after {count} lost workers"),
    N_("{failure}; gave up after waiting {hours} h for it"),
    N_("{first}; to {peer}: {failure}"),
    N_("unexpected {kind}; the log of delivery {number} tells more"),
    N_("unexpected {kind}; the log of job {number} tells more"),
    N_("the disk refuses: {why}"),
    N_("the worker {owner} was lost during attempt {attempt}"),
)

# dimse/requestor.py, dimse/sender.py, dimse/commitment.py, core/routing.py, app/carry_objects.py, app/commitments.py
_OBJECTS = (
    N_("peer {peer} cannot be resolved: {why}"),
    N_("peer {peer} cannot be connected to: {why}"),
    N_("peer {peer} gave no TLS connection: {why}"),
    N_("peer {peer} does not take a TCP connection"),
    N_("peer {peer} gave no association in {seconds} s"),
    N_("peer {peer} rejects the association: {why}"),
    N_("peer {peer} accepts none of the proposed presentation contexts"),
    N_("peer {peer} accepts no presentation context for SOP Class {code} in transfer syntax {syntax}"),
    N_("peer {peer} accepts no presentation context for storage commitment"),
    N_("peer {peer} gave no answer in {seconds} s ({what})"),
    N_("peer {peer} ended the association ({what})"),
    N_("peer {peer} answered {what} with {status}"),
    N_("peer {peer} answered {status} {comment} for {code}"),
    N_("peer {peer} is disabled in the configuration"),
    N_("peer {peer} is no longer configured"),
    N_("peer {peer} is no longer set to receive results"),
    N_("{peer}: {what} was answered {status}"),
    N_("{first}, {what} was answered {status}"),
    N_("{peer}: {what} was not answered"),
    N_("{first}, {what} was not answered"),
    N_("{peer} is given {objects}, and the result has none of these"),
    N_("{peer}: none of the results was accepted: {why}"),
    N_("{peer}: no report was accepted: {why}"),
    N_("{sent} instead of {wanted}: {why}"),
    N_("{wanted} left out: {why}"),
    N_("the peer does not accept it in {syntax}"),
    N_("the peer accepts no presentation context for it"),
    N_("was not made"),
    N_("results go to {peers}"),
    N_("no peer is set to receive results"),
    N_("sent again by {name}"),
    N_("vertebra segmentation"),
    N_("vertebra segmentation (LABELMAP)"),
    N_("suspicion segmentation"),
    N_("text SR"),
    N_("status SR"),
    N_("{why} (nor {names})"),
    N_("{peer} holds 1 object"),
    N_("{peer} holds {count} objects"),
    N_("{peer} does not commit to {objects}"),
    N_("{peer} did not report in {seconds} s whether it commits"),
)

# stow/, notify/, app/carry_notices.py
_OTHER_WAYS = (
    N_("peer {peer} cannot be reached: {why}"),
    N_("peer {peer} gave no answer: {why}"),
    N_("peer {peer} answered {status}"),
    N_("peer {peer} answered {status}; is the token or the certificate right?"),
    N_("peer {peer} answered {status}: it cannot take the object"),
    N_("peer {peer} has no STOW-RS service"),
    N_("peer {peer}: the environment variable {name} holds no bearer token"),
    N_("the webhook answered {status}"),
    N_("the webhook answered {status}: it does not take the request"),
    N_("the webhook cannot be reached: {why}"),
    N_("the environment variable {name} holds no secret to sign with"),
    N_("the HL7 listener at {place} cannot be reached: {why}"),
    N_("the HL7 listener at {place} gave no whole acknowledgement in {seconds} s"),
    N_("the HL7 listener at {place} ended the connection without an acknowledgement"),
    N_("the HL7 listener answered something that is no acknowledgement"),
    N_("the HL7 listener acknowledged another message"),
    N_("the HL7 listener answered {status}: it found the message in error"),
    N_("the HL7 listener answered {status}: it does not take the message now"),
    N_("{peer}: the result that was to be told is no longer there"),
)

# analysis/analyzer.py, inference/stack.py
_ANALYSIS = (
    N_("the analysis ran longer than {seconds} s and was ended"),
    N_("the analysis needs more memory than inference.memory_limit_mb lets it take"),
    N_("the analysis ended with {kind} at {place} (see {file})"),
    N_("the analysis process left no result (see {file})"),
    N_("series {code}: {why}"),
    N_("{count} slices at different positions, expected {least}"),
    N_("mixed orientations: slices differ by {angle} degrees, expected at most {most}"),
    N_("positions lie up to {distance} mm off a line, expected {most}"),
    N_("mixed matrix sizes: {sizes} (rows x columns), expected one"),
    N_("mixed pixel spacings: {least} to {most} mm, expected one"),
    N_("{missing} of {count} slices have no {name}"),
    N_(
        "{count} slices {spacing} mm apart are spread over {length} mm (largest gap {gap} mm): a regular grid would be"
        " mostly interpolated"
    ),
)

# analysis/study.py, inference/reading.py, stack.py, spine.py, postprocess.py, level_order.py
_REMARKS = (
    N_("{count} of the study's files could not be read: {why}"),
    N_("Levels named by {name}."),
    N_("Only partly in the field of view: {levels}."),
    N_("Not assessed: {levels}."),
    N_(
        "Neither C1 nor C2 lies whole in the field of view: the other levels are named from their shape, and all names"
        " may be one level off."
    ),
    N_("Vertebra order was corrected: {changes}."),
    N_("Levels missing between {first} and {last}: {levels}; the count may be off."),
    N_("Vertebrae do not follow each other as their names say: {changes}."),
    N_("The count starts at {level} although the scan goes on above it."),
    N_("C2 is not in the scan: nothing but the localiser's word says which level is which."),
    N_("The vertebra named C2 has no dens: the count may be off by one."),
    N_("gap of {gap} mm between slices {first} and {last}, spacing elsewhere {spacing} mm"),
    N_("uneven spacing: {count} slices put on a regular grid of {planes} planes, {missing} of them interpolated"),
    N_("{count} duplicate slices with identical pixels dropped"),
    N_(
        "{count} slices dropped that share a position with one of a later acquisition or instance number, with other"
        " pixels"
    ),
    N_("{count} images of another orientation, size or pixel spacing, or without a position, left out"),
    N_("{count} instances without an image left out"),
    N_("{count} slices without Rescale Slope or Intercept: 1 and 0 taken"),
    N_("{count} slices are MONOCHROME1: stored values taken as they are"),
    N_("{count} slices hold their Pixel Padding Value inside the image only: taken as measured"),
    N_(
        "{count} stacks or time points in the series: stack {name}, time point {number} with {chosen} of {frames}"
        " frames was read"
    ),
    N_("{count} Frame of Reference UIDs in the series, expected one: the first slice's is used"),
)

FAILURE_SENTENCES = (*KINDS.values(), *_ATTEMPTS, *_OBJECTS, *_OTHER_WAYS, *_ANALYSIS, *_REMARKS)
