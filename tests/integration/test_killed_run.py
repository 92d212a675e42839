"""A run that is killed takes its workers with it."""

import os
import subprocess
import sys
import time

from tests.architecture.source import ROOT

PATIENCE_S = 60.0


def waited_for(what):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.1)
    return False


def is_running(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_end_when_the_run_that_began_them_is_killed(tmp_path):
    run = subprocess.Popen([sys.executable, "-m", "tests.builders.endless_run", str(tmp_path)], cwd=ROOT)
    try:
        assert waited_for(lambda: len(list(tmp_path.iterdir())) == 2)
    finally:
        run.kill()
        run.wait()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    assert waited_for(lambda: not any(is_running(worker) for worker in workers))
