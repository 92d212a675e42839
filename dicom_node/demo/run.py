"""The whole chain once, on this machine: phantom CT, node, stand-in PACS, findings beside the truth.

Nothing is simulated but the patient: the receiver, the shipped bundle, the encoder and the sender are those of
`serve`. The folder it works in can be deleted; a second run clears what the first one left.
"""

from __future__ import annotations

import json
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.load import LoadedSettings, load_settings
from dicom_node.app.queries import StudyDetail, study_detail
from dicom_node.bootstrap.accounts import accounts_of
from dicom_node.bootstrap.node import Node, build_node
from dicom_node.bootstrap.store import open_store
from dicom_node.core.account import Role
from dicom_node.core.errors import ConfigurationError, NodeError
from dicom_node.core.finding import ResultKind
from dicom_node.core.identifiers import AETitle
from dicom_node.core.peer import Peer
from dicom_node.core.worklist import WorklistState
from dicom_node.demo.phantom_study import phantom_to_folder
from dicom_node.demo.stand_in_pacs import StandInPacs
from dicom_node.dimse.sender import send_files
from dicom_node.observability import configure_logging
from dicom_node.results.read_back import ReadBack, read_back
from dicom_node.results.report import write_report

MARK = ".cspine-demo"
ACCOUNT = "demo"
TIMEOUT_S = 900.0  # a busy machine takes minutes
SLICES = 200
# Gross fractures, and below a seed on which the first bundle finds them, so that every part of the output is shown.
# It misses many others: the honest numbers are those of docs/MODEL_CARD.md; `--seed` draws another neck.
FRACTURES = ("C2:odontoid-2:0.95", "C6:burst:0.95")
SEED = 3
_NEEDED = {ResultKind.SEG, ResultKind.SR, ResultKind.TEXT_SR, ResultKind.SC}
TITLE = "Demo: a synthetic neck with known fractures"

_CONFIGURATION = """\
# Written by `cspine-node demo`. Port 0 takes a free one.
[node]
ae_title = "CSPINE_AI"
host = "127.0.0.1"
port = 0
data_dir = "node"
min_free_bytes = 100000000

[study]
quiet_period_s = 2.0

[scheduler]
tick_s = 0.5

[web]
host = "127.0.0.1"
port = 0

[log]
level = "warning"

[[peers]]
name = "scanner"
ae_title = "SCANNER"
host = "127.0.0.1"
port = 104
may_send = true

[[peers]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs_port}
receives_results = true
"""


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What came out. `objects` are the PACS's files, each with its kind; `seconds_to_result` runs from the last image
    to the stored result. Who runs the node again with `configuration` may log in as `account` with `password`.
    """

    result: dict[str, Any]
    truth: dict[str, Any]
    held: ReadBack
    objects: tuple[tuple[ResultKind, Path], ...]
    pictures: tuple[Path, ...]
    report: Path
    images: int
    seconds_to_result: float
    configuration: Path
    account: str
    password: str


def run_demo(
    out: Path, *, seed: int, tell: Callable[[str], None], fractures: tuple[str, ...] = FRACTURES
) -> DemoResult:
    """Run it in `out`. Raises NodeError where the PACS does not hold results that read back as they were sent."""
    _clear(out)
    tell("drawing a synthetic neck")
    truth = phantom_to_folder(out, seed=seed, fractures=fractures, decoys=(), slices=SLICES)
    with StandInPacs(out / "pacs", ae_title="PACS") as pacs:
        configuration = out / "node.toml"
        configuration.write_text(_CONFIGURATION.format(pacs_port=pacs.port))
        loaded = load_settings(configuration)
        configure_logging(loaded.settings.log.level, loaded.settings.log.format)
        password = _account(loaded)
        node = build_node(loaded)
        node.start()
        try:
            images = _send(node, out / "dicom", tell)
            detail = _wait(open_store(loaded.settings), truth["study_instance_uid"], tell)
        finally:
            node.stop()
    return _shown(out, truth, detail, pacs.files(), images, password)


def _account(loaded: LoadedSettings) -> str:
    """The demo's own admin is there; returns its password, which is another one each time."""
    password = secrets.token_urlsafe(12)
    store = open_store(loaded.settings)
    try:
        accounts_of(store).add(ACCOUNT, Role.ADMIN, password, actor="cspine-node demo")
    finally:
        store.close()
    return password


def _clear(out: Path) -> None:
    """Leave an empty folder of ours. Raises ConfigurationError where `out` holds what the demo did not make."""
    mark = out / MARK
    if out.exists() and any(out.iterdir()) and not mark.exists():
        raise ConfigurationError(f"{out} is not empty and not from an earlier demo: choose another --out")
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    mark.touch()


def _send(node: Node, folder: Path, tell: Callable[[str], None]) -> int:
    peer = Peer(name="node", ae_title=AETitle("CSPINE_AI"), host="127.0.0.1", port=node.dicom_port)
    started = time.perf_counter()
    report = send_files(peer, [folder], own_aet="SCANNER")
    if not report.is_complete:
        raise NodeError(f"the node stored {report.stored} of {len(report.answers)} images")
    tell(f"sent {report.stored} images by C-STORE in {time.perf_counter() - started:.1f} s")
    return report.stored


def _wait(store: Any, study_instance_uid: str, tell: Callable[[str], None]) -> StudyDetail:
    """The study once it is delivered; every step is told."""
    told = None
    ends_at = time.monotonic() + TIMEOUT_S
    try:
        while time.monotonic() < ends_at:
            with store.unit_of_work() as uow:
                detail = study_detail(uow, study_instance_uid)
            if detail is not None and detail.status.state is not told:
                told = detail.status.state
                tell(f"{told.value.lower().replace('_', ' ')}: {detail.status.why}")
            if told is WorklistState.DELIVERED and detail is not None:
                return detail
            if told in (WorklistState.NEEDS_ATTENTION, WorklistState.NOT_APPLICABLE) and detail is not None:
                raise NodeError(f"the study ended as {told.value}: {detail.status.why}")
            time.sleep(0.2)
    finally:
        store.close()
    raise NodeError(f"no result within {TIMEOUT_S:.0f} s")


def _shown(
    out: Path, truth: dict[str, Any], detail: StudyDetail, held: tuple[Path, ...], images: int, password: str
) -> DemoResult:
    shown = detail.as_json()
    result = shown["result"]
    delivery = detail.deliveries[-1]
    objects = {entry.kind: entry for entry in delivery.stored}
    by_uid = {path.stem: path for path in held}
    lost = {entry.kind for entry in delivery.stored if entry.sop_instance_uid not in by_uid}
    missing = lost | (_NEEDED - set(objects))
    if missing:
        raise NodeError(f"the PACS lacks {', '.join(sorted(missing))}")
    seg, sr = (by_uid[objects[kind].sop_instance_uid] for kind in (ResultKind.SEG, ResultKind.SR))
    back = read_back(seg, sr)
    _compare(back, result)
    pictures = _copied(objects[ResultKind.SR].file.parent / "pictures", out / "pictures")
    (out / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    report = write_report(result, pictures, out / "report.html", truth=truth, title=TITLE)
    assert delivery.finished_at is not None
    return DemoResult(
        result=result,
        truth=truth,
        held=back,
        objects=tuple((entry.kind, by_uid[entry.sop_instance_uid]) for entry in delivery.stored),
        pictures=pictures,
        report=report,
        images=images,
        seconds_to_result=(delivery.finished_at - detail.study.last_received_at).total_seconds(),
        configuration=out / "node.toml",
        account=ACCOUNT,
        password=password,
    )


def _compare(back: ReadBack, result: dict[str, Any]) -> None:
    """What the PACS holds is what the node found."""
    for level in result["levels"]:
        name, probability = level["level"], level["probability"]
        if probability is None:
            continue
        if name not in back.probabilities or abs(back.probabilities[name] - probability) > 0.001:
            raise NodeError(f"the SR at the PACS says {back.probabilities.get(name)} for {name}, not {probability}")
        if not back.segments.get(name):
            raise NodeError(f"the SEG at the PACS has no voxel of {name}")


def _copied(source: Path, target: Path) -> tuple[Path, ...]:
    target.mkdir(exist_ok=True)
    return tuple(Path(shutil.copy(picture, target / picture.name)) for picture in sorted(source.glob("*.png")))
