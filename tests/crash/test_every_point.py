"""The node dies, loses power, or meets a full or failing disk at every single point of a study's life.

One life is lived once; before each call that changes the disk, what would be left of it there and then is kept, with
what the scanner had been told and what the PACS held. From each of these a new node starts, the scanner sends again
what was not acknowledged, and in the end nothing may be missing. For a failing disk the life is lived once for each
point, with the error there. States that are equal in every byte are gone through once.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from pathlib import Path

import pytest

from dicom_node.core.errors import StorageUnavailable
from storage.database import SQLITE_FILE, open_database
from tests.crash.life import STORY, Action, Life, World, begin_with, check
from tests.crash.platter import Tap, Tree, tree_of, watch_database
from tests.unit.app.node import T0, silenced

KILLED, POWER_CUT, NAMES_KEPT = "killed", "power cut", "power cut that kept the names"


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    with silenced():
        yield


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """In memory where the system has such a place: what survives is known from the calls, not from a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as made:
        yield Path(made)


@pytest.fixture(scope="module")
def empty_store(folder: Path) -> Tree:
    """A data folder with a new database in it, as the first start leaves it."""
    root = folder / "empty"
    open_database("sqlite", data_dir=root).close()
    return tree_of(root)


class Moment:
    """What is left at one point, by kind of end, and what the world knows then."""

    def __init__(self, number: int, step: str, path: Path, action: str, world: World, at: datetime) -> None:
        self.label = f"point {number} ({action}: {step} {path})"
        self.action = action
        self.world = world.copy()
        self.at = at
        self.left: dict[str, Tree] = {}


def live(root: Path, empty_store: Tree) -> list[Moment]:
    """A whole life without a fault, and every moment of it."""
    begin_with(empty_store, root)
    world, moments, doing = World(), list[Moment](), ["start"]
    life: Life | None = None
    bytes_seen: dict[bytes, bytes] = {}

    def keep(step: str, path: Path) -> None:
        at = life.node.clock.at if life is not None else T0
        moment = Moment(len(moments), step, path, doing[-1], world, at)
        for kind, left in (
            (KILLED, tree_of(root)),
            (POWER_CUT, tap.after_a_power_cut()),
            (NAMES_KEPT, tap.after_a_power_cut_that_kept_names()),
        ):
            moment.left[kind] = {
                name: content if content is None else bytes_seen.setdefault(content, content)
                for name, content in left.items()
            }
        moments.append(moment)

    with Tap(root, keep) as tap:
        life = Life(root, world)
        with watch_database(life.database.engine, tap):
            for action, act in STORY:
                doing.append(action)
                act(life)
            life.settle()
            doing.append("the end")
            keep("end", Path(SQLITE_FILE))
        check(life)
    assert tree_of(root)[SQLITE_FILE] == empty_store[SQLITE_FILE], "a checkpoint ran: the model of the disk is wrong"
    life.end()
    return moments


def recover(root: Path, left: Tree, world: World, at: datetime) -> None:
    """A new node on what is left ends as if nothing had happened."""
    begin_with(left, root)
    life = Life(root, world, at=at)
    try:
        life.settle()
        check(life)
    finally:
        life.end()


def start(root: Path, moment: Moment) -> list[Tree]:
    """What a kill at each point of the next start would leave, where the node was killed at `moment`."""
    begin_with(moment.left[KILLED], root)
    left: list[Tree] = []

    def keep(_step: str, _path: Path) -> None:
        left.append(tree_of(root))

    with Tap(root, keep):
        life = Life(root, moment.world.copy(), at=moment.at)
        keep("end", Path(SQLITE_FILE))
    life.end()
    return left


@pytest.fixture(scope="module")
def moments(folder: Path, empty_store: Tree) -> tuple[Path, list[Moment]]:
    root = folder / "var"
    with silenced():
        return root, live(root, empty_store)


@pytest.mark.xdist_group("crash-ends")
@pytest.mark.parametrize("kind", [KILLED, POWER_CUT, NAMES_KEPT])
def test_a_node_that_ends_at_any_point_loses_nothing(moments: tuple[Path, list[Moment]], kind: str) -> None:
    root, lived = moments
    done: set[int] = set()
    for moment in lived:
        key = hash((tuple(sorted(moment.left[kind].items())), repr(moment.world)))
        if key in done:
            continue
        done.add(key)
        try:
            recover(root, moment.left[kind], moment.world.copy(), moment.at)
        except Exception as error:
            error.add_note(f"{kind} before {moment.label}")
            raise
    assert len(done) > 50, "the life was shorter than it should be"


@pytest.mark.xdist_group("crash-ends")
def test_a_start_after_a_kill_may_be_killed_as_well(moments: tuple[Path, list[Moment]]) -> None:
    """For the middle of each action, where files lie about and leases are held."""
    root, lived = moments
    for action, _act in STORY:
        of_action = [moment for moment in lived if moment.action == action]
        middle = of_action[len(of_action) // 2]
        lefts = start(root, middle)
        for number, left in enumerate(lefts):
            if left in lefts[:number]:
                continue
            try:
                recover(root, left, middle.world.copy(), middle.at)
            except Exception as error:
                error.add_note(f"killed at {middle.label}, and again at point {number} of the start")
                raise


class FailingDisk:
    """Raises `code` at point `at`, and where `is_full` at every later one of the action but removals.

    Nothing fails and nothing is counted while it `is_sound`.
    """

    def __init__(self, at: int, code: int, *, is_full: bool) -> None:
        self.points = 0
        self.failed_at = ""
        self.is_sound = False
        self._at, self._code, self._is_full = at, code, is_full

    def before(self, step: str, path: Path) -> None:
        if self.is_sound:
            return
        number, self.points = self.points, self.points + 1
        goes_on = self._is_full and number > self._at and not _gives_back(step)
        if number != self._at and not goes_on:
            return
        self.failed_at = self.failed_at or f"{step} {path}"
        if step in ("begin", "commit", "committed"):
            words = "database or disk is full" if self._is_full else "disk I/O error"
            raise sqlite3.OperationalError(words)
        raise OSError(self._code, os.strerror(self._code), str(path))


def _gives_back(step: str) -> bool:
    return step in ("unlink", "remove", "rmdir")


def live_on_with(disk: FailingDisk, root: Path, moment: Moment, act: Action) -> None:
    """A life that begins at `moment`, in whose next action the disk fails once, or is full to its end."""
    begin_with(moment.left[KILLED], root)
    world = moment.world.copy()
    with Tap(root, disk.before) as tap:
        disk.is_sound = moment.action != STORY[0][0]  # the start is gone through once
        life = started(root, world, moment.at, disk)
        disk.is_sound = False
        with watch_database(life.database.engine, tap):
            act(life)
            disk.is_sound = True
            if life.database.failure:
                life = started_again(life)
            life.settle()
    life = started_again(life)
    check(life)
    life.end()


def started(root: Path, world: World, at: datetime, disk: FailingDisk) -> Life:
    """The first start that succeeds; a service manager starts a node again that could not."""
    try:
        return Life(root, world, at=at)
    except StorageUnavailable:
        disk.is_sound = True
        return Life(root, world, at=at)


def started_again(life: Life) -> Life:
    """The next process, after this one ended by itself."""
    life.end()
    return Life(life.root, life.world, at=life.node.clock.at)


@pytest.mark.xdist_group("crash-faults")
@pytest.mark.parametrize(("action", "act"), STORY, ids=[action for action, _act in STORY])
@pytest.mark.parametrize(("code", "is_full"), [(errno.EIO, False), (errno.ENOSPC, True)], ids=["EIO", "ENOSPC"])
def test_a_disk_that_fails_or_is_full_at_any_point_loses_nothing(
    moments: tuple[Path, list[Moment]], action: str, act: Action, code: int, is_full: bool
) -> None:
    root, lived = moments
    beginning = next(moment for moment in lived if moment.action == action)
    for at in count():
        disk = FailingDisk(at, code, is_full=is_full)
        try:
            live_on_with(disk, root, beginning, act)
        except Exception as error:
            error.add_note(f"{errno.errorcode[code]} at point {at} ({action}: {disk.failed_at})")
            raise
        if not disk.failed_at:
            break
