"""Seconds for a page of the worklist among many studies, and for the first useful picture of a study in a browser.

    python -m tests.benchmarks.bench_pages [--studies 100000] [--slices 300] [--repeats 9]

The node's own web server answers on loopback over SQLite; every study has its job, its result and its delivery. A page
is measured from the request to the last byte, by one browser at a time; "sql" is the part of it that the database
takes. The picture is the browser's own time (Largest Contentful Paint) from the address to the picture on the screen,
each time in a fresh context, so that nothing is kept; without Chromium that line is left out.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dicom_node.app.queries import counted_page
from dicom_node.core.standing import WorklistFilter
from dicom_node.core.worklist import WorklistState
from tests.builders.many_studies import seed_studies, uid_of
from tests.builders.study_stand import StudyStand, make_study_stand

LIMIT_S, PICTURE_LIMIT_S = 0.2, 1.5
PAINTED = """() => new Promise(done => new PerformanceObserver(list => {
    const images = list.getEntries().filter(entry => entry.element?.tagName === 'IMG');
    if (images.length) done(images[0].startTime);
}).observe({type: 'largest-contentful-paint', buffered: true}))"""


def pages(studies: int) -> dict[str, tuple[str, WorklistFilter, int]]:
    """What is asked: the address, and what the database is asked for it."""
    last = (studies + 99) // 100
    middle = studies // 2
    return {
        "first page": ("/", WorklistFilter(), 0),
        "last page": (f"/?page={last}", WorklistFilter(), (last - 1) * 100),
        "one status": ("/?status=DELIVERED", WorklistFilter(state=WorklistState.DELIVERED), 0),
        "a status that none has": ("/?status=ANALYSING", WorklistFilter(state=WorklistState.ANALYSING), 0),
        "suspected fractures": ("/?fracture=yes", WorklistFilter(is_positive=True), 0),
        "one source": ("/?source=CT_2", WorklistFilter(source="CT_2"), 0),
        "one patient": (f"/?q=number+{middle}", WorklistFilter(text=f"number {middle}"), 0),
        "one Study Instance UID": (f"/?q={uid_of(middle)}", WorklistFilter(text=uid_of(middle)), 0),
        "a name that nobody has": ("/?q=nobody", WorklistFilter(text="nobody"), 0),
        "the refresh": ("/?part=rows", WorklistFilter(), 0),
    }


def median_s(act: Callable[[], object], repeats: int) -> float:
    """After one that only warms up."""
    act()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def fetch(stand: StudyStand, cookie: str, address: str) -> bytes:
    """The page."""
    request = urllib.request.Request(stand.url + address, headers={"Cookie": cookie})
    with urllib.request.urlopen(request, timeout=120) as answer:
        read: bytes = answer.read()
        return read


def query(stand: StudyStand, wanted: WorklistFilter, offset: int) -> None:
    """What the database is asked for a page, and its rows from it."""
    with stand.node.database.reading() as uow:
        counted_page(uow, wanted, limit=100, offset=offset)


def first_pictures_s(stand: StudyStand, repeats: int) -> list[float]:
    """Seconds to the first picture, once for each fresh context; empty without Chromium."""
    program = shutil.which("chromium")
    if program is None:
        return []
    from tests.viewer.ohif import chromium

    seconds = []
    with chromium(program) as browser:
        for _ in range(repeats + 1):
            context = browser.new_context(viewport={"width": 1500, "height": 1100})
            context.add_cookies([stand.cookie()])  # type: ignore[list-item]
            page = context.new_page()
            page.set_default_timeout(120_000)
            page.goto(stand.study_url, wait_until="commit")
            seconds.append(page.evaluate(PAINTED) / 1000)
            context.close()
    return seconds[1:]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        stand = make_study_stand(
            Path(scratch), fractures=("C2:odontoid-2",), slices=options.slices, slice_mm=240 / options.slices
        )
        try:
            pictures = first_pictures_s(stand, options.repeats)
            seed_studies(stand.node.database, options.studies - 1)
            cookie = f"cspine_session={stand.cookie()['value']}"
            table = Table("page", "sql", "whole", "limit", title=f"worklist of {options.studies} studies, SQLite")
            for name, (address, wanted, offset) in pages(options.studies).items():
                sql = median_s(lambda w=wanted, o=offset: query(stand, w, o), options.repeats)
                whole = median_s(lambda a=address: fetch(stand, cookie, a), options.repeats)
                table.add_row(name, f"{1000 * sql:.0f} ms", f"{1000 * whole:.0f} ms", f"{1000 * LIMIT_S:.0f} ms")
            console.print(table)
            if pictures:
                said = f"{statistics.median(pictures):.2f} s, slowest {max(pictures):.2f} s, limit {PICTURE_LIMIT_S} s"
                console.print(f"first useful picture of {options.slices} slices: median {said}")
        finally:
            stand.close()


if __name__ == "__main__":
    main()
