from pathlib import Path

import numpy as np
import pytest
import torch

from inference.models import PlaceNet
from inference.placing import PLACE_LENGTH
from inference.preprocess import PLACE_SHAPE_YX
from inference.training.place import StraightSpines, place_loss
from inference.training.samples import SampleStore, save_sample


def store(folder: Path, levels: range, least_voxels: int = 100) -> SampleStore:
    """One sample of blocks 14 mm high on top of each other, 3 mm apart."""
    classes = np.zeros((130, 60, 60), dtype=np.uint8)
    for place, level in enumerate(levels):
        top = 125 - 17 * place
        classes[top - 14 : top, 20:38, 20:40] = level
    hu = np.where(classes > 0, 150, 104).astype(np.uint8)
    save_sample(folder / "1.npz", {"hu": hu, "classes": classes, "share": np.uint8(255) * (classes > 0)})
    return SampleStore(folder, least_voxels)


def test_a_straightened_spine_names_the_bone_that_is_seen_on_its_line(tmp_path: Path) -> None:
    draw = StraightSpines(store(tmp_path, range(2, 9)))
    named = right = 0
    for seed in range(12):
        images, places, near = draw(np.random.default_rng(seed))
        assert images.shape == (3, PLACE_LENGTH, *PLACE_SHAPE_YX)
        assert near.shape == places.shape == (PLACE_LENGTH,)
        known = np.flatnonzero(places.numpy() >= 0)
        order = places.numpy()[known]
        assert np.all(np.diff(order) >= 0)
        assert set(order) <= set(range(9))
        # Borders are near where the name changes, and nowhere else.
        changes = known[1:][np.diff(order) == 1]
        named += len(changes)
        right += int(sum(float(near[c - 1 : c + 1].max()) > 0.8 for c in changes if order[0] > 0 or c != changes[0]))
    assert named > 30
    assert right >= 0.7 * named


def test_the_same_generator_draws_the_same_spine(tmp_path: Path) -> None:
    draw = StraightSpines(store(tmp_path, range(2, 9)))
    one, other = (draw(np.random.default_rng(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_unknown_places_cost_nothing() -> None:
    net = PlaceNet((4, 4, 4, 8)).eval()
    images, near = torch.zeros((1, 3, PLACE_LENGTH, *PLACE_SHAPE_YX)), torch.zeros((1, PLACE_LENGTH))
    places = torch.full((1, PLACE_LENGTH), -1)
    places[0, 50:100] = 3
    loss = place_loss(net, (images, places, near))["loss"].detach()
    near[0, 120:] = 1.0
    assert float(place_loss(net, (images, places, near))["loss"].detach()) == pytest.approx(float(loss))


def test_samples_without_two_vertebrae_below_the_atlas_are_an_error(tmp_path: Path) -> None:
    draw = StraightSpines(store(tmp_path, range(1, 3)))
    with pytest.raises(ValueError, match="two vertebrae below the atlas"):
        draw(np.random.default_rng(0))
