"""What the System page is told of the bundle, the disk, the backup and the configuration."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from config.load import load_settings
from dicom_node.bootstrap.system import HIDDEN, configuration, last_backup, model_card, surroundings
from storage.backup import LAST_BACKUP, back_up
from storage.database import SQLITE_FILE, open_database


def test_the_shipped_bundle_says_what_it_is_without_its_weights_being_loaded() -> None:
    card = model_card("default")
    assert (card.problem, card.name) == ("", "cspine-synthetic")
    assert "synthetic" in card.trained_on.lower()
    assert [level for level, _ in card.thresholds] == ["patient_overall", "C1", "C2", "C3", "C4", "C5", "C6", "C7"]
    assert ("fractures.studies", "400") in card.metrics
    assert len(card.metrics) < 200


@pytest.mark.parametrize("manifest", [None, b"no json", b"[]", b"{}", b'{"name": "x", "version": 1}'])
def test_a_bundle_that_cannot_be_read_says_so_and_breaks_nothing(tmp_path: Path, manifest: bytes | None) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_bytes(manifest)
    assert "cannot be read" in model_card(str(tmp_path)).problem


def test_the_configuration_has_every_value_with_where_it_came_from_and_no_password(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(
        '[database]\nurl = "postgresql://node@db.example/cspine"\n'
        '[[peers]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 104\nmay_send = true\n'
    )
    loaded = load_settings(file, environ={})
    url = "postgresql://node:s3cret@db.example:5432/cspine?sslpassword=s3cret"  # as a later version might allow
    database = loaded.settings.database.model_copy(update={"url": url})
    loaded = replace(loaded, settings=loaded.settings.model_copy(update={"database": database}))
    shown = {each.key: each for each in configuration(loaded)}
    assert shown["database.url"].value == f"postgresql://node:{HIDDEN}@db.example:5432/cspine?{HIDDEN}"
    assert shown["database.url"].source.endswith("node.toml:2")
    assert shown["study.quiet_period_s"].source == "default"
    assert (shown["peers.pacs.ae_title"].value, shown["peers.pacs.may_send"].value) == ("PACS", "true")
    assert shown["peers.pacs.ae_title"].source == str(file)
    assert "s3cret" not in str(shown)


def test_the_last_backup_is_known_from_its_note_for_its_owner_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    open_database("sqlite", data_dir=data).close()
    assert last_backup(data) is None
    report = back_up(data / SQLITE_FILE, data, tmp_path / "copy.tar")
    found = last_backup(data)
    assert found is not None
    assert (found.archive, found.size_bytes) == (str(tmp_path / "copy.tar"), report.size_bytes)
    assert (data / LAST_BACKUP).stat().st_mode & 0o077 == 0
    (data / LAST_BACKUP).write_text(json.dumps({"at": "yesterday"}))
    assert last_backup(data) is None


def test_gpus_drift_and_disk_come_from_what_the_metrics_show(tmp_path: Path) -> None:
    settings = load_settings(None, environ={}, overrides={"node.data_dir": str(tmp_path)}).settings
    gpu = [("gpu_memory_used_bytes", ("0",), 1e9), ("gpu_memory_size_bytes", ("0",), 8e9)]
    drift = [("drift_studies", (), 40.0), ("drift_verdict", ("p_C1",), 2.0), ("drift_psi", ("p_C1",), 0.4)]
    found = surroundings(settings, gpus=lambda: gpu, drift=lambda: drift)()
    assert [(each.number, each.memory_size) for each in found.gpus] == [("0", 8_000_000_000)]
    assert found.drift is not None
    assert [(each.quantity, each.verdict, each.psi_excess) for each in found.drift.findings] == [
        ("p_C1", "drifted", 0.4)
    ]
    assert found.disk is not None
    assert found.disk.size > found.disk.free > 0
    assert dict(found.versions)["Python"].startswith("3.")
    nothing = surroundings(settings, gpus=lambda: (), drift=lambda: ())()
    assert (nothing.gpus, nothing.drift) == ((), None)
