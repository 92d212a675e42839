"""What /readyz refuses for, and what the metrics page looks at outside of the database."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config.load import load_settings
from config.settings import Settings
from dicom_node.bootstrap.gpus import Gpus
from dicom_node.bootstrap.watching import (
    certificates,
    disk_samples,
    figures_now,
    sources,
    spool_samples,
    why_not_ready,
)
from dicom_node.core.errors import StorageUnavailable
from tests.builders.certificates import Authority


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "node.toml"
    file.write_text("[node]\nmin_free_bytes = 1000\n")
    return load_settings(file, environ={"CSPINE_NODE__NODE__DATA_DIR": str(tmp_path / "var")}).settings


def store(*, free_bytes: int | None = 5000, failure: str = "") -> Any:
    def free() -> int:
        if free_bytes is None:
            raise StorageUnavailable("/var/lib/secret cannot be measured: EIO")
        return free_bytes

    @contextlib.contextmanager
    def reading() -> Any:
        raise StorageUnavailable("no database")
        yield

    return SimpleNamespace(
        database=SimpleNamespace(failure=failure), files=SimpleNamespace(free_bytes=free), reading=reading
    )


LISTENS: Any = SimpleNamespace(is_listening=True, open_associations=2, hands=None)
DEAF: Any = SimpleNamespace(is_listening=False, open_associations=0, hands=None)


def test_nothing_speaks_against_an_association(settings: Settings) -> None:
    assert set(why_not_ready(settings, store(), LISTENS).values()) == {""}


@pytest.mark.parametrize(
    ("where", "receiver", "what", "why"),
    [
        (store(failure="sync failed"), LISTENS, "database", "started again"),
        (store(free_bytes=999), LISTENS, "disk", "999 bytes are free and 1000 are kept in reserve"),
        (store(free_bytes=None), LISTENS, "disk", "cannot be looked at"),
        (store(), DEAF, "receiver", "does not listen"),
    ],
)
def test_a_node_that_could_not_keep_an_image_is_not_ready_and_says_why(
    settings: Settings, where: Any, receiver: Any, what: str, why: str
) -> None:
    problems = why_not_ready(settings, where, receiver)
    assert why in problems[what]
    assert [name for name, problem in problems.items() if problem] == [what]
    assert "secret" not in problems[what], "a path is nobody's business who has not logged in"


def test_a_database_that_is_away_gives_no_figures() -> None:
    assert figures_now(store()) is None


def test_the_receiver_and_a_refused_configuration_are_on_the_page(settings: Settings) -> None:
    node = sources(settings, store(), LISTENS, version="1.2", peers_problem=lambda: "line 3")[0]
    assert list(node()) == [
        ("node_info", ("1.2", "CSPINE_AI"), 1.0),
        ("receiver_up", (), 1.0),
        ("associations_open", (), 2.0),
        ("receiving_processes_up", (), 0.0),
        ("associations_lent", (), 0.0),
        ("configuration_refused", (), 1.0),
    ]


def test_a_disk_that_is_not_there_shows_its_reserve_alone(settings: Settings) -> None:
    assert list(disk_samples(settings)) == [("disk_reserve_bytes", (), 1000.0)]
    settings.node.data_dir.mkdir()
    found = {name: value for name, _, value in disk_samples(settings)}
    assert 0 < found["disk_free_bytes"] <= found["disk_size_bytes"]


def test_audit_messages_that_wait_are_counted_and_half_written_ones_are_not(tmp_path: Path) -> None:
    assert list(spool_samples(tmp_path / "none")) == [("audit_spool_messages", (), 0.0)]
    for name in ("1.syslog", "2.syslog", "3.part"):
        (tmp_path / name).touch()
    assert list(spool_samples(tmp_path)) == [("audit_spool_messages", (), 2.0)]


def test_a_certificate_says_when_it_ends_and_one_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    made = Authority(tmp_path / "ca").issue("node", key="ec")
    file = tmp_path / "node.toml"
    tls = f'mode = "beside"\ncertificate = "{made.certificate}"\nkey = "{made.key}"\nclient_certificates = "none"\n'
    file.write_text(f"[node.tls]\n{tls}")
    chosen = load_settings(file, environ={}).settings
    ((name, labels, ends),) = certificates(chosen)
    assert (name, labels) == ("certificate_expiry_timestamp_seconds", ("receiver",))
    left = datetime.fromtimestamp(ends, UTC) - datetime.now(UTC)
    assert timedelta(days=1) < left < timedelta(days=3)
    made.certificate.write_text("not a certificate")
    assert list(certificates(chosen)) == []


class _Nvml:
    class NVMLError(Exception): ...

    def __init__(self, *, count: int, fallen: tuple[int, ...] = (), driver: bool = True) -> None:
        self.count, self.fallen, self.driver = count, fallen, driver

    def nvmlInit(self) -> None:
        if not self.driver:
            raise self.NVMLError("no driver")

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        if handle in self.fallen:
            raise self.NVMLError("GPU is lost")
        return SimpleNamespace(used=2, total=8)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return SimpleNamespace(gpu=25)


def test_gpus_show_memory_and_use_and_one_that_is_lost_is_left_out() -> None:
    assert list(Gpus(_Nvml(count=2, fallen=(0,)))()) == [
        ("gpu_memory_used_bytes", ("1",), 2.0),
        ("gpu_memory_size_bytes", ("1",), 8.0),
        ("gpu_utilization_ratio", ("1",), 0.25),
    ]


def test_a_machine_without_a_driver_has_no_gpus() -> None:
    assert list(Gpus(_Nvml(count=1, driver=False))()) == []
