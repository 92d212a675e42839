"""A PostgreSQL server of the tests' own: a new cluster on a Unix socket, gone with the session."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.peers import missing


def find_program(name: str) -> str | None:
    """Debian keeps initdb and pg_ctl out of the path."""
    found = shutil.which(name) or next(iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)), None)
    return os.path.realpath(found) if found else None


@contextmanager
def postgres_url() -> Iterator[str]:
    """CSPINE_TEST_POSTGRES_URL where it is set, else a server that is started here. Skips where there is none."""
    given = os.environ.get("CSPINE_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    initdb, pg_ctl = find_program("initdb"), find_program("pg_ctl")
    if initdb is None or pg_ctl is None:
        missing("initdb and pg_ctl", "postgresql")
    # A short path: a Unix socket's name has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    cluster = folder / "data"
    # The server refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    quick = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c max_connections=60"
    try:
        _run([initdb, "-D", str(cluster), "-A", "trust", "-U", "node", "-E", "UTF8", "--no-sync"], user)
        _run(
            [pg_ctl, "-D", str(cluster), "-o", quick, "-l", str(folder / "log"), "-w", "-t", "60", "start"],
            user,
        )
        try:
            yield f"postgresql+psycopg://node@/postgres?host={folder}"
        finally:
            _run([pg_ctl, "-D", str(cluster), "-m", "immediate", "-w", "stop"], user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str], user: str | None) -> None:
    done = subprocess.run(
        command,
        user=user,
        cwd="/tmp",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=90,
    )
    if done.returncode != 0:
        pytest.fail(f"{Path(command[0]).name} failed: {done.stderr}")
