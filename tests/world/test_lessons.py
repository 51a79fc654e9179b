"""Lessons are true."""

import random
import re

from gptbook.world.lessons import lesson_ages
from gptbook.world.lexicon import (
    WORDS,
)
from tests.world.helpers import DOCUMENTS


def of_kind(kind):
    return [document for document in DOCUMENTS if document.kind == kind]


# -- lessons


def test_ages_are_in_years():
    rng = random.Random(0)
    text = " ".join(sentence for _ in range(2000) for sentence in lesson_ages(rng))
    assert " 1 year older" in text
    assert " 2 years older" in text
    assert " 1 years" not in text


def test_nobody_meets_a_namesake():
    for document in of_kind("talk"):
        [(first, second), *_] = re.findall(
            r"(\w+) (?:met|came to see|talked to|told) (\w+)", document.text
        )
        assert first not in (second, "One")


def test_sums_are_right():
    checked = 0
    for document in of_kind("sums"):
        for x, sign, y, z in re.findall(r"(\d+) ([+-]) (\d+) = (\d+)", document.text):
            assert int(x) + (1 if sign == "+" else -1) * int(y) == int(z)
            checked += 1
    assert checked > 100


def test_sizes_follow_one_order():
    size = {animal: facts[0] for animal, facts in WORDS["animals"].items()}
    checked = 0
    for document in of_kind("animals"):
        for one, more, other in re.findall(
            r"The (\w+) is (bigger|smaller) than the (\w+)", document.text
        ):
            assert (size[one] > size[other]) == (more == "bigger")
            checked += 1
        for row in re.findall(r"From small to big: ([^.]*)\.", document.text):
            sizes = [size[animal] for animal in row.split(", ")]
            assert sizes == sorted(sizes)
    assert checked > 50


def test_letters_are_right():
    for document in of_kind("letters"):
        for word, letters in re.findall(r"(\w+) is spelled ([a-z, ]*)\.", document.text):
            assert word.lower() == letters.replace(", ", "")
        for word, capitals in re.findall(r"In capital letters, (\w+) is (\w+)", document.text):
            assert word.upper() == capitals
        for row in re.findall(r"alphabet: ([^.]*)\.", document.text):
            assert row.split(", ") == sorted(row.split(", "))
