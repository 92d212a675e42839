"""The audit trail as the node uses it: `record` never raises, never waits for a network, loses nothing silently.

A message goes into the file and into the spool before `record` returns; one thread sends what is spooled. What cannot
be written is kept in memory and written before the next message; what has to be given up is counted and logged.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import structlog

from dicom_node.app import counting
from dicom_node.audit.frames import frame, syslog_message
from dicom_node.audit.log_file import AuditFile
from dicom_node.audit.message import encode
from dicom_node.audit.sender import TlsSender
from dicom_node.audit.spool import Spool
from dicom_node.core.audit import AuditEvent
from dicom_node.core.errors import PeerUnreachable
from dicom_node.ports import Counters

log = structlog.get_logger(__name__)

_MOST_IN_MEMORY = 10_000
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 300.0


class _Sink:
    """A place that messages are put into; those that could not be wait in memory."""

    def __init__(self, name: str, put: Callable[[bytes], int], counters: Counters) -> None:
        self._name = name
        self._put = put
        self._counters = counters
        self._late: deque[bytes] = deque()

    def take(self, line: bytes) -> None:
        self._late.append(line)
        if len(self._late) > _MOST_IN_MEMORY:
            self._late.popleft()
            self._lost(1)
        self.catch_up()

    def catch_up(self) -> None:
        while self._late:
            try:
                dropped = self._put(self._late[0])
            except OSError as error:
                self._counters.count(counting.AUDIT_FAILURES, sink=self._name)
                log.error("audit_not_written", sink=self._name, why=str(error), waiting=len(self._late))
                return
            self._late.popleft()
            if dropped:
                self._lost(dropped)

    def _lost(self, number: int) -> None:
        for _ in range(number):
            self._counters.count(counting.AUDIT_LOST, sink=self._name)
        log.error("audit_messages_lost", sink=self._name, number=number)


class AuditTrail:
    """`AuditLog` of the ports. Safe for any number of threads."""

    def __init__(
        self,
        *,
        source_id: str,
        site: str,
        host: str,
        process_id: int,
        counters: Counters,
        file: AuditFile | None = None,
        spool: Spool | None = None,
        sender: TlsSender | None = None,
    ) -> None:
        """Without a `sender` what is put into the `spool` waits for a process that has one."""
        self._source_id, self._site, self._host, self._process_id = source_id, site, host, process_id
        self._counters = counters
        self._spool, self._sender = spool, sender
        self._sinks: list[_Sink] = []
        if file is not None:
            self._sinks.append(_Sink("file", file.append, counters))
        if spool is not None:
            self._sinks.append(_Sink("spool", spool.put, counters))
        self._writing = threading.Lock()
        self._is_new = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def record(self, event: AuditEvent) -> None:
        """The message is written, or waits to be; nothing is raised."""
        message = encode(event, source_id=self._source_id, site=self._site)
        line = syslog_message(
            message, at=event.at, host=self._host, application="cspine-node", process_id=self._process_id
        )
        self._counters.count(counting.AUDIT_MESSAGES, event=event.event.name.lower())
        with self._writing:
            for sink in self._sinks:
                sink.take(line)
        self._is_new.set()

    def start(self) -> None:
        """Begin to send what is spooled, from this life and earlier ones."""
        if self._spool is not None and self._sender is not None:
            self._thread = threading.Thread(target=self._send_all, name="audit", daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Send what waits, while that works and no longer than `timeout_s`; the rest waits for the next life."""
        with self._writing:
            for sink in self._sinks:
                sink.catch_up()
        self._stopping.set()
        self._is_new.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def send_waiting(self) -> bool:
        """Send what is spooled, oldest first. False where the repository cannot be reached; what is left waits."""
        assert self._spool is not None
        assert self._sender is not None
        for path in self._spool.waiting():
            with suppress(FileNotFoundError):  # dropped for newer ones meanwhile
                line = path.read_bytes()
                try:
                    self._sender.send(frame(line))
                except PeerUnreachable as error:
                    self._counters.count(counting.AUDIT_FAILURES, sink="syslog")
                    log.warning("audit_not_sent", why=str(error), effect="it waits in the spool")
                    return False
                self._spool.sent(path)
        return True

    def _send_all(self) -> None:
        wait_s = _FIRST_WAIT_S
        while True:
            is_last = self._stopping.is_set()
            self._is_new.clear()
            try:
                is_sent = self.send_waiting()
            except OSError as error:
                log.error("audit_spool_unreadable", why=str(error))
                is_sent = False
            if is_last:
                break
            wait_s = _FIRST_WAIT_S if is_sent else min(2 * wait_s, _LONGEST_WAIT_S)
            # While the repository is away a new message is no reason to try at once.
            (self._is_new if is_sent else self._stopping).wait(60.0 if is_sent else wait_s)
        if self._sender is not None:
            self._sender.close()
