"""docs/CONFIGURATION.md, written from the models: `python -m config.document > docs/CONFIGURATION.md`."""

from __future__ import annotations

import inspect
import sys
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from config.receivers import PeerSettings, RouteSettings
from config.settings import sections
from config.words import Section

_OPENING = """# Configuration

Generated from `config/settings.py` by `python -m config.document`; do not edit.

One TOML file, `config/node.toml` by default, given with `--config FILE`. Each value is taken from the first of these
that has it: command line, environment, file, default.

- **Environment**: `CSPINE_NODE__SECTION__KEY`, as in `CSPINE_NODE__NODE__PORT=11113` or
  `CSPINE_NODE__NOTIFY__HL7__PORT=2576`. Peers and routes stand in the file only.
- **Relative folders** count from the configuration file's own folder, so that a command finds the same data from
  wherever it is called; those from the environment or the command line count from the working directory.
- **Refusals**: an unknown key, a wrong type, an AE title over 16 characters, a duplicate peer name or a port in use is
  refused at start with one line that names the key, the value and where it came from.
- **Routes** are read at the start. A peer that a route names can be renamed or removed only together with the route.
- **Peers** may be edited while the node runs, in the file, with `cspine-node peers` or on the page; the change is in
  use with the next association. A broken edit is refused as a whole, and the peers in use stay. Each version that is
  replaced is kept under `data_dir/config-history`: [PEERS.md](PEERS.md). All else takes effect at the next start.
"""


def document() -> str:
    """The page, whole."""
    parts = [_OPENING]
    for name, model in sections().items():
        parts += [f"## `[{name}]`", "", _summary(model), "", *_table(model), ""]
    for name, model in (("peers", PeerSettings), ("routes", RouteSettings)):
        parts += [f"## `[[{name}]]`", "", _summary(model), "", *_table(model), ""]
    return "\n".join(parts)


def _summary(model: type[Section]) -> str:
    return inspect.cleandoc(model.__doc__ or "")


def _table(model: type[Section]) -> list[str]:
    rows = [_row(name, model.model_fields[name]) for name in model.own_keys()]
    return ["| key | type | default | meaning |", "| --- | --- | --- | --- |", *rows]


def _row(name: str, field: FieldInfo) -> str:
    return f"| `{name}` | {_type(field)} | {_default(field)} | {field.description or ''} |"


def _type(field: FieldInfo) -> str:
    if get_origin(field.annotation) is UnionType or get_origin(field.annotation) is Union:
        kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
        return " or ".join(_type(FieldInfo.from_annotation(kind)) for kind in kinds)
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    if get_origin(field.annotation) is tuple:
        (inner, *_rest) = get_args(field.annotation)
        choices = get_args(inner) if get_origin(inner) is Literal else ()
        return "list of " + (", ".join(f"`{choice}`" for choice in choices) or "text")
    names: dict[Any, str] = {int: "integer", float: "number", bool: "true or false", str: "text"}
    return names.get(field.annotation, "folder") + _bounds(field)


def _bounds(field: FieldInfo) -> str:
    found = {
        attribute: getattr(rule, attribute)
        for rule in field.metadata
        for attribute in ("ge", "gt", "le")
        if getattr(rule, attribute, None) is not None
    }
    low = f"{found['ge']}" if "ge" in found else f"above {found['gt']}" if "gt" in found else ""
    high = f"{found['le']}" if "le" in found else ""
    if low and high:
        return f", {low} to {high}"
    if low:
        return f", {low}" if "above" in low else f", {low} or more"
    return f", at most {high}" if high else ""


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if field.default is None:
        return "as in `[delivery]`"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    if isinstance(field.default, tuple):
        return f"`{list(field.default)}`"
    return f"`{field.default}`"


if __name__ == "__main__":
    sys.stdout.write(document())
