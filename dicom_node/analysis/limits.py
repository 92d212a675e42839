"""What a child process may take."""

from __future__ import annotations

from pathlib import Path


def limit_memory(limit_mb: int) -> None:
    """Let this process's address space grow by this much from here on (Linux); 0 is no limit.

    Torch maps more than it uses, so the limit counts from what the interpreter and its libraries take.
    """
    status = Path("/proc/self/statm")
    if limit_mb and status.exists():
        import resource

        used = int(status.read_text().split()[0]) * resource.getpagesize()
        limit = used + limit_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
