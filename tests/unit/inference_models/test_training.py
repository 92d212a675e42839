from pathlib import Path

import numpy as np
import pytest
import torch

from inference.dataset.splits import read_splits
from inference.training.augment import cut_view, random_frame, sample_window
from inference.training.fit import Training, load_average
from inference.training.samples import LabelledVolume, localiser_sample, wide_hu
from inference.training.settings import Fit, read_settings
from inference.volume import Volume


def _study() -> LabelledVolume:
    """Two blocks of bone, C3 above C4, a fracture zone in C4."""
    hu, labels = np.full((60, 70, 70), 40, dtype=np.int16), np.zeros((60, 70, 70), dtype=np.uint8)
    labels[32:46, 20:50, 20:50], labels[12:26, 20:50, 20:50] = 3, 4
    hu[labels > 0] = 700
    zone = np.zeros_like(labels)
    zone[18, 25:45, 25:45] = 4
    return LabelledVolume(
        volume=Volume(hu=hu, affine_lps=np.eye(4)),
        labels=labels,
        fracture_mask=zone,
        bone=labels,
        bone_share=np.where(labels > 0, np.uint8(255), np.uint8(0)),
    )


def test_a_localiser_sample_keeps_hu_and_labels_together() -> None:
    sample = localiser_sample(_study())
    inside = (sample["classes"] == 3) & (sample["share"] > 127)
    assert set(np.unique(sample["classes"])) == {0, 3, 4}
    # Voxels of the border are averages of bone and flesh.
    assert float(np.median(wide_hu(torch.from_numpy(sample["hu"][inside])))) == pytest.approx(700, abs=10)


def test_a_window_without_change_is_a_cut_out() -> None:
    hu = torch.arange(8 * 9 * 10, dtype=torch.float32).reshape(8, 9, 10)
    window, (label,) = sample_window(hu, [hu], np.array([3.5, 4.5, 4.5]), np.eye(3), (4, 4, 4), 0.0)
    assert torch.allclose(window, hu[2:6, 3:7, 3:7], atol=1e-3)
    assert torch.equal(label, hu[2:6, 3:7, 3:7])


def test_a_random_frame_is_a_turn_a_scale_and_at_most_a_mirror_in_x() -> None:
    for seed in range(20):
        matrix = random_frame(np.random.default_rng(seed), 10.0, 0.1)
        sizes = np.linalg.norm(matrix, axis=0)
        assert np.all((sizes >= 0.85) & (sizes <= 1.16))
        assert matrix[0, 0] > 0.8
        assert matrix[1, 1] > 0.8
        cosines = (matrix / sizes).T @ (matrix / sizes)
        assert np.allclose(cosines, np.eye(3), atol=1e-9)


def test_what_is_cut_from_the_view_loses_its_label() -> None:
    hu, labels = torch.full((24, 24, 24), 500.0), torch.ones(24, 24, 24)
    for seed in range(12):
        cut, cut_labels = cut_view(hu, labels, np.random.default_rng([seed, 1]), -1000.0)
        assert not (cut_labels.bool() & (cut == -1000.0)).sum() > 14**3  # one blank box may stay labelled
        assert bool((cut[cut_labels == 0] != 500.0).all())


def _fit(steps: int) -> Fit:
    return Fit(
        channels=(1,), batch=1, learning_rate=0.05, weight_decay=0.0, warm_up_steps=1, steps=steps, average_decay=0.5
    )


def noise(rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal((1, 1, 2, 2, 2), dtype=np.float32))


def loss(net: torch.nn.Module, batch: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"loss": (net(batch).float() - 2 * batch).pow(2).mean()}


def test_a_training_that_was_stopped_goes_on_where_it_stood(tmp_path: Path) -> None:
    def run(folder: Path, stops: tuple[int, ...]) -> torch.Tensor:
        for stop in stops:
            torch.manual_seed(1)
            Training(torch.nn.Conv3d(1, 1, 1), _fit(20), folder, seed=3).run(noise, loss, until=stop)
        return load_average(torch.nn.Conv3d(1, 1, 1), folder).weight.detach().flatten()

    assert torch.allclose(run(tmp_path / "a", (20,)), run(tmp_path / "b", (8, 20)))


def test_the_shipped_settings_keep_their_seed_ranges_apart() -> None:
    seeds, splits = read_settings().seeds, read_splits()
    measured = range(seeds.evaluate_first, seeds.evaluate_first + 10_000)
    assert seeds.train_first + 100_000 < measured.start
    for split in splits.values():
        assert split.seeds.stop <= measured.start or split.seeds.start >= measured.stop


class Looks:
    """A watch that writes down when it looked."""

    every = 5

    def __init__(self) -> None:
        self.at: list[int] = []

    def look(self, training: Training) -> bool:
        self.at.append(training.step)
        return False

    def report(self, row: dict[str, float]) -> None: ...

    def state(self) -> dict[str, list[int]]:
        return {"at": self.at}

    def restore(self, state: dict[str, list[int]]) -> None:
        self.at = list(state.get("at", []))


def test_the_last_steps_weights_are_looked_at_too(tmp_path: Path) -> None:
    """Else what was learnt after the last whole interval, at the lowest rates, is thrown away unseen."""
    watch = Looks()
    for until in (6, None, None):
        Training(torch.nn.Conv3d(1, 1, 1), _fit(12), tmp_path, seed=3, watch=watch).run(noise, loss, until=until)
    assert watch.at == [5, 10, 12]
