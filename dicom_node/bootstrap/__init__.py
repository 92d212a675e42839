"""The composition root: the only place where adapters, use cases and settings meet.

`node.py` builds what `serve` runs; `store.py` opens rows and files for commands that only look or administer;
`offline.py` runs the main job without a network; `checks.py` looks whether a configuration would work.
Heavy libraries are imported by the function that needs them, so that `cspine-node studies list` stays quick.
"""

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
