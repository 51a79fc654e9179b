"""What counts as equal, and where two values differ first."""

import math
from collections import Counter

import pytest
import torch

from gptbook.exercises.compare import agrees, alike, close, difference, exactly, mistyped


def test_counts_and_other_dicts_are_dicts():
    assert agrees(Counter("aab"), {"a": 2, "b": 1})
    assert not agrees(Counter("aab"), {"a": 2})
    assert not agrees({"a": 2.0}, {"a": 2})
    assert not agrees({True: 2}, {1: 2})


def test_alike_compares_kinds_shapes_and_numbers():
    ones = torch.ones(2, 2)
    assert alike(ones.double() + 1e-7, ones)
    assert alike((ones, ones[0]), (ones, ones[0]))
    assert not alike(ones, ones[0])
    assert not alike((ones,), (ones, ones))
    assert not alike(ones, ones.long())
    assert not alike(ones.bool(), ones)
    assert not alike(ones * math.nan, ones)
    assert not alike(ones * math.nan, ones * math.nan)


def test_close_and_exactly():
    assert close(1e6 + 0.5, 1e6)
    assert not close(1.00001, 1.0)
    assert not close(math.nan, 1.0)
    assert exactly(2, 2)
    assert not exactly(2.0, 2)
    assert not exactly(True, 1)


@pytest.mark.parametrize(
    ("got", "wanted", "sentence"),
    [
        ([1, 2, 4], [1, 2, 3], "At [2]: got 4, expected 3."),
        ([1, 2], [1, 2, 3], "The length is 2; expected 3."),
        ([2, 3], [1, 2, 3], "At [0]: got 2, expected 1. The length is 2; expected 3."),
        ([[1], [2, 3]], [[1], [2, 4]], "At [1][1]: got 3, expected 4."),
        (["lo", "w"], ["lo", "v"], "At [1]: got 'w', expected 'v'."),
        ("abcde", "abxde", "At [2]: got 'cde', expected 'xde'."),
        (b"ab", b"aa", "At [1]: got 98, expected 97."),
        ((1.0, 2.5), (1.0, 2.0), "At [1]: got 2.5, expected 2."),
        ((1.0, 2.0000001), (1.0, 2.0), "At [1]: got 2.0000001, expected 2."),
        ({(1, 2): 3}, {(1, 2): 4}, "At [(1, 2)]: got 3, expected 4."),
        ({1: 3}, {2: 3}, "The key 2 is missing."),
        ({1: 3, 2: 4}, {1: 3}, "The key 2 should not be there."),
        (torch.eye(2), torch.ones(2, 2), "At [0, 1]: got 0, expected 1. (2 of 4 differ.)"),
        (torch.eye(2), torch.eye(3), "The shape is (2, 2); expected (3, 3)."),
        (torch.eye(2).half(), torch.eye(2), "The dtype is torch.float16; expected torch.float32."),
        ((torch.ones(2), torch.eye(2)), (torch.ones(2), torch.ones(2, 2)),
         "At [1][0, 1]: got 0, expected 1. (2 of 4 differ.)"),
        (torch.tensor(1.0), torch.tensor(2.0), ""),  # that is shown whole
        ([1], [1], ""),
        (torch.eye(2), torch.eye(2), ""),
    ],
)  # fmt: skip
def test_the_first_difference_is_named(got, wanted, sentence):
    assert difference(got, wanted) == sentence


def test_types_are_named_down_to_the_items():
    assert mistyped([1, [2.0]], [1, [2]]) == "At [1][0], the type should be int, not float."
    assert mistyped(([1],), ((1,),), loose=True) == ""
    assert "`.tolist()`" in mistyped([torch.tensor(1)], [1])
    assert mistyped({"a": True}, {"a": 1}) == "At ['a'], the type should be int, not bool."
    assert "at [1] has the dtype" in mistyped((1, torch.ones(1)), (1, torch.ones(1) > 0))
