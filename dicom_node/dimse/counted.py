"""What the DIMSE side counts beside `dicom_node.app.counting`. Labels hold no patient data and no free text."""

from __future__ import annotations

CONNECTIONS_REFUSED = "connections_refused"  # closed before any DICOM; label: rule
ASSOCIATIONS_ACCEPTED = "associations_accepted"  # label: calling_aet (a configured one)
ASSOCIATIONS_REJECTED = "associations_rejected"  # label: rule
ASSOCIATIONS_ENDED = "associations_ended"  # label: how (released, aborted, lost)
PROTOCOL_ERRORS = "protocol_errors"  # label: rule
HANDS_LOST = "receiving_processes_lost"  # died, and were replaced
ECHOES = "echoes"  # label: calling_aet
