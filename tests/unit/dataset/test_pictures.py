"""A slice as a picture: windows by their ends, boxes by their corners, levels around the bone."""

import numpy as np
import pytest
from PIL import Image

from inference.dataset.pictures import (
    BOX_COLOUR,
    LEVEL_COLOURS,
    draw_boxes,
    draw_levels,
    picture,
    shades,
)
from inference.dataset.rsna_tables import PixelBox


@pytest.mark.parametrize(
    ("window", "low", "middle", "high"),
    [("bone", -500, 400, 1300), ("soft-tissue", -160, 40, 240), ("brain", 0, 40, 80)],
)
def test_a_window_runs_from_black_to_white_about_its_centre(window, low, middle, high):
    hu = np.array([-1024, low, middle, high, 3000], dtype=np.int16)
    assert shades(hu, window).tolist() == [0, 0, 128, 255, 255]


def test_grey_is_one_channel_and_a_colour_map_three_dark_to_bright():
    hu = np.array([[-1024, 3000]], dtype=np.int16)
    assert picture(hu, "bone", "grey").mode == "L"
    for colour in ("bone", "inferno"):
        shown = picture(hu, "bone", colour)
        assert shown.mode == "RGB"
        assert sum(shown.getpixel((0, 0))) < 10
        assert sum(shown.getpixel((1, 0))) > 550


def test_a_box_is_drawn_at_its_corners_scaled_with_the_picture():
    box = PixelBox(slice_number=1, x=4, y=8, width=10, height=6)
    shown = draw_boxes(Image.new("L", (64, 64)), [box], scale=2.0)
    ys, xs = np.nonzero((np.array(shown) == BOX_COLOUR).all(axis=2))
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (8, 28, 16, 28)
    assert shown.getpixel((18, 22)) == (0, 0, 0)


def test_a_level_is_outlined_around_the_bone_and_the_bone_itself_left_as_it_is():
    labels = np.zeros((96, 96), np.uint8)
    labels[40:60, 30:50] = 5
    labels[70:80, 30:50] = 8
    shown = np.array(draw_levels(Image.new("L", (96, 96), 77), labels))
    assert (shown[labels > 0] == 77).all()
    assert tuple(shown[39, 40]) == LEVEL_COLOURS[4]
    assert tuple(shown[69, 40]) == LEVEL_COLOURS[7]
    named = (shown[40:60, 51:] != 77).any(axis=2)
    assert named.any()
    assert not (shown[70:80, 52:] != 77).any()


def test_a_fractured_levels_name_is_red():
    labels = np.zeros((96, 96), np.uint8)
    labels[40:60, 30:50] = 5
    reddish = []
    for fractured in (["C5"], ["C4"]):
        red, green, blue = np.array(draw_levels(Image.new("L", (96, 96)), labels, fractured), int).transpose(2, 0, 1)
        reddish.append(int(((red > green + 60) & (red > blue + 60)).sum()))
    assert reddish[0] > 5
    assert reddish[1] == 0
