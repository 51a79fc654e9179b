"""Wrong answers as parameters of a test.

WRONG = {
    "2.1": [
        lambda ids: ids,                                   # rejected with some message
        (lambda ids: ids[:-1], "The last one is missing"),  # rejected with this sentence
    ],
}

@wrong_answers(WRONG)
def test_rejects(number, wrong):
    assert_rejected(number, wrong)
"""

from collections.abc import Callable
from typing import Any

import pytest

from gptbook.exercises import check

Wrong = Callable[..., Any] | tuple[Callable[..., Any], str]


def wrong_answers(table: dict[str, list[Wrong]]) -> pytest.MarkDecorator:
    """Run a test with each (number, wrong) of {number of an exercise: wrong answers}."""
    pairs = [(number, wrong) for number, answers in table.items() for wrong in answers]
    return pytest.mark.parametrize(("number", "wrong"), pairs)


def assert_rejected(number: str, wrong: Wrong) -> None:
    """The check says "not yet", and why; for (answer, words), in these words."""
    answer, words = wrong if isinstance(wrong, tuple) else (wrong, "")
    result = check(number, answer)
    assert result.status == "not yet"
    assert len(result.hint) > 30
    assert len(result.hint) < 1500, "nobody reads that"
    assert words in result.hint
