"""`cspine-node`, the command line. Each command imports what it needs when it runs, so that --help is quick."""

from __future__ import annotations

from dicom_node.cli.main import main, run

__all__ = ["main", "run"]
