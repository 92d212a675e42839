"""What a peer may have, described for whoever draws a form or reads words: from the model alone, so that a new key
needs no form of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from config.receivers import PeerSettings

Kind = Literal["text", "flag", "whole", "number", "lines", "choices"]

GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Who it is", ("name", "ae_title", "host", "port", "may_send", "receives_results", "enabled")),
    ("What it gets", ("objects", "status_reports", "storage_commitment", "delivery_hours", "urgent_at_any_hour")),
    ("Who may come in its name", ("addresses", "user_name", "user_passcode_env", "user_passcode_file")),
    ("Who we are to it", ("our_user_name", "our_user_passcode_env", "our_user_passcode_file")),
    ("TLS", ("tls", "tls_ca_file", "tls_certificate_sha256", "tls_server_name", "tls_check_name")),
    ("STOW-RS", ("stow_url", "stow_ca_file", "stow_client_certificate", "stow_client_key", "stow_token_env")),
)
_REST = "Attempts and waits"


@dataclass(frozen=True, kw_only=True)
class PeerField:
    """One key. `kind` says what may be written; `choices` are there for that kind alone, `longest` counts characters
    and is 0 where nothing says so. A `default` of None is that of [delivery].
    """

    name: str
    group: str
    kind: Kind
    meaning: str
    default: Any
    is_required: bool = False
    choices: tuple[str, ...] = ()
    longest: int = 0


def peer_fields() -> tuple[PeerField, ...]:
    """Every key of a peer, group by group."""
    return tuple(_fields())


def _fields() -> Iterator[PeerField]:
    grouped = {name for _, names in GROUPS for name in names}
    rest = tuple(name for name in PeerSettings.model_fields if name not in grouped)
    for group, names in (*GROUPS, (_REST, rest)):
        for name in names:
            yield _described(name, group, PeerSettings.model_fields[name])


def _described(name: str, group: str, field: FieldInfo) -> PeerField:
    is_required = field.default is PydanticUndefined
    kind, choices = _kind(field.annotation)
    return PeerField(
        name=name,
        group=group,
        kind=kind,
        meaning=field.description or "",
        default=None if is_required else field.default,
        is_required=is_required,
        choices=choices,
        longest=16 if name == "ae_title" else next(iter(_longest(field)), 0),
    )


def _kind(annotation: Any) -> tuple[Kind, tuple[str, ...]]:
    # `X | None`: the metadata of the bounds lies around X.
    plain = [inner for inner in get_args(annotation) if inner is not type(None)] if _is_optional(annotation) else []
    if plain:
        return _kind(get_args(plain[0])[0] if hasattr(plain[0], "__metadata__") else plain[0])
    if get_origin(annotation) is tuple:
        inner = get_args(annotation)[0]
        return ("choices", get_args(inner)) if get_origin(inner) is Literal else ("lines", ())
    kinds: dict[Any, Kind] = {bool: "flag", int: "whole", float: "number"}
    return kinds.get(annotation, "text"), ()


def _is_optional(annotation: Any) -> bool:
    return type(None) in get_args(annotation)


def _longest(field: FieldInfo) -> Iterator[int]:
    for rule in field.metadata:
        found = getattr(rule, "max_length", None)
        if found is not None:
            yield int(found)
