"""Keeps the decoding child: starts it when there is an image, asks it for one after the other, and notices its end."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dicom_node.core.decode_ahead import Decoded, DecodeOutcome, DecoderLost, LeftAlone, NoRoom

CHILD = (sys.executable, "-m", "dicom_node.analysis.decoder_child")
TIMEOUT_S = 120.0
"""For one image; an Enhanced one of a thousand frames on a busy machine takes most of it."""
IDLE_S = 30.0
END_S = 5.0

_POLL_S = 0.1


class ChildDecoder:
    """A FrameDecoder (see `dicom_node.ports`) with one process, kept while there are images.

    Its messages go to `log`, in a folder that exists when `decode` is called; it is begun anew with each child. After
    `close`, from any thread, the decoder is lost over every image.
    """

    def __init__(
        self,
        *,
        log: Path,
        command: Sequence[str] = CHILD,
        timeout_s: float = TIMEOUT_S,
        idle_s: float = IDLE_S,
        end_s: float = END_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`timeout_s` is for one image; a child with nothing to do for `idle_s` may end; one that does not end within
        `end_s` is killed."""
        self._log = log
        self._command = tuple(command)
        self._timeout_s = timeout_s
        self._idle_s = idle_s
        self._end_s = end_s
        self._monotonic = monotonic
        self._child: subprocess.Popen[bytes] | None = None
        self._used_at = 0.0
        self._is_closed = False

    @property
    def process_id(self) -> int | None:
        """Of the child; None while there is none."""
        return None if self._child is None else self._child.pid

    def decode(self, source: Path, target: Path, *, most_bytes: int, is_cancelled: Callable[[], bool]) -> DecodeOutcome:
        """As the port says. Never raises."""
        try:
            child = self._child or self._start()
            answered = self._ask(child, {"source": str(source), "target": str(target), "most_bytes": most_bytes})
            return _outcome(self._answer(child, is_cancelled)) if answered else DecoderLost(why=self._ending())
        except _Lost as lost:
            self._end()
            return DecoderLost(why=str(lost))
        except OSError as error:
            self._end()
            return DecoderLost(why=f"the decoder cannot be reached: {error.strerror}")
        finally:
            self._used_at = self._monotonic()

    def rest(self) -> None:
        """The child ends after it had nothing to do for a while."""
        if self._child is not None and self._monotonic() - self._used_at > self._idle_s:
            self._end()

    def close(self) -> None:
        """There is no child, and will be none."""
        self._is_closed = True
        self._end()

    def _start(self) -> subprocess.Popen[bytes]:
        if self._is_closed:
            raise _Lost("the decoder is closed")
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self._child = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=descriptor, bufsize=0
            )
        finally:
            os.close(descriptor)
        if self._is_closed:  # meanwhile
            raise _Lost("the decoder is closed")
        return self._child

    def _ask(self, child: subprocess.Popen[bytes], request: dict[str, Any]) -> bool:
        """Whether it could be told; a line is shorter than what a pipe takes at once."""
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(request).encode() + b"\n")
        except (BrokenPipeError, ValueError):  # ended, closed
            return False
        return True

    def _answer(self, child: subprocess.Popen[bytes], is_cancelled: Callable[[], bool]) -> dict[str, Any]:
        assert child.stdout is not None
        ends_at, line = self._monotonic() + self._timeout_s, b""
        while not line.endswith(b"\n"):
            if is_cancelled():
                raise _Lost("the decoder was ended because the node stops")
            if self._monotonic() > ends_at:
                raise _Lost(f"an image took longer than {self._timeout_s:.0f} s")
            try:
                if select.select([child.stdout], [], [], _POLL_S)[0]:
                    received = child.stdout.read(65536)
                    if not received:
                        raise _Lost(self._ending())
                    line += received
            except ValueError as error:  # closed by another thread
                raise _Lost("the decoder is closed") from error
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise _Lost("the decoder's answer cannot be read") from error
        return answer

    def _ending(self) -> str:
        """The child has closed its ends: it is gone, or about to be. How it ended, in words."""
        child = self._child
        if child is not None:
            with suppress(subprocess.TimeoutExpired):
                child.wait(self._end_s)  # by itself: the end of its input would be another reason to end
        self._end()
        status = None if child is None else child.returncode
        if status is None or status >= 0:
            return f"the decoder ended with status {status}"
        with suppress(ValueError):
            return f"the decoder was ended by {signal.Signals(-status).name}"
        return f"the decoder was ended by signal {-status}"

    def _end(self) -> None:
        """Leave no child behind. Twice is once."""
        child, self._child = self._child, None
        if child is None:
            return
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        try:
            child.wait(self._end_s)  # the end of its input ends it; a crash is writing down where it happened
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class _Lost(Exception):
    """The child is of no use any more."""


def _outcome(answer: dict[str, Any]) -> DecodeOutcome:
    if "bytes" in answer:
        return Decoded(size_bytes=answer["bytes"])
    if "needs" in answer:
        return NoRoom(needed_bytes=answer["needs"])
    return LeftAlone(why=answer["why"])
