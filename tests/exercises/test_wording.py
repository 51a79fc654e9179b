"""Values in short, matrices as grids."""

import math

import pytest
import torch

from gptbook.exercises.wording import advice, beside, contrast, grid, in_one_line, is_grid, show


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([0.01] * 500, "[0.01] * 500"),
        ([1, 2] * 10, "[1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, ...]"),
        (1 / 3, "0.333333"),
        (1.0, "1.0"),
        (torch.arange(3), "tensor([0, 1, 2])"),
        (torch.tensor([0.5, 0.3, 0.05]), "tensor([0.5, 0.3, 0.05])"),
        (torch.tensor([math.nan, math.inf]), "tensor([nan, inf])"),
        (torch.tensor([True, False]), "tensor([True, False])"),
        (torch.tensor([1 / 3]), "<tensor (1,)>"),
        (torch.zeros(20, 20), "<tensor (20, 20)>"),
        (torch.nn.Parameter(torch.ones(2)), "tensor([1, 1])"),
    ],
)
def test_show(value, text):
    assert show(value) == text


def test_show_never_raises():
    class Shy:
        def __repr__(self):
            raise RuntimeError("no")

    class Loud(RuntimeError):
        def __str__(self):
            raise RuntimeError("no")

    assert "Shy" in show([Shy()])
    assert in_one_line(Loud()) == "Loud"
    assert len(in_one_line(ValueError("x" * 999))) < 250


def test_grids_are_for_small_whole_numbers():
    assert is_grid(torch.ones(16, 3) > 0)
    assert not is_grid(torch.ones(17, 3))
    assert not is_grid(torch.ones(3))
    assert not is_grid(torch.ones(2, 2) / 3)
    assert not is_grid([[1, 2], [3, 4]])
    assert grid(torch.tensor([[1.0, -1.0]])) == [" 1 -1"]
    assert beside(["a", "bb"], ["c"]) == "    a     c\n    bb"


def test_what_differs_never_looks_the_same():
    long = [*range(100)]
    assert contrast(long, [*long[:-1], 7]) == "returned a list of 100 items. "
    assert contrast(torch.rand(9), torch.rand(8)).count("shape") == 2
    assert contrast("a" * 200, "a" * 201) == "returned 200 characters; expected 201 characters. "


def test_advice_is_given_where_it_fits():
    assert advice(ValueError("whatever")) == ""
    error = TypeError("mask() takes 1 positional argument but 2 were given")
    assert "stub" in advice(error, "mask")
    assert advice(error, "unmask") == advice(error, "causal_mask") == ""
