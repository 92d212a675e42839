"""Why something stands where it stands: one entry for each transition."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """`subject` is `study:<uid>`, `job:<id>` or `delivery:<id>`.

    `actor` is `node`, a peer's AE title or an operator.
    """

    at: datetime
    subject: str
    event: str
    from_state: str
    to_state: str
    reason: str
    actor: str
    study_instance_uid: str = ""
