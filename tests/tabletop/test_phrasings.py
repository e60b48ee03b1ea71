"""What is said for each task: enough of it, told apart, and held-out words just where they are promised."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections import Counter
from functools import cache

import pytest

from vlactl.tabletop.phrasings import COLOURS, PHRASINGS, Phrasing, recoloured

FUNCTION_WORDS = {"a", "an", "above", "atop", "from", "get", "once", "past", "some", "upon", "which"}
"""Words that say too little to make a description a novel one."""
LAMPS = {f"turn_{way}_{lamp}" for way in ("on", "off") for lamp in ("led", "lightbulb")}


@cache
def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"[a-z0-9'-]+", text))


def texts(phrasing: Phrasing) -> tuple[str, ...]:
    return (*phrasing.train, phrasing.validation, *phrasing.paraphrases)


def difference(ours: str, theirs: str) -> int:
    """How many words one text has and the other has not; the larger of both ways."""
    left, right = words(ours), words(theirs)
    return max((left - right).total(), (right - left).total())


def colour(task: str) -> str:
    return next((colour for colour in COLOURS if f"_{colour}_" in task), "")


TRAINED = {word for phrasing in PHRASINGS.values() for text in phrasing.train for word in words(text)}


def test_all_of_calvins_34_tasks_are_there() -> None:
    blocks = [kind.format(c) for c in COLOURS for kind in (
        "rotate_{}_block_right", "rotate_{}_block_left", "push_{}_block_right", "push_{}_block_left",
        "lift_{}_block_table", "lift_{}_block_slider", "lift_{}_block_drawer")]
    others = ["move_slider_left", "move_slider_right", "open_drawer", "close_drawer", "place_in_slider",
              "place_in_drawer", "stack_block", "unstack_block", "push_into_drawer", *LAMPS]
    assert set(PHRASINGS) == {*blocks, *others}
    assert len(PHRASINGS) == 34


@pytest.mark.parametrize("task", PHRASINGS)
def test_a_task_has_eight_phrasings_and_a_held_out_one_of_known_words(task: str) -> None:
    phrasing = PHRASINGS[task]
    assert len(set(phrasing.train)) >= 8
    assert phrasing.validation not in {text for other in PHRASINGS.values() for text in other.train}
    assert words(phrasing.validation).keys() <= {word for text in phrasing.train for word in words(text)}


@pytest.mark.parametrize("task", PHRASINGS)
def test_a_paraphrase_says_it_with_a_word_that_training_never_uses(task: str) -> None:
    assert len(set(PHRASINGS[task].paraphrases)) >= 3
    for text in PHRASINGS[task].paraphrases:
        assert words(text).keys() - TRAINED - FUNCTION_WORDS, text


def test_no_text_stands_twice() -> None:
    said = Counter(text for phrasing in PHRASINGS.values() for text in texts(phrasing))
    assert not [text for text, count in said.items() if count > 1]


def test_tasks_that_could_be_confused_differ_in_more_than_one_word_in_every_pairing() -> None:
    """All tasks of one colour or of none, paraphrases too; two lamps may be told apart by the lamp alone."""
    for ours, theirs in itertools.combinations(PHRASINGS, 2):
        if (colour(ours) and colour(theirs) and colour(ours) != colour(theirs)) or same_way_with_lamps(ours, theirs):
            continue
        for left, right in itertools.product(texts(PHRASINGS[ours]), texts(PHRASINGS[theirs])):
            assert difference(left, right) > 1, f"{ours}: {left} | {theirs}: {right}"


def same_way_with_lamps(ours: str, theirs: str) -> bool:
    return {ours, theirs} <= LAMPS and ours.split("_")[1] == theirs.split("_")[1]


def test_a_block_task_names_its_colour_and_no_other_and_the_rest_name_none() -> None:
    for task, phrasing in PHRASINGS.items():
        for text in texts(phrasing):
            assert set(COLOURS) & words(text).keys() == ({colour(task)} if colour(task) else set()), text


def test_the_vocabulary_is_small_enough_to_learn() -> None:
    """168 words when this was written; tiny backbones have room for 760, of which captions need some too."""
    assert 120 < len(TRAINED) < 250, f"{len(TRAINED)} words in training"
    assert all(text == text.lower().strip() and "  " not in text
               for phrasing in PHRASINGS.values() for text in texts(phrasing))


def test_recolouring_replaces_whole_words_at_once() -> None:
    text = "lift the red block, not the blue one: reddish things stay"
    assert recoloured(text, {"red": "blue", "blue": "purple"}) == (
        "lift the blue block, not the purple one: reddish things stay")
    assert recoloured(text, {}) == text


def test_phrasings_import_nothing_heavy() -> None:
    code = ("import sys, vlactl.tabletop.phrasings\n"
            "print(sorted({'mujoco', 'numba', 'numpy', 'torch', 'pydantic'} & sys.modules.keys()))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
