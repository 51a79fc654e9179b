"""What the tests of minbpe look at, asked of this book's tokenizer. Nothing here is theirs.

We differ, on purpose, in one thing: between pairs that are equally frequent, the one with the
smaller ids is merged first, not the one that comes first in the text.
"""

import pytest
import tiktoken

from gptbook.bpe import GPT2_PATTERN
from gptbook.data import python_docs
from gptbook.tokenizer import END_OF_TEXT, BPETokenizer

WHOLE = r"(?s:.+)"  # no cutting into words
TEXT = "".join(python_docs()[:60])
TEXTS = ["", "?", "grüß dich!!! (잘 지내?) no1 🐓\u200d🔥", TEXT[:20_000]]
SPECIALS = {
    END_OF_TEXT: 10_000,
    "<|prefix|>": 10_001,
    "<|middle|>": 10_002,
    "<|suffix|>": 10_003,
    "<|prompt|>": 10_020,
}


@pytest.fixture(scope="module", params=[WHOLE, GPT2_PATTERN])
def tokenizer(request):
    return BPETokenizer.train(TEXT[:30_000], 256 + 64, pattern=request.param)


@pytest.fixture(scope="module")
def theirs():
    """A tiktoken encoding with special tokens and a gap before them."""
    ranks = BPETokenizer.train(TEXT, 1000).ranks
    return tiktoken.Encoding(
        "small", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=SPECIALS
    )


@pytest.mark.parametrize("text", TEXTS)
def test_encode_and_decode_give_the_text_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("text", TEXTS)
def test_the_same_ids_as_tiktoken(theirs, text):
    assert BPETokenizer.from_tiktoken(theirs).encode(text) == theirs.encode(text)


@pytest.mark.parametrize(
    "text",
    [
        END_OF_TEXT,
        f"{END_OF_TEXT}hens{END_OF_TEXT}{END_OF_TEXT}",
        f"<|prefix|>cows <|suffix|>\n<|middle|> and <|prompt|>{END_OF_TEXT} <|end of text|>",
    ],
)
def test_special_tokens_get_their_ids(theirs, text):
    ours = BPETokenizer.from_tiktoken(theirs)
    assert ours.encode(text, "all") == theirs.encode(text, allowed_special="all")
    assert ours.decode(ours.encode(text, "all")) == text


def test_the_example_of_the_encyclopedia():
    """aaabdaaabac with three merges: aa, then (ours) ab and aaab; theirs aaa and aaab."""
    tokenizer = BPETokenizer.train("aaabdaaabac", 256 + 3, pattern=WHOLE)
    assert tokenizer.encode("aaabdaaabac") == [258, 100, 258, 97, 99]
    learned = [tokenizer.decode([id]) for id in (256, 257, 258)]
    assert learned == ["aa", "ab", "aaab"]  # ab and aaa are equally frequent


@pytest.mark.parametrize("specials", [{}, SPECIALS])
def test_a_saved_tokenizer_is_the_same_after_loading(tmp_path, specials):
    trained = BPETokenizer.train(TEXT[:30_000], 320)
    tokenizer = BPETokenizer(trained.ranks, specials)
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = BPETokenizer.load(tmp_path / "tokenizer.json")
    text = "hens " + " and ".join([*SPECIALS, "cows"])
    assert loaded.decode(loaded.encode(text, "all")) == text
    assert loaded.encode(text, "all") == tokenizer.encode(text, "all")
    assert loaded.special_tokens == specials
