"""What the tests of tiktoken look at, asked of this book's tokenizer. Nothing here is theirs.

We differ, on purpose, in two things. A special token in a text is plain text unless it is allowed,
and not an error unless it is. A str with a lone surrogate is refused, not read as U+FFFD.
"""

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from gptbook.bpe import GPT2_PATTERN
from gptbook.data import python_docs
from gptbook.tokenizer import END_OF_TEXT, BPETokenizer

OURS = BPETokenizer.train("".join(python_docs()[:60]), 1200, [END_OF_TEXT, "<|fim|>"])
THEIRS = tiktoken.Encoding(
    "small",
    pat_str=GPT2_PATTERN,
    mergeable_ranks=OURS.ranks,
    special_tokens=OURS.special_tokens,
)


def test_an_empty_text_has_no_ids():
    assert OURS.encode("") == THEIRS.encode("") == []
    assert OURS.decode([]) == ""


@pytest.mark.parametrize("character", ["0", "^", "a", "'s", " ", "\n"])
@pytest.mark.parametrize("count", [1, 2, 17, 1000, 10_000])
def test_repetition_is_no_catastrophe(character, count):
    for text in (character * count, " " + character * count, character * count + "\n"):
        assert OURS.decode(OURS.encode(text)) == text
        assert OURS.encode(text) == THEIRS.encode(text)


@settings(deadline=None)
@given(st.text())
def test_any_text_comes_back(text):
    assert OURS.decode(OURS.encode(text)) == text
    assert OURS.encode(text) == THEIRS.encode(text, disallowed_special=())


@settings(deadline=None)
@given(st.lists(st.integers(0, OURS.vocab_size - 1)))
def test_any_ids_are_bytes(ids):
    assert OURS.decode_bytes(ids) == THEIRS.decode_bytes(ids)


def test_every_token_is_one_token():
    for token, id in OURS.ranks.items():
        assert OURS.decode_bytes([id]) == token
        assert THEIRS.encode_single_token(token) == id


def test_bytes_that_are_no_utf8_become_the_replacement_character():
    id = OURS.ranks[b"\xff"]
    assert OURS.decode([id]) == THEIRS.decode([id]) == "\ufffd"


def test_an_unknown_id_is_an_error():
    with pytest.raises(ValueError, match="no token has the id"):
        OURS.decode([OURS.vocab_size])
    with pytest.raises(KeyError):
        THEIRS.decode_bytes([OURS.vocab_size])


TEXT = f"{END_OF_TEXT} hens <|fim|> {END_OF_TEXT}"


def test_special_tokens_that_are_not_allowed_are_text_here_and_an_error_there():
    with pytest.raises(ValueError, match="disallowed special token"):
        THEIRS.encode(TEXT)
    assert OURS.encode(TEXT) == THEIRS.encode(TEXT, disallowed_special=())
    assert not set(OURS.encode(TEXT)) & set(OURS.special_tokens.values())


@pytest.mark.parametrize("allowed", [set(), {"<|fim|>"}, {END_OF_TEXT}, "all"])
def test_those_that_are_allowed_get_their_ids(allowed):
    wanted = THEIRS.encode(TEXT, allowed_special=allowed, disallowed_special=())
    assert OURS.encode(TEXT, allowed) == wanted


def test_surrogates_are_refused_here_and_replaced_there():
    assert THEIRS.encode("\ud83d") == THEIRS.encode("\ufffd")
    assert THEIRS.encode("\ud83d\udc4d") == THEIRS.encode("👍")
    for text in ("\ud83d", "\ud83d\udc4d"):
        with pytest.raises(ValueError, match="lone surrogate") as error:
            OURS.encode(text)
        assert "'surrogatepass'" in str(error.value)  # it says how to mend it
    mended = "\ud83d\udc4d".encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert OURS.encode(mended) == THEIRS.encode("👍")


def test_the_parts_of_an_encoding_are_taken_over():
    again = BPETokenizer.from_tiktoken(THEIRS)
    assert (again.ranks, again.special_tokens) == (OURS.ranks, OURS.special_tokens)
    assert again.vocab_size == THEIRS.n_vocab
    assert again.eos_id == THEIRS.eot_token
