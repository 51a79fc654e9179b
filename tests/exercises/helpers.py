"""Wrong answers as parameters of a test."""

from collections.abc import Callable
from typing import Any

import pytest

from gptbook.exercises import check


def wrong_answers(table: dict[str, list[Callable[..., Any]]]) -> pytest.MarkDecorator:
    """Run a test with each (number, wrong) of {number of an exercise: wrong answers}."""
    pairs = [(number, wrong) for number, answers in table.items() for wrong in answers]
    return pytest.mark.parametrize(("number", "wrong"), pairs)


def assert_rejected(number: str, wrong: Callable[..., Any]) -> None:
    """The check says "not yet", and why."""
    result = check(number, wrong)
    assert result.status == "not yet"
    assert len(result.hint) > 30
