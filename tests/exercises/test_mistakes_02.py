"""What the checks of chapter 2 compare answers with, and what they say of mistakes."""

import pytest

from gptbook.bpe import merge_word
from gptbook.data import WindowDataset
from gptbook.exercises import check
from gptbook.exercises.mistakes_02 import (
    GROW,
    RECOVER,
    STREAM,
    WINDOWS,
    cut_windows,
    kept,
    streamed,
    token_table,
)

EXPLAINED = [
    *(("2.3", *mistake) for mistake in RECOVER),
    *(("2.4", *mistake) for mistake in STREAM),
    *(("2.6", *mistake) for mistake in WINDOWS),
    *(("2.7", *mistake) for mistake in GROW),
]


@pytest.mark.parametrize(("number", "wrong", "sentence"), EXPLAINED)
def test_every_mistake_gets_its_sentence(number, wrong, sentence):
    result = check(number, wrong)
    assert result.status == "not yet"
    assert sentence in result.hint


def test_what_is_right_agrees_with_the_package():
    tokens = token_table([(97, 98), (256, 99)])
    assert tokens[256:] == [b"ab", b"abc"]
    assert merge_word(b"abcab", {token: id for id, token in enumerate(tokens)}) == [257, 256]
    assert streamed([b"\xc3", b"\xa9!"]) == ["", "é!"]
    ids = list(range(20))
    for size, stride, fraction in ((3, 3, 0.0), (4, 2, 0.3), (2, 5, 0.5)):
        cut = kept(ids, fraction)
        for part, windows in zip(
            (ids[:cut], ids[cut:]), cut_windows(ids, cut, size, stride), strict=True
        ):
            pairs = WindowDataset(part, size, stride) if part else []
            assert windows == [(x.tolist(), y.tolist()) for x, y in pairs]
