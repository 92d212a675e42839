"""Options that many commands share, and the configuration behind them."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from config.load import LoadedSettings

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="CSPINE_NODE_CONFIG",
        metavar="FILE",
        help="The configuration file; without it, the config/node.toml that comes with the program.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer with JSON.")]


def load(config: Path | None, overrides: Mapping[str, Any] | None = None) -> LoadedSettings:
    """The configuration a command works with. Raises ConfigError.

    From here on log events below a warning stay silent, and the others go to standard error; `serve` says more.
    """
    from config.load import DEFAULT_FILE, load_settings
    from dicom_node.observability import configure_logging

    configure_logging(level="warning")
    return load_settings(config or DEFAULT_FILE, overrides=overrides)


def operator() -> str:
    """Who is at the keyboard, for history and audit trail: behind `sudo`, who called it."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return "unknown user"
