"""How results are brought to a peer: what `[delivery]` says for all, and what a peer says for itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from dicom_node.core.hours import ALWAYS, Hours
from dicom_node.core.retry import RetryPolicy

Terms = TypeVar("Terms", bound="RetryPolicy | CircuitPolicy | CommitmentTerms")


@dataclass(frozen=True, kw_only=True)
class CircuitPolicy:
    """Open after `failures` in a row, first for `open_s`, after each failed probe for twice as long, at most
    `open_maximum_s`."""

    failures: int = 3
    open_s: float = 30.0
    open_maximum_s: float = 300.0


@dataclass(frozen=True, kw_only=True)
class CommitmentTerms:
    """Whether the peer is asked to commit to what it stored (PS3.4 annex J), how long it may take to report, and how
    often it is asked before somebody must look."""

    wanted: bool = False
    timeout_s: float = 3600.0
    attempts: int = 5


@dataclass(frozen=True, kw_only=True)
class DeliveryTerms:
    """`retry` counts attempts that reached the peer. A peer that cannot be reached is waited for by `circuit`, and
    for at most `give_up_after_s`. `hours` are local time; what is urgent need not wait for them where
    `urgent_at_any_hour`.
    """

    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(cap_s=900.0, max_attempts=30))
    circuit: CircuitPolicy = CircuitPolicy()
    give_up_after_s: float = 7 * 86_400.0
    hours: Hours = ALWAYS
    urgent_at_any_hour: bool = True
    commitment: CommitmentTerms = CommitmentTerms()


@dataclass(frozen=True, kw_only=True)
class OwnTerms:
    """What one peer says for itself; None where `[delivery]` holds."""

    attempts: int | None = None
    backoff_initial_s: float | None = None
    backoff_factor: float | None = None
    backoff_maximum_s: float | None = None
    backoff_jitter: float | None = None
    circuit_failures: int | None = None
    circuit_open_s: float | None = None
    circuit_open_maximum_s: float | None = None
    give_up_after_s: float | None = None
    hours: Hours = ALWAYS
    urgent_at_any_hour: bool = True
    storage_commitment: bool = False
    commitment_timeout_s: float | None = None
    commitment_attempts: int | None = None

    def over(self, general: DeliveryTerms) -> DeliveryTerms:
        """The terms of this peer."""
        return replace(
            general,
            retry=_with(
                general.retry,
                max_attempts=self.attempts,
                base_s=self.backoff_initial_s,
                factor=self.backoff_factor,
                cap_s=self.backoff_maximum_s,
                jitter=self.backoff_jitter,
            ),
            circuit=_with(
                general.circuit,
                failures=self.circuit_failures,
                open_s=self.circuit_open_s,
                open_maximum_s=self.circuit_open_maximum_s,
            ),
            give_up_after_s=general.give_up_after_s if self.give_up_after_s is None else self.give_up_after_s,
            hours=self.hours,
            urgent_at_any_hour=self.urgent_at_any_hour,
            commitment=_with(
                general.commitment,
                wanted=self.storage_commitment,
                timeout_s=self.commitment_timeout_s,
                attempts=self.commitment_attempts,
            ),
        )


AS_ALL_OTHERS = OwnTerms()


def _with(general: Terms, **own: float | None) -> Terms:
    given: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
    return replace(general, **given)
