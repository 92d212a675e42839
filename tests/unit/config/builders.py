"""Configuration texts for tests."""

from __future__ import annotations

from pathlib import Path

TWO_PEERS = """# our site
[node]
port = 11112   # the receiver

# the archive, ask Anna before touching
[[peers]]
name = "pacs"
ae_title = "PACS"      # as in the contract of 2021
host = "10.0.0.1"
port = 104
may_send = true
receives_results = true

# the scanner in the emergency room
[[peers]]
name = "ct1"
ae_title = "CT1"
host = "10.0.0.2"
port = 104
may_send = true

# what follows is for later
[web]
port = 8081
"""


def written(folder: Path, text: str, name: str = "node.toml") -> Path:
    """A configuration file with `text`."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file
