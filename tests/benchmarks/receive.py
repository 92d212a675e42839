"""How fast the node takes a study, beside every other receiver in the same run.

`python -m tests.benchmarks.receive [--short] [--instances 300] [--rows 512] [--rounds 3] [--associations 1 4]`

The receivers take turns, round by round, each in a fresh folder on a disk that has nothing left to write; the medians
stand in the tables, and the ratios in them are of medians of the same rounds. All folders together take some 20 GB.
Senders are ours (`sending`): TCP_NODELAY, full PDUs, data sets from memory.
Machines drift and other work disturbs: the ratios count, and on a busy machine not even they. `--short` is for seeing
that everything works.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.goals import Line, Most, table_of
from tests.benchmarks.receivers import Expected, PeakMemory, Running, dcmtk, node, orthanc, plain
from tests.benchmarks.sending import Bare, Scanner, Sent, all_at_once, association_s, echo_s, template

Start = Callable[[Path, Expected], AbstractContextManager[Running]]

OURS, OURS_OS = "cspine-node, fsync", "cspine-node, os"
BARE, ROWLESS = "bare socket + fsync", "cspine-node without rows, fsync"
STORESCP, BEST_STORESCP, ORTHANC, STOCK = "DCMTK storescp", "DCMTK storescp +B, 128 KiB", "Orthanc", "pynetdicom SCP"
_BEST = ("+B", "--max-pdu", "131072")
RECEIVERS: dict[str, Start] = {
    BARE: partial(plain, kind="bare-fsync"),
    "bare socket": partial(plain, kind="bare"),
    STORESCP: dcmtk,
    BEST_STORESCP: partial(dcmtk, options=_BEST),
    ORTHANC: orthanc,
    STOCK: partial(plain, kind="stock"),
    ROWLESS: partial(plain, kind="rowless"),
    OURS: node,
    OURS_OS: partial(node, durability="os"),
}
DURABLE = {BARE, ORTHANC, ROWLESS, OURS}


@dataclass(frozen=True, kw_only=True)
class Goal:
    """`of` at least (or, for times, at most) `ratio` times `against`, with one association and with four."""

    of: str
    against: str
    one: float
    four: float


GOALS = (
    Goal(of=OURS, against=BARE, one=0.85, four=0.9),
    Goal(of=OURS, against=ORTHANC, one=5.0, four=3.5),
    Goal(of=OURS, against=STOCK, one=5.0, four=5.0),
    Goal(of=OURS, against=STORESCP, one=0.6, four=0.75),
    Goal(of=OURS_OS, against=BEST_STORESCP, one=1.1, four=1.2),
    Goal(of=OURS, against=ROWLESS, one=0.9, four=0.9),
)


@dataclass
class Runs:
    """What one receiver did, round by round."""

    sent: list[Sent] = field(default_factory=list)
    peak_mb: float = 0.0

    @property
    def mb_per_s(self) -> float:
        """The median."""
        return statistics.median(each.mb_per_s for each in self.sent)


def send_to(name: str, running: Running, expected: Expected, data_set: bytes, *, study: int = 1) -> tuple[Sent, float]:
    """Every peer sends its study at the same time; what that took, and the receiver's peak memory."""
    watch = PeakMemory(running.pid)
    peers, count = range(expected.peers), expected.instances
    if name.startswith("bare"):
        bare = [Bare(running.port, data_set, count) for _ in peers]
        return all_at_once(bare, len(data_set), count, watch.look), watch.peak_mb
    scanners = [Scanner(running.port, peer, data_set, count, study=study, called=running.called) for peer in peers]
    return all_at_once(scanners, len(data_set), count, watch.look), watch.peak_mb


def measure(names: list[str], expected: Expected, data_set: bytes, rounds: int) -> dict[str, Runs]:
    """Every receiver in turn, round by round, each in a fresh folder.

    What they wrote is on the disk before the next one begins, or it would pay for that; and stays until the end: a file
    system that has just lost thousands of files is slow to make new ones.
    """
    runs = {name: Runs() for name in names}
    with tempfile.TemporaryDirectory(prefix="bench-receive-") as folder:
        for number in range(rounds):
            for name in names:
                os.sync()
                with RECEIVERS[name](Path(folder) / f"{name} {number}", expected) as running:
                    sent, peak_mb = send_to(name, running, expected, data_set)
                runs[name].sent.append(sent)
                runs[name].peak_mb = max(runs[name].peak_mb, peak_mb)
    return runs


def throughput(title: str, runs: dict[str, Runs]) -> Table:
    """A row for each receiver."""
    table = Table(title=title)
    for column in (
        "receiver",
        "durable",
        "MB/s",
        "instances/s",
        "of storescp",
        "of bare + fsync",
        "peak MB",
        "refused",
    ):
        table.add_column(column, justify="left" if column == "receiver" else "right")
    for name, its in runs.items():
        seconds = statistics.median(each.seconds for each in its.sent)
        table.add_row(
            name,
            "yes" if name in DURABLE else "no",
            f"{its.mb_per_s:.0f}",
            f"{its.sent[0].instances / seconds:.0f}",
            _ratio(its, runs.get(STORESCP)),
            _ratio(its, runs.get(BARE)),
            f"{its.peak_mb:.0f}",
            str(sum(each.refused for each in its.sent)),
        )
    return table


def _ratio(of: Runs, against: Runs | None) -> str:
    return f"{of.mb_per_s / against.mb_per_s:.2f}" if against else ""


def ratios(runs: dict[str, Runs], associations: int) -> Iterator[Line]:
    """Of throughputs, as far as both were measured."""
    for goal in GOALS:
        if goal.of in runs and goal.against in runs:
            yield Line(
                what=f"{goal.of} : {goal.against}, {associations} assoc.",
                wanted=goal.one if associations == 1 else goal.four,
                reached=runs[goal.of].mb_per_s / runs[goal.against].mb_per_s,
            )


def many(one: Runs, twenty: Runs) -> Iterator[Line]:
    """Twenty associations at once beside one alone."""
    yield Most(what="20 assoc.: refused", wanted=0, reached=sum(each.refused for each in twenty.sent), unit="")
    yield Line(what="20 assoc. : 1 assoc., in all", wanted=0.9, reached=twenty.mb_per_s / one.mb_per_s)
    yield Most(what="20 assoc.: peak memory", wanted=350, reached=twenty.peak_mb, unit="MB")


def round_trips(rounds: int, count: int) -> Iterator[Line]:
    """C-ECHO and association set-up beside DCMTK's: both run, and are asked in turn."""
    echoes: dict[str, list[float]] = {OURS: [], BEST_STORESCP: []}
    set_ups: dict[str, list[float]] = {OURS: [], BEST_STORESCP: []}
    nobody = Expected(peers=1, instances=0)
    with tempfile.TemporaryDirectory(prefix="bench-receive-") as folder, contextlib.ExitStack() as stack:
        running = {
            name: stack.enter_context(RECEIVERS[name](Path(folder) / str(number), nobody))
            for number, name in enumerate(echoes)
        }
        for _ in range(rounds):
            for name, its in running.items():
                echoes[name].append(echo_s(its.port, its.called, count))
                set_ups[name].append(association_s(its.port, its.called, count))
    for what, wanted, times in (("C-ECHO", 1.2, echoes), ("association set-up", 2.0, set_ups)):
        ours, theirs = statistics.median(times[OURS]), statistics.median(times[BEST_STORESCP])
        words = f"{what} : DCMTK's ({1e3 * ours:.2f} ms : {1e3 * theirs:.2f} ms)"
        yield Most(what=words, wanted=wanted, reached=ours / theirs)


def growth(data_set: bytes, instances: int, rounds: int) -> Iterator[Line]:
    """A study 10/3 as long must take no more than 3.6 times as long, on a node that is the same for both."""
    longer = instances * 10 // 3
    seconds: dict[int, list[float]] = {instances: [], longer: []}
    expected = Expected(peers=1, instances=rounds * (instances + longer))
    with (
        tempfile.TemporaryDirectory(prefix="bench-receive-") as folder,
        node(Path(folder) / "receiver", expected) as running,
    ):
        for number in range(rounds):
            for count in seconds:
                study = 10 * number + (1 if count == instances else 2)
                os.sync()
                sent, _ = send_to(OURS, running, Expected(peers=1, instances=count), data_set, study=study)
                seconds[count].append(sent.seconds)
    short, long = (statistics.median(times) for times in seconds.values())
    yield Most(
        what=f"time of {longer} : {instances} instances ({long:.2f} s : {short:.2f} s)",
        wanted=3.6,
        reached=long / short,
    )


def age(data_set: bytes, instances: int, rounds: int, studies: int) -> Iterator[Line]:
    """A node that holds `studies` studies beside one that holds none, in turn."""
    nodes: dict[int, Start] = {0: node, studies: partial(node, studies=studies)}
    seconds: dict[int, list[float]] = {0: [], studies: []}
    with tempfile.TemporaryDirectory(prefix="bench-receive-") as folder, contextlib.ExitStack() as stack:
        expected = Expected(peers=1, instances=rounds * instances)
        running = {
            held: stack.enter_context(start(Path(folder) / str(held), expected)) for held, start in nodes.items()
        }
        for number in range(rounds):
            for held, its in sorted(running.items(), reverse=bool(number % 2)):
                os.sync()
                sent, _ = send_to(OURS, its, Expected(peers=1, instances=instances), data_set, study=number + 1)
                seconds[held].append(sent.seconds)
    new, old = (statistics.median(times) for times in seconds.values())
    yield Most(
        what=f"time with {studies} studies : with none ({old:.2f} s : {new:.2f} s)", wanted=1.05, reached=old / new
    )


def main(arguments: list[str] | None = None) -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=300, help="sent by each peer")
    parser.add_argument("--rows", type=int, default=512, help="rows and columns of a slice, int16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4, 20])
    parser.add_argument("--only", nargs="+", choices=list(RECEIVERS), default=list(RECEIVERS))
    parser.add_argument("--short", action="store_true", help="one round of few instances")
    options = parser.parse_args(arguments)
    if options.short:
        options.instances, options.rounds, options.associations = 30, 1, [1, 4, 20]
    console = Console(width=130)
    console.print(machine())
    data_set = template(options.rows)
    lines: list[Line] = []
    alone: Runs | None = None
    for associations in options.associations:
        expected = Expected(peers=associations, instances=options.instances if associations < 20 else 100)
        names = options.only if associations < 20 else [name for name in options.only if name in (STORESCP, OURS)]
        runs = measure(names, expected, data_set, options.rounds)
        console.print(throughput(f"{associations} at once, {expected.instances} instances each", runs))
        lines += ratios(runs, associations) if associations < 20 else ()
        alone = runs.get(OURS) if associations == 1 else alone
        if associations == 20 and alone is not None and OURS in runs:
            lines += many(alone, runs[OURS])
    if OURS in options.only:
        lines += round_trips(options.rounds, 20 if options.short else 50)
        lines += growth(data_set, options.instances, options.rounds)
        lines += age(data_set, options.instances, options.rounds, 1000 if options.short else 100_000)
    console.print(table_of(lines))


def machine() -> str:
    """What this runs on."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    busy = " ".join(f"{load:.1f}" for load in os.getloadavg())
    return f"{cpu}, {os.cpu_count()} CPUs, Linux {os.uname().release}, Python {sys.version.split()[0]}; load {busy}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    main()
