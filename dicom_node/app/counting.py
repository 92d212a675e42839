"""The names under which the node counts. The metrics page is an adapter; labels never hold patient data."""

from __future__ import annotations

INSTANCES_RECEIVED = "instances_received"  # newly stored instances; label: calling_aet
BYTES_RECEIVED = "bytes_received"  # observed: size of a newly stored file
INSTANCES_REJECTED = "instances_rejected"  # label: reason (as in RejectedInput)
INSTANCES_REPEATED = "instances_repeated"  # identical re-sends
INSTANCES_CONFLICTING = "instances_conflicting"  # same UID, other content
INSTANCES_SET_ASIDE = "instances_set_aside"  # label: reason
INSTANCES_NOT_KEPT_ASIDE = "instances_not_kept_aside"  # refused, and quarantine was full; label: reason
AUDIT_MESSAGES = "audit_messages"  # label: event
AUDIT_FAILURES = "audit_failures"  # label: sink (file, spool, syslog); the message is tried again
AUDIT_LOST = "audit_lost"  # label: sink; given up, because too many wait
IMAGES_AHEAD = "images_decoded_ahead"  # label: outcome (decoded, left_alone, decoder_lost)
FRAMES_READ = "compressed_frames_read"  # by analyses with a result; label: decoded (ahead, then)
STUDIES_PURGED = "studies_purged"
STUDIES_CLOSED = "studies_closed"  # label: event
JOBS_FINISHED = "jobs_finished"  # label: outcome (done, skipped, failed, retry_wait, lost)
DELIVERIES_FINISHED = "deliveries_finished"  # labels: outcome (stored, failed, retry_wait, lost), peer
STAGE_SECONDS = "stage_seconds"  # observed; label: stage (read, localise, classify, encode, total)
SCORE = "score"  # observed: probability; label: level (C1 to C7, patient_overall)
ANALYSIS_SECONDS = "analysis_seconds"  # observed: claim to result
RESULT_LATENCY_SECONDS = "seconds_from_last_image_to_stored_result"  # observed; label: peer


class NoCounters:
    """Counts nothing: for commands that serve no metrics page."""

    def count(self, name: str, **labels: str) -> None:
        """Nothing."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Nothing."""
