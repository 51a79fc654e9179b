"""`check`, `exercise`, and what an answer may be."""

import functools

import pytest
import torch

from gptbook import exercises
from gptbook.bpe import merge_pair
from gptbook.exercises import Probe, check, drawn, exercise


@pytest.fixture
def registered(monkeypatch):
    """A chapter 99 whose exercises are those that a test registers."""
    monkeypatch.setattr(exercises, "_checks", checks := {})
    monkeypatch.setattr(exercises, "exercise_numbers", lambda chapter: list(checks))
    return checks


def test_an_exercise_can_forbid_what_would_answer_it(registered):
    @exercise("99.1", forbid=[torch.logsumexp, "gptbook"])
    def log_sum(answer):
        answer.expect(torch.logsumexp(torch.ones(3), 0), torch.ones(3), same=exercises.alike)

    assert check("99.1", lambda z: z.exp().sum().log()).correct
    result = check("99.1", lambda z: z.logsumexp(0))
    assert result.hint.startswith("<lambda> uses torch.logsumexp, which is not allowed")
    result = check("99.1", lambda z: merge_pair([1], (1, 2), 3) and z.exp().sum().log())
    assert "gptbook.bpe.merge_pair" in result.hint


def test_the_books_own_function_is_refused_in_every_exercise(registered):
    @exercise("99.2")
    def merge(answer):
        answer.expect([3], [1, 2], (1, 2), 3)

    for own in (merge_pair, functools.partial(merge_pair)):
        result = check("99.2", own)
        assert result.hint == "That is the book's own gptbook.bpe.merge_pair; write yours."
    assert check("99.2", lambda ids, pair, new: merge_pair(ids, pair, new)).correct


@pytest.mark.parametrize("error", [ValueError("\ud83d"), KeyError(1), AssertionError(), 3])
def test_a_check_never_raises(registered, error):
    @exercise("99.3")
    def fails(answer):
        raise error

    result = check("99.3", len)
    assert result.status == "not yet"
    assert len(result.hint) > 30


def test_one_number_has_one_check(registered):
    exercise("99.4")(lambda answer: None)
    with pytest.raises(AssertionError, match="two checks"):
        exercise("99.4")(lambda answer: None)


def test_a_strange_name_is_no_obstacle():
    class Named:
        __name__ = 3

        def __call__(self, x):
            return x

    assert Probe(Named()).called(1) == "the function(1)"


def test_numbers_are_drawn_the_same_each_time():
    one, two = drawn((2,), (3,), seed=1), drawn((2,), (3,), seed=1)
    assert all(map(torch.equal, one, two))
    assert not torch.equal(one[0], drawn((2,))[0])


def test_a_result_is_true_only_if_correct(registered):
    @exercise("99.1")
    def one(answer):
        answer.expect(1)

    assert check("99.1", lambda: 1)
    for result in (check("99.1", lambda: 2), check("99.1", ...), check("98.7", lambda: 1)):
        assert not result
