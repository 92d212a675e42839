"""The composition root: the only place where adapters, use cases and settings meet.

`node.py` builds what `serve` runs; `store.py` opens rows and files for commands that only look or administer;
`offline.py` runs the main job without a network; `checks.py` looks whether a configuration would work. Each name
below is loaded when it is first asked for, so that `cspine-node studies list` does not wait for torch or a web server.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicom_node.bootstrap.checks import Check, echo_peer, run_checks, send_path
    from dicom_node.bootstrap.node import Node, build_node
    from dicom_node.bootstrap.offline import analyse_folder
    from dicom_node.bootstrap.store import Store, open_store

__all__ = [
    "Check",
    "Node",
    "Store",
    "analyse_folder",
    "build_node",
    "echo_peer",
    "open_store",
    "run_checks",
    "send_path",
]

_HOME = {
    **dict.fromkeys(("Check", "echo_peer", "run_checks", "send_path"), "checks"),
    **dict.fromkeys(("Node", "build_node"), "node"),
    **dict.fromkeys(("Store", "open_store"), "store"),
    "analyse_folder": "offline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
