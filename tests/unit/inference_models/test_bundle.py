import json
from pathlib import Path

import pytest

from inference.bundle import CLASSIFIER, LOCALISER, MANIFEST, BundleError, load_bundle
from tests.unit.inference_models.builders import write_toy_bundle


def _edit(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, **changes}))


def test_a_bundle_comes_back_as_it_was_written(tmp_path: Path) -> None:
    bundle = load_bundle(write_toy_bundle(tmp_path))
    assert (bundle.name, bundle.version, len(bundle.sha256)) == ("toy", "0", 64)
    assert bundle.thresholds == (0.5,) * 7
    assert not bundle.localiser.training


@pytest.mark.parametrize("name", [LOCALISER, CLASSIFIER])
def test_one_changed_byte_of_weights_is_refused(tmp_path: Path, name: str) -> None:
    file = write_toy_bundle(tmp_path) / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name}.*wrong SHA-256"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("name", [LOCALISER, CLASSIFIER, MANIFEST])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (write_toy_bundle(tmp_path) / name).unlink()
    with pytest.raises(BundleError, match=name):
        load_bundle(tmp_path)


def test_weights_of_another_preprocessing_are_refused(tmp_path: Path) -> None:
    _edit(write_toy_bundle(tmp_path), preprocessing_sha256="0" * 64)
    with pytest.raises(BundleError, match="another preprocessing"):
        load_bundle(tmp_path)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    _edit(write_toy_bundle(tmp_path), format_version=99)
    with pytest.raises(BundleError, match="format version 99"):
        load_bundle(tmp_path)


def test_an_architecture_that_does_not_fit_the_weights_is_refused(tmp_path: Path) -> None:
    architecture = {
        "localiser": {"channels": [8, 8, 16]},
        "place": {"channels": [4, 4, 4, 8]},
        "shape": {"channels": [8, 8]},
        "classifier": {"channels": [8, 8, 8]},
    }
    _edit(write_toy_bundle(tmp_path), architecture=architecture)
    with pytest.raises(BundleError, match="does not hold the weights"):
        load_bundle(tmp_path)


def test_a_manifest_without_thresholds_is_refused(tmp_path: Path) -> None:
    _edit(write_toy_bundle(tmp_path), thresholds={})
    with pytest.raises(BundleError, match="C1"):
        load_bundle(tmp_path)


def test_a_bundle_that_does_not_exist_is_named_with_the_shipped_ones() -> None:
    with pytest.raises(BundleError, match=r"no bundle at nowhere.*default"):
        load_bundle("nowhere")


def test_a_patient_is_at_least_as_suspect_with_one_more_suspect_level(tmp_path: Path) -> None:
    calibration = load_bundle(write_toy_bundle(tmp_path)).calibration
    one, two = calibration.overall_probability([0.1, 0.6]), calibration.overall_probability([0.6, 0.6])
    assert 0 < one < two < 1
