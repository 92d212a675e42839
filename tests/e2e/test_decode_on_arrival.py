"""A compressed study through a node: its images are decoded before it closes, and its analysis finds them so."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import PhantomStudy, make_phantom
from tests.peers import NodeProcess, get_bytes, sender, storescu, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("arrival")]

IMAGES = 80


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudy:
    folder = tmp_path_factory.mktemp("phantom") / "study"
    return make_phantom(
        folder, "--seed", "11", "--fracture", "C5:burst", "--slices", str(IMAGES), "--syntax", "jpeg-2000-lossless"
    )


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    started = NodeProcess(
        folder=tmp_path / "node",
        peers=[sender()],
        settings={"study": {"quiet_period_s": 3600.0, "hard_limit_s": 86_400.0}},
        ready_within_s=300.0,
    ).start()
    yield started
    started.stop()


def send(node: NodeProcess, study: PhantomStudy) -> str:
    sent = storescu(node.port, [study.dicom], called=node.ae_title, more=["-xv"])
    assert sent.returncode == 0, sent.stderr
    return study.truth["study_instance_uid"]


def figure(node: NodeProcess, name: str, labels: str = "") -> float:
    page = get_bytes(f"{node.url}/metrics").decode()
    found = re.search(rf"^cspine_{name}{re.escape(labels)} (\S+)$", page, re.M)
    return float(found[1]) if found else 0.0


def frames(node: NodeProcess) -> list[Path]:
    return sorted((node.folder / "var" / "decoded").glob("*.frames"))


def decoders(node: NodeProcess) -> list[int]:
    """Processes that decode into this node's folder: their standard error goes to its log."""
    log = node.folder / "var" / "decoded" / "decoder.log"
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "fd/2").readlink() == log:
                found.append(int(process.name))
        except OSError:  # gone, or somebody else's
            continue
    return found


def test_the_volume_is_ready_when_the_study_closes(node: NodeProcess, study: PhantomStudy) -> None:
    uid = send(node, study)
    wait_for("every image to be decoded", lambda: len(frames(node)) == IMAGES, timeout_s=240.0)
    assert {stat.S_IMODE(path.stat().st_mode) for path in frames(node)} == {0o600}
    assert stat.S_IMODE(frames(node)[0].parent.stat().st_mode) == 0o700
    wait_for("the figure", lambda: figure(node, "decoded_ahead_bytes") == sum(f.stat().st_size for f in frames(node)))
    assert node.study(uid)["state"] == "RECEIVING"
    assert node.run("doctor").returncode == 0
    backup = node.run("backup", str(node.folder / "backup.tar"))
    assert backup.returncode == 0, backup.stderr
    assert b"decoded/" not in (node.folder / "backup.tar").read_bytes()

    assert node.run("studies", "close", uid).returncode == 0
    wait_for("the result", lambda: node.study(uid).get("result"), timeout_s=300.0, every_s=1.0)
    assert node.study(uid)["result"]["outcome"] == "analysed"
    ahead, then = (figure(node, "compressed_frames_read_total", f'{{decoded="{word}"}}') for word in ("ahead", "then"))
    assert (ahead, then) == (IMAGES, 0)
    wait_for("the frames to go", lambda: not frames(node))
    assert figure(node, "images_decoded_ahead_total", '{outcome="decoded"}') == IMAGES


def test_a_kill_leaves_no_decoder_behind_and_the_next_life_goes_on(node: NodeProcess, study: PhantomStudy) -> None:
    send(node, study)
    wait_for("the first images to be decoded", lambda: len(frames(node)) > 2, every_s=0.02, timeout_s=120.0)
    assert decoders(node)
    node.kill()
    wait_for("the decoder to end with its node", lambda: not decoders(node))
    stale = node.folder / "var" / "decoded" / f"{'ef' * 32}.frames"
    stale.write_bytes(b"of a study that is done")
    stale.chmod(0o600)
    told = node.run("doctor")
    assert "of no study whose analysis is to come" in told.stdout
    assert node.run("doctor", "--repair").returncode == 0
    assert not stale.exists()
    node.start()
    wait_for("every image to be decoded", lambda: len(frames(node)) == IMAGES, timeout_s=240.0)
    assert node.stop() == 0
    assert not decoders(node)
