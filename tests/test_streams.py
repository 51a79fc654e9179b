"""A text that comes in pieces: the same ids wherever it is cut, with a piece of it in memory."""

import random
import tracemalloc

import pytest
import regex

from gptbook.bpe import GPT2_PATTERN
from gptbook.streams import cut_stream
from gptbook.tokenizer import BPETokenizer
from tests.helpers import END_OF_TEXT

# As cl100k and o200k cut: white space up to the last line's end, contractions behind words.
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIALS = [END_OF_TEXT, "<|end|>", "<|end|>s"]
PARTS = [
    *("they", "'re", "'", "r", "e", "'LL", " ", "  ", "\n", "\r\n", "\t ", "A", "b", "ß", "Aé"),
    *("12", "1234", "…", "//", "日本", "🐔", "e\u0301", *SPECIALS, "<|end", "|>", "<|", "<"),
]


def pieces_of(text, random):
    """The text cut anywhere, also into nothing."""
    while text:
        size = random.choice([0, 1, 1, 2, 3, 7, 30])
        yield text[:size]
        text = text[size:]


@pytest.mark.parametrize("pattern", [GPT2_PATTERN, CL100K, O200K])
@pytest.mark.parametrize("special", [(), "all", SPECIALS[1:]])
def test_the_ids_are_those_of_the_whole_text(monkeypatch, pattern, special):
    draw = random.Random(0)
    known = "".join(draw.choices(PARTS, k=20_000))  # so that each way to cut has ids of its own
    tokenizer = BPETokenizer.train(known, 1300, SPECIALS, pattern)
    for size in (1, 1, 5, 20):  # so small that it is cut wherever it can be
        monkeypatch.setattr(cut_stream, "__defaults__", ((), size))
        for _ in range(400):
            text = "".join(draw.choices(PARTS, k=draw.randint(0, 25)))
            ids = list(tokenizer.encode_iterable(pieces_of(text, draw), special))
            assert ids == tokenizer.encode(text, special), text


def test_it_is_cut_at_all():
    find = regex.compile(GPT2_PATTERN).findall
    pieces = list(cut_stream("hens and cows " * 100, find, size=50))
    assert "".join(pieces) == "hens and cows " * 100
    assert len(pieces) > 20


def test_little_of_a_file_is_in_memory(tmp_path):
    tokenizer, path = BPETokenizer.train("hens and cows", 258), tmp_path / "text"
    path.write_text("hens and cows and ducks\n" * 150_000)  # 3.6 MB
    with path.open() as lines:
        tracemalloc.start()
        count = sum(1 for _ in tokenizer.encode_iterable(lines))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert count == 150_000 * len(tokenizer.encode("hens and cows and ducks\n"))
    assert peak < 2e6


@pytest.mark.parametrize("part", ["x" * 1000, " " * 1000, "\n" * 1000])
def test_a_word_without_end_is_not_looked_at_again_and_again(part):
    looked = []

    def find(text):
        looked.append(len(text))
        return [text]

    assert "".join(cut_stream([part] * 1000, find, size=1000)) == part * 1000
    assert sum(looked) < 4_000_000


@pytest.mark.parametrize(("chunks", "error"), [([b"hens"], TypeError), (["\ud800"], ValueError)])
def test_only_text_is_encoded(chunks, error):
    with pytest.raises(error):
        list(BPETokenizer.train("hens", 257).encode_iterable(chunks))
