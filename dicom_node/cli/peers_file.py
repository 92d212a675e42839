"""What `peers` works with: the writer of the file, words as values, and a test with its answer for people."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dicom_node.cli.options import load
from dicom_node.cli.output import answer_json, say, table

if TYPE_CHECKING:
    from config.editing import PeerEditor
    from config.edits import Edit
    from dicom_node.core.peer import Peer
    from dicom_node.core.peer_test import Answer, PeerTest

HISTORY = "config-history"


def editor_of(config: Path | None) -> PeerEditor:
    """The writer of this configuration. Raises ConfigError where the file is broken and has no history."""
    from config.editing import PeerEditor
    from config.load import DEFAULT_FILE

    file = config or DEFAULT_FILE
    return PeerEditor(file=file, history_dir=_history_dir(file), now=lambda: datetime.now(UTC))


def given_words(pairs: Iterable[str] | None) -> dict[str, Any]:
    """The values of `--set KEY=VALUE`. Raises typer.BadParameter, ConfigurationError."""
    from config.peer_fields import peer_fields
    from dicom_node.app.peer_words import field_named, value_of

    fields, values = peer_fields(), {}
    for pair in pairs or ():
        key, equals, words = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"--set takes KEY=VALUE, not {pair!r}.")
        values[key] = value_of(field_named(fields, key.strip()), words)
    return values


def peer_after(editor: PeerEditor, edit: Edit, name: str, config: Path | None) -> tuple[Peer, str] | None:
    """The peer as the edit will leave it, and our AE title; None where there is nothing to try. Raises ConfigError."""
    settings = next((peer for peer in editor.peers_after(edit) if peer.name == name), None)
    if settings is None or not settings.enabled:
        return None
    from dicom_node.bootstrap.store import to_peer

    node = load(config).settings.node
    return to_peer(settings, node.tls), node.ae_title


def try_and_tell(peer: Peer, own_aet: str, *, answer: bool = False, say: Callable[[str], None] = say) -> bool:
    """The peer is tried and what it said is told, with `answer` as JSON; whether all is well."""
    from dicom_node.bootstrap.peers import try_peer
    from dicom_node.core.peer_test import trial_json

    tested = try_peer(peer, own_aet)
    if answer:
        answer_json(trial_json(tested))
        return tested.ok
    for line in _lines(tested):
        say(line)
    if tested.classes and say is _say:
        _accepts(tested)
    return tested.ok


_say = say


def _lines(tested: PeerTest) -> Iterable[str]:
    named: tuple[tuple[str, Answer | None], ...] = (
        ("C-ECHO", tested.echo),
        ("DICOMweb service", tested.stow),
        ("offer of our objects", None if tested.offer is None or tested.offer.ok else tested.offer),
    )
    for title, found in named:
        if found is None:
            continue
        if found.ok:
            yield f"{title}: {tested.peer} answered in {found.ms:.0f} ms"
        else:
            yield f"{title}: failed ({found.trouble.value if found.trouble else 'no reason'}). {found.why}"
            yield f"  {found.advice}"
    if tested.missing:
        yield f"no way to it for {', '.join(kind.value for kind in tested.missing)}: deliveries of these would fail"
    for wanted, other in tested.instead:
        yield f"in the place of {wanted.value} it would get {other.value}"


def _accepts(tested: PeerTest) -> None:
    from dicom_node.core.result_classes import SYNTAX_NAMES

    def cell(entry: Any, uid: str) -> str:
        context = entry.in_syntax(uid)
        if context is None:
            return "–"
        return "ok" if context.accepted else f"no: {context.why}"

    table(
        ("SOP class", "our objects", *SYNTAX_NAMES.values()),
        [
            (entry.name, ", ".join(kind.value for kind in entry.kinds), *(cell(entry, uid) for uid in SYNTAX_NAMES))
            for entry in tested.classes
        ],
        empty="",
    )


def _history_dir(file: Path) -> Path:
    from config.errors import ConfigError
    from config.load import load_settings

    try:
        data_dir = load_settings(file).settings.node.data_dir
    except ConfigError:
        # A file broken by hand must still be one that can be rolled back.
        data_dir = _data_dir_of_broken(file)
        if not (data_dir / HISTORY).is_dir():
            raise
    return data_dir / HISTORY


def _data_dir_of_broken(file: Path) -> Path:
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    found = re.search(r"""^\s*data_dir\s*=\s*["']([^"']+)["']""", text, re.MULTILINE)
    return file.resolve().parent / (found[1] if found else "var")
