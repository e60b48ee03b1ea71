"""Pictures with words: sizes, that words are there and inside, that the same gives the same."""

from __future__ import annotations

import numpy as np
import pytest

from vlactl import panels
from vlactl.errors import UsageError
from vlactl.panels import BACKGROUND, COLOURS, PAGE, Caption

GREY = np.full((64, 64, 3), 128, np.uint8)
FACTS = (("drawer", "open, 18 cm"), ("holds", "nothing"))


def band(caption: Caption, width: int = 480) -> np.ndarray:
    """What :func:`panels.captioned` adds below a picture."""
    picture_YXC = np.zeros((40, width, 3), np.uint8)
    return panels.captioned(picture_YXC, caption)[40:].astype(int)


def ink(area_YXC: np.ndarray, background: tuple[int, int, int] = BACKGROUND) -> np.ndarray:
    """(Y, X) bool: where something is drawn."""
    return (np.abs(area_YXC.astype(int) - background) > 40).any(axis=2)


def coloured(area_YXC: np.ndarray, colour: tuple[int, int, int]) -> int:
    """How many pixels have just this colour."""
    return int((area_YXC == colour).all(axis=2).sum())


@pytest.mark.parametrize("cameras", [1, 2, 3, 4])
def test_the_first_view_is_large_and_the_others_are_in_a_column(cameras):
    images = [GREY, *[np.full((64, 64, 3), 10 * index, np.uint8) for index in range(1, cameras)]]
    picture = panels.beside(images)
    assert picture.shape == (320, 320 + 160 * (cameras > 1), 3)
    assert (picture[:320, :320] == 128).all()
    small = min(160, 320 // max(cameras - 1, 1))
    for index in range(1, cameras):
        assert (picture[small * index - small // 2, 320 + small // 2] == 10 * index).all()


@pytest.mark.parametrize("side", [16, 33, 64, 200, 321, 500])
def test_sides_are_even_and_pixels_of_small_images_stay_whole(side):
    image = np.arange(side * side, dtype=np.int64).reshape(side, side)[..., None].repeat(3, 2).astype(np.uint8)
    picture = panels.captioned(panels.beside([image, image], FACTS), Caption(title="a"))
    assert picture.shape[0] % 2 == picture.shape[1] % 2 == 0
    assert panels.beside([image]).shape[0] >= 320
    if side in (16, 64):
        assert (panels.beside([image])[:: 320 // side, :: 320 // side] == image).all()


def test_facts_are_written_beside_and_never_over_the_views():
    without, with_facts = panels.beside([GREY, GREY]), panels.beside([GREY, GREY], FACTS)
    different = (without != with_facts).any(axis=2)
    assert different[160:, 320:].sum() > 200
    assert not different[:, :320].any()
    assert not different[:160].any()
    long = "a value that is much too long to fit in there"
    many = panels.beside([GREY, GREY], [(f"name {number}", long) for number in range(9)])
    assert not ink(many[160:, -3:]).any(), "cut with dots before the edge"


def test_the_band_depends_on_the_width_alone_and_holds_every_word():
    short = band(Caption(title="lift"))
    long = band(Caption(title="push the door " * 20, subtitle="step " * 40, marks=("done",) * 5, verdict="failed"))
    assert short.shape == long.shape
    for area in (short, long):
        assert ink(area[4:]).sum() > 30
        assert not ink(area[4:, :4]).any(), "a margin on the left"
        assert not ink(area[4:, -4:]).any(), "a margin on the right"
        assert not ink(area[-3:]).any(), "a margin below"


def test_a_long_title_takes_two_lines():
    one, two = (ink(band(Caption(title="lift the block " * times))).any(axis=1).sum() for times in (1, 8))
    assert two > one + 6


@pytest.mark.parametrize("verdict", ["done", "failed"])
def test_a_verdict_is_written_in_its_colour(verdict):
    assert coloured(band(Caption(title="a", verdict=verdict)), COLOURS[verdict]) > 480
    assert coloured(band(Caption(title="a")), COLOURS[verdict]) == 0


def test_marks_show_how_far_a_chain_is():
    solved = [coloured(band(Caption(title="a", marks=("done",) * n + ("open",) * (5 - n))), COLOURS["done"])
              for n in range(6)]
    assert solved[0] == 0
    assert np.diff(solved).min() == np.diff(solved).max() > 20


def test_a_page_has_room_for_all_and_its_title():
    pictures = [np.full((50, 70, 3), 200, np.uint8)] * 4 + [np.full((30, 40, 3), 200, np.uint8)]
    page = panels.tiled(pictures, 3, "a title")
    assert coloured(page, (200, 200, 200)) >= 4 * 50 * 70 + 30 * 40
    assert ink(page[:44], PAGE).sum() > 50
    assert page.shape[0] < panels.tiled(pictures, 1).shape[0]
    assert panels.tiled(pictures[:1], 3).shape[1] < 100, "no empty columns"


def test_a_row_is_labelled():
    plain, labelled = panels.row([GREY, GREY]), panels.row([GREY, GREY], ("start", "end"))
    assert plain.shape == labelled.shape
    assert (plain != labelled)[:30].any()
    assert not (plain != labelled)[30:].any()


def test_the_same_gives_the_same_and_files_survive(tmp_path):
    import imageio.v3 as iio

    pictures = [panels.captioned(panels.beside([GREY, GREY], FACTS), Caption(title="a", verdict="done"))
                for _ in range(2)]
    assert (pictures[0] == pictures[1]).all()
    panels.write(tmp_path / "new" / "a.png", pictures[0])
    assert (iio.imread(tmp_path / "new" / "a.png") == pictures[0]).all()
    panels.write(tmp_path / "small.png", pictures[0], small=True)
    small = iio.imread(tmp_path / "small.png", mode="RGB").astype(int)
    assert np.abs(small - pictures[0]).max() < 40, "rare colours are kept"
    with pytest.raises(UsageError, match=r"ends in \.png"):
        panels.write(tmp_path / "a.jpg", pictures[0])


def test_words_are_wrapped_where_they_fit():
    from PIL import ImageFont

    letters = ImageFont.load_default(14)
    lines = panels.wrapped("one two three four incomprehensibilities five", letters, 80)
    assert " ".join(lines) == "one two three four incomprehensibilities five"
    assert all(letters.getlength(line) <= 80 or " " not in line for line in lines)
