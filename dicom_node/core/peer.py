"""A configured remote application entity."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.core.identifiers import AETitle


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One remote AE. `name` is unique on this node; `host` is an address or a resolvable name."""

    name: str
    ae_title: AETitle
    host: str
    port: int
    may_send: bool = False
    receives_results: bool = False
    enabled: bool = True
