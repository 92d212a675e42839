"""The networks at the size of their experiments: shapes that fit, and what an absent level leaves alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from inference.experiments.settings import read_experiment
from inference.models.fine_path import CELL, FinePath
from inference.models.sequence import Sequence
from inference.models.slice_encoder import SliceEncoder
from inference.models.vertebra_net import VertebraNet

SIZES = {"sagittal-9": "size_zy", "unet25d-bigru": "crop_size_yx", "vertebra-crop": "size_yx"}


@pytest.mark.parametrize("tiny", [False, True])
@pytest.mark.parametrize("name", sorted(SIZES))
def test_an_encoder_takes_the_slices_of_its_experiment(name: str, tiny: bool) -> None:
    experiment = read_experiment(name, tiny=tiny)
    high, wide = getattr(experiment.input, SIZES[name])
    encoder = SliceEncoder(3, experiment.network.channels)
    with torch.inference_mode():
        vectors, fine = encoder(torch.zeros(1, 3, high, wide))
    assert vectors.shape == (1, encoder.width)
    assert fine.shape == (1, encoder.fine, high // 8, wide // 8)


def test_channels_that_cannot_be_normed_in_groups_of_eight_are_refused() -> None:
    with pytest.raises(ValueError, match="four or more multiples of 8"):
        SliceEncoder(3, (8, 12, 16, 16))


def test_an_unknown_recurrent_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="expected gru or lstm"):
        Sequence("transformer", 8, 8)


def test_what_lies_where_a_level_is_absent_changes_no_answer() -> None:
    torch.manual_seed(0)
    net = VertebraNet(2, (8, 8, 16, 16), hidden=8, layers=1, top=2).eval()
    crops, present = torch.randn(1, 7, 3, 2, 16, 16), torch.ones(1, 7, dtype=torch.bool)
    fewer = present.clone()
    fewer[0, 2] = False
    others = crops.clone()
    others[0, 2] = 5.0
    with torch.inference_mode():
        whole, one, other = net(crops, present), net(crops, fewer), net(others, fewer)
    assert torch.equal(one.levels, other.levels)
    assert torch.equal(one.overall, other.overall)
    assert float(other.levels[0, 2]) == -10.0
    assert other.maps.shape == (1, 7, 3, 2, 2)
    assert not torch.allclose(whole.overall, other.overall)


def test_a_scanner_that_scales_every_value_changes_no_features() -> None:
    torch.manual_seed(0)
    encoder = SliceEncoder(3, (8, 8, 16, 16)).eval()
    slices = torch.randn(6, 3, 16, 24)
    with torch.inference_mode():
        as_it_is, scaled = encoder(slices), encoder(1.7 * slices)
    for one, other in zip(as_it_is, scaled, strict=True):
        assert torch.allclose(one, other, atol=1e-3)


def test_a_levels_score_is_the_mean_of_its_highest_slices() -> None:
    torch.manual_seed(0)
    net = VertebraNet(2, (8, 8, 16, 16), hidden=8, layers=1, top=2).eval()
    with torch.inference_mode():
        out = net(torch.randn(1, 7, 4, 2, 16, 16), torch.ones(1, 7, dtype=torch.bool))
    assert torch.allclose(out.levels, out.slices.topk(2, dim=2).values.mean(dim=2), atol=1e-6)


@pytest.mark.parametrize("tiny", [False, True])
def test_a_fine_path_answers_for_every_second_pixel_of_its_experiment(tiny: bool) -> None:
    experiment = read_experiment("vertebra-crop", tiny=tiny)
    high, wide = experiment.input.size_yx
    path = FinePath(experiment.input.channels, experiment.network.fine)
    with torch.inference_mode():
        logits, vectors = path(torch.randn(2, experiment.input.channels, high, wide))
    assert logits.shape == (2, high // CELL, wide // CELL)
    assert vectors.shape == (2, path.width)


def lined(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise [count, 1, 16, 24] with a line one pixel wide in every other image, and its cells [count, 8, 12]."""
    images, cells = 0.3 * torch.randn(count, 1, 16, 24), torch.zeros(count, 8, 12)
    for k in range(0, count, 2):
        column = int(torch.randint(4, 20, ()))
        images[k, 0, :, column] -= 2.0
        cells[k, :, column // CELL] = 1.0
    return images, cells


@pytest.mark.parametrize("channels", [(8, 8, 8), (8, 8, 8, 8)])
def test_a_fine_path_learns_where_a_line_of_one_pixel_lies(channels: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    path = FinePath(1, channels)
    optimizer = torch.optim.Adam(path.parameters(), lr=1e-2)
    for _ in range(40):
        images, cells = lined(16)
        loss = F.binary_cross_entropy_with_logits(path(images)[0], cells)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    images, cells = lined(16)
    with torch.inference_mode():
        found = path.eval()(images)[0] > 0
    assert float((found == cells.bool()).float().mean()) > 0.98
    assert float(found[cells.bool()].float().mean()) > 0.9


@pytest.mark.parametrize("channels", [(8, 8), (8, 8, 8, 8, 8)])
def test_a_fine_path_has_three_widths_or_four(channels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected those at"):
        FinePath(2, channels)


def test_what_sees_single_pixels_adds_nothing_at_first_and_then_what_two_pixels_hide() -> None:
    torch.manual_seed(0)
    plain, sharp = FinePath(1, (8, 8, 8)), FinePath(1, (8, 8, 8, 8))
    missing = sharp.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing
    assert all(name.startswith("sharp.") for name in missing)
    images = torch.randn(2, 1, 16, 24)
    with torch.inference_mode():
        before, after = plain(images), sharp(images)
        assert sharp.sharp is not None
        sharp.sharp.fold.weight.fill_(0.1)
        taught = sharp(images)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not torch.allclose(before[0], taught[0])


def test_a_fine_path_that_has_learnt_nothing_leaves_the_answers_as_they_were() -> None:
    torch.manual_seed(0)
    plain = VertebraNet(2, (8, 8, 16, 16), hidden=8, layers=1, top=2).eval()
    grown = VertebraNet(2, (8, 8, 16, 16), hidden=8, layers=1, top=2, fine=(8, 8, 8)).eval()
    missing = grown.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert all(name.startswith(VertebraNet.added) for name in missing)
    crops, present = torch.randn(1, 7, 3, 2, 16, 16), torch.ones(1, 7, dtype=torch.bool)
    present[0, 3] = False
    with torch.inference_mode():
        before, after = plain(crops, present), grown(crops, present)
        grown.fine_vectors.weight.fill_(0.1)
        taught = grown(crops, present)
    assert before.fine is None
    assert torch.equal(before.levels, after.levels)
    assert torch.equal(before.overall, after.overall)
    assert after.fine is not None
    assert after.fine.shape == (1, 7, 3, 8, 8)
    assert float(after.fine[0, 3].max()) == -10.0
    assert not torch.allclose(before.levels, taught.levels)


def test_a_coronal_path_that_has_learnt_nothing_leaves_the_answers_as_they_were() -> None:
    torch.manual_seed(0)
    plain = VertebraNet(2, (8, 8, 16, 16), hidden=8, layers=1, top=2).eval()
    grown = VertebraNet(2, (8, 8, 16, 16), hidden=8, layers=1, top=2, coronal=(8, 8, 8), coronal_channels=4).eval()
    missing = grown.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert all(name.startswith(VertebraNet.added) for name in missing)
    crops, present = torch.randn(1, 7, 3, 2, 16, 16), torch.ones(1, 7, dtype=torch.bool)
    present[0, 3] = False
    coronal = torch.randn(1, 7, 5, 4, 24, 16)
    with torch.inference_mode():
        before, after = plain(crops, present), grown(crops, present, coronal)
        grown.coronal_head[-1].weight.fill_(0.5)
        taught = grown(crops, present, coronal)
        coronal[0, 3] = 7.0
        same = grown(crops, present, coronal)
    assert before.coronal is None
    assert torch.equal(before.levels, after.levels)
    assert torch.equal(before.overall, after.overall)
    assert after.coronal is not None
    assert after.coronal.shape == (1, 7, 5, 12, 8)
    assert float(after.coronal[0, 3].max()) == float(taught.levels[0, 3]) == -10.0
    assert not torch.allclose(before.levels[0, :3], taught.levels[0, :3])
    assert torch.equal(taught.levels, same.levels)
    with pytest.raises(ValueError, match="reads coronal slices too"):
        grown(crops, present)


def test_in_use_the_fine_path_computes_in_bfloat16_where_the_hardware_does(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = VertebraNet(2, (8, 8, 16, 16), hidden=8, layers=1, top=2, fine=(8, 8, 8)).eval()
    net.fine_vectors.weight.data.normal_(std=0.1)
    crops, present = torch.randn(1, 7, 3, 2, 16, 16), torch.ones(1, 7, dtype=torch.bool)
    answers = {}
    for half in (False, True):
        monkeypatch.setattr("inference.models.vertebra_net.has_bfloat16", lambda device, half=half: half)
        with torch.inference_mode():
            answers[half] = net(crops, present)
    levels, halved = (torch.sigmoid(answers[half].levels) for half in (False, True))
    assert not torch.equal(answers[False].fine, answers[True].fine)
    assert torch.allclose(levels, halved, atol=2e-3)
    assert answers[True].fine.dtype == answers[True].levels.dtype == torch.float32
