import json
from pathlib import Path

import pytest

from inference.bundle import LOCALISER, PLACE, compose_bundle, fractures_of, load_bundle
from inference.bundle_files import MANIFEST, BundleError, file_sha256
from tests.unit.inference_models.builders import write_toy_bundle, write_toy_experiment


def _edit(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, **changes}))


def test_a_bundle_comes_back_as_it_was_written(tmp_path: Path) -> None:
    bundle = load_bundle(write_toy_bundle(tmp_path / "toy"))
    assert (bundle.name, bundle.version, len(bundle.sha256)) == ("toy", "0", 64)
    assert bundle.thresholds == (0.5,) * 7
    assert not bundle.localiser.training


@pytest.mark.parametrize("name", [LOCALISER, PLACE, "fractures/vertebra-crop.safetensors"])
def test_one_changed_byte_of_weights_is_refused(tmp_path: Path, name: str) -> None:
    file = write_toy_bundle(tmp_path / "toy") / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name}.*wrong SHA-256"):
        load_bundle(tmp_path / "toy")


@pytest.mark.parametrize("name", [LOCALISER, PLACE, "fractures/manifest.json", MANIFEST])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (write_toy_bundle(tmp_path / "toy") / name).unlink()
    with pytest.raises(BundleError, match=name):
        load_bundle(tmp_path / "toy")


def test_weights_of_another_preprocessing_are_refused(tmp_path: Path) -> None:
    _edit(write_toy_bundle(tmp_path / "toy"), preprocessing_sha256="0" * 64)
    with pytest.raises(BundleError, match="another preprocessing"):
        load_bundle(tmp_path / "toy")


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    _edit(write_toy_bundle(tmp_path / "toy"), format_version=99)
    with pytest.raises(BundleError, match="format version 99"):
        load_bundle(tmp_path / "toy")


def test_an_architecture_that_does_not_fit_the_weights_is_refused(tmp_path: Path) -> None:
    architecture = {
        "localiser": {"channels": [8, 8, 16]},
        "place": {"channels": [4, 4, 4, 8]},
        "shape": {"channels": [8, 8]},
    }
    _edit(write_toy_bundle(tmp_path / "toy"), architecture=architecture)
    with pytest.raises(BundleError, match="does not hold the weights"):
        load_bundle(tmp_path / "toy")


def test_fracture_models_of_another_preprocessing_are_refused(tmp_path: Path) -> None:
    folder = write_toy_bundle(tmp_path / "toy")
    _edit(folder / "fractures", preprocessing_sha256="0" * 64)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["fractures/manifest.json"] = file_sha256(folder / "fractures" / MANIFEST)
    _edit(folder, files=manifest["files"])
    with pytest.raises(BundleError, match="another preprocessing"):
        load_bundle(folder)


def test_a_file_outside_the_bundle_is_refused(tmp_path: Path) -> None:
    folder = write_toy_bundle(tmp_path / "toy")
    files = json.loads((folder / MANIFEST).read_text())["files"]
    _edit(folder, files=files | {"../secret": "0" * 64})
    with pytest.raises(BundleError, match="lies outside it"):
        load_bundle(folder)


def test_a_bundle_is_put_together_from_a_localiser_and_fracture_models(tmp_path: Path) -> None:
    toy = write_toy_bundle(tmp_path / "toy", metrics={"localiser": {"dice": 0.9}, "fractures": {"auc": 0.5}})
    run = tmp_path / "run"
    write_toy_experiment(run / "bundle", "sagittal-9")
    compose_bundle(tmp_path / "new", localiser=toy, fractures=run, version="2", created="2026-01-02")
    new = load_bundle(tmp_path / "new")
    assert (new.version, new.fractures.name) == ("2", "sagittal-9")
    assert new.manifest["metrics"] == {"localiser": {"dice": 0.9}}
    assert new.localiser_sha256 == load_bundle(toy).localiser_sha256
    assert fractures_of(tmp_path / "new") == tmp_path / "new" / "fractures"


def test_a_bundle_that_does_not_exist_is_named_with_the_shipped_ones() -> None:
    with pytest.raises(BundleError, match=r"no bundle at nowhere.*default"):
        load_bundle("nowhere")
