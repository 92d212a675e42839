"""The decoding child: `python -m dicom_node.analysis.decoder_child`.

Each line on standard input asks for one image: {"source": file, "target": file, "most_bytes": n}. Each is answered by
one line on standard output: {"bytes": n}, {"needs": n} where there is no room, or {"why": text} where the image is left
alone. Whatever nobody foresaw ends the process: an exception, a crash in a decoder, a lack of memory that the system
answers with a kill. The node then knows over which image that was.

It runs at low priority and below a memory limit. The end of standard input ends it at once, also within an image: its
parent is gone, or wants it gone.
"""

from __future__ import annotations

import errno
import faulthandler
import json
import os
import queue
import threading
from pathlib import Path
from typing import Any

NICENESS = 10
MEMORY_LIMIT_MB = 1024
EXIT_NO_MORE_INPUT = 4

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# Of the rules of `core.selection` those that speak of one image.
_RULES_OF_ONE_IMAGE = frozenset({"not_ct", "localizer", "secondary", "non_axial", "too_thick"})


def main() -> None:
    """Answer until there is no more input."""
    faulthandler.enable()
    os.nice(NICENESS)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a decoder prints is no answer
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    from dicom_node.analysis.limits import limit_memory
    from inference import decoded  # noqa: F401  what the decoders' libraries take does not count

    limit_memory(MEMORY_LIMIT_MB)
    while True:
        answers.write(json.dumps(answer(json.loads(requests.get()))) + "\n")
        answers.flush()


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Decode one image as asked, and say what became of it."""
    from inference.decoded import NoRoom, store_frames
    from inference.errors import ReadingError
    from inference.headers import read_header

    try:
        header = read_header(request["source"])
        why = _why_no_analysis_reads(header)
        if why:
            return {"why": why}
        return {"bytes": store_frames(header, Path(request["target"]), most_bytes=request["most_bytes"])}
    except NoRoom as error:
        return {"needs": error.needed_bytes}
    except ReadingError as error:
        return {"why": str(error)}
    except MemoryError:
        return {"why": f"it takes more than {MEMORY_LIMIT_MB} MB to decode"}
    except OSError as error:
        return {"needs": 0} if error.errno in _NO_SPACE else {"why": f"{type(error).__name__}: {error.strerror}"}


def _why_no_analysis_reads(header: Any) -> str:
    """What the selection will say to a series of such images; empty where it may take it."""
    from dicom_node.analysis.facts import facts_of
    from dicom_node.core.selection import SelectionRules, reject

    rejection = reject(facts_of([header]), SelectionRules(min_images=0, min_coverage_mm=0.0))
    return rejection.detail if rejection is not None and rejection.rule in _RULES_OF_ONE_IMAGE else ""


def _listen(requests: queue.SimpleQueue[bytes]) -> None:
    # Not through sys.stdin: its lock, held by a daemon thread, aborts the interpreter at shutdown.
    rest = b""
    while received := os.read(0, 65536):
        *lines, rest = (rest + received).split(b"\n")
        for line in lines:
            requests.put(line)
    os._exit(EXIT_NO_MORE_INPUT)


if __name__ == "__main__":
    main()
