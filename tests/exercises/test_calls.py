"""Functions are called on copies, and whatever they do is caught."""

import pytest
import torch

from gptbook.exercises.calls import NotAttempted, Raised, attempt, copied, identical


def test_errors_are_values():
    def leave():
        raise SystemExit(1)

    outcome = attempt(leave, ())
    assert isinstance(outcome, Raised)
    assert outcome.line == leave.__code__.co_firstlineno + 1
    assert isinstance(attempt(lambda: 1 / 0, ()).error, ZeroDivisionError)
    assert attempt(lambda x: x + 1, (1,)) == 2
    with pytest.raises(NotAttempted):
        attempt(lambda: ..., ())


def test_copies_are_identical_and_apart():
    generator = torch.Generator().manual_seed(3)
    arguments = ([1], torch.ones(2), generator, torch.nn.Linear(2, 2), {"a": torch.zeros(1)})
    copies = copied(arguments)
    assert identical(copies, arguments)
    assert torch.rand(1, generator=copies[2]) == torch.rand(1, generator=generator)
    copies[1][0] = 5
    assert arguments[1][0] == 1


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.ones(2), torch.zeros(2)),
        (torch.ones(2), torch.ones(1, 2)),
        (torch.ones(2), torch.ones(2).double()),
        ([1, 2], [1]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {}),
        (torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)),
        (torch.ones(2) > 0, torch.zeros(2) > 0),
    ],
)
def test_what_differs_is_not_identical(a, b):
    assert identical(a, a)
    assert not identical(a, b)


def test_objects_are_compared_by_what_they_hold():
    class Holder:
        def __init__(self, value):
            self.value = value

    assert identical(Holder([1]), Holder([1]))
    assert not identical(Holder([1]), Holder([2]))
    assert identical(Holder(torch.tensor([float("nan")])), Holder(torch.tensor([float("nan")])))
