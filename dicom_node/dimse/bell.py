"""A bell that a thread can wait for together with a connection."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading


class Bell:
    """Any thread may ring, also after the end; one thread waits, and closes."""

    def __init__(self) -> None:
        self._ear, self._rope = os.pipe()
        os.set_blocking(self._ear, False)
        os.set_blocking(self._rope, False)
        # The lock keeps a late ring from writing into whatever got the file descriptor next.
        self._lock = threading.Lock()
        self._is_closed = False
        self._both = select.poll()
        self._beside = -1  # of the connection that `_both` asks for as well

    def ring(self) -> None:
        """End the present wait, or the next one at once."""
        with self._lock:
            if not self._is_closed:
                with contextlib.suppress(BlockingIOError):  # it rings already
                    os.write(self._rope, b"!")

    def wait_beside(self, connection: socket.socket, timeout_s: float) -> bool:
        """Whether `connection` can be read or is closed, as soon as it is, the bell rings, or the time is over.

        Raises OSError or ValueError where it is closed on our side.
        """
        descriptor = connection.fileno()
        if descriptor != self._beside:
            self._both = select.poll()
            self._both.register(self._ear, select.POLLIN)
            self._both.register(descriptor, select.POLLIN)
            self._beside = descriptor
        is_readable = False
        for found, _ in self._both.poll(timeout_s * 1000.0):
            if found == self._ear:
                os.read(self._ear, 4096)
            else:
                is_readable = True
        return is_readable

    def wait(self, timeout_s: float) -> None:
        """Returns when the bell rings, or the time is over."""
        poller = select.poll()
        poller.register(self._ear, select.POLLIN)
        if poller.poll(timeout_s * 1000.0):
            os.read(self._ear, 4096)

    def close(self) -> None:
        """Nobody waits any more. Twice is once."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                os.close(self._ear)
                os.close(self._rope)

    def __del__(self) -> None:
        # Where the association it was made for never began.
        self.close()
