"""The tokenizer against tiktoken, on any text; special tokens; what is refused."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gptbook.bpe import GPT2_PATTERN
from gptbook.tokenizer import END_OF_TEXT, BPETokenizer, WordCache
from tests.helpers import SPECIALS

# -- encoding and decoding


@given(st.text())
@example("")
@example(" ")
@example("  \n\t x\r\n ")
@example("👩‍👩‍👧‍👦🇺🇳👍🏽")
@example("a\u0301e\u0308 \u200d\u00a0\u2003\u3000x")
@example("I'll you've it's IT'S 'tis ''s")
@example("x²½٣೬Ⅷ 1234567890")
@example("\x00\x1c\x1d\x1e\x1f\x85\x7f\ufffd\uffff\U0010ffff")
@example(f"{END_OF_TEXT}{END_OF_TEXT} <|user|>x")
@example("\u088f\u0c5c\U00033479 \U00033479\ua7ce1")  # letters that only the newest Unicode knows
@settings(max_examples=1000, deadline=None)
def test_encode_equals_tiktoken_and_decode_inverts_it(tokenizer, fast, text):
    ids = tokenizer.encode(text)
    assert ids == fast.encode(text, disallowed_special=())
    assert tokenizer.decode(ids) == text
    assert tokenizer.encode(text, allowed_special="all") == fast.encode(text, allowed_special="all")


@given(
    st.lists(st.sampled_from([*SPECIALS, "<|", "|>", "a", " ", "\n", "bot"])).map("".join),
    st.sets(st.sampled_from(SPECIALS)),
)
@example("<|user|>x <|user|> <|endoftext|><|bot|>", set(SPECIALS))
@example("<|user|>x", {"<|user|>"})
@settings(max_examples=300, deadline=None)
def test_special_tokens_are_text_unless_allowed(tokenizer, fast, text, allowed):
    ids = tokenizer.encode(text, allowed_special=allowed)
    assert ids == fast.encode(text, allowed_special=allowed, disallowed_special=())
    assert tokenizer.decode(ids) == text
    permitted = {tokenizer.special_tokens[name] for name in allowed}
    assert set(ids) & set(tokenizer.special_tokens.values()) <= permitted


def test_special_tokens_get_the_last_ids(tokenizer):
    assert list(tokenizer.special_tokens.items()) == list(
        zip(SPECIALS, range(4093, 4096), strict=True)
    )
    assert tokenizer.eos_id == 4093
    assert tokenizer.encode(END_OF_TEXT, allowed_special=END_OF_TEXT) == [4093]


def test_the_longest_special_token_wins():
    tokenizer = BPETokenizer.train("", 258, ["<s>", "<s>s"])
    assert tokenizer.encode("<s>s<s>", allowed_special="all") == [257, 256]
    assert tokenizer.encode("<s>s", allowed_special="<s>") == [256, ord("s")]


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_any_table_of_ranks_gives_what_tiktoken_gives(data):
    """Also tables that no training would give: unreachable tokens, several ways to one token."""
    words = st.text("ab", min_size=2, max_size=6).map(str.encode)
    tokens = [bytes([i]) for i in range(256)]
    tokens += data.draw(st.lists(words, max_size=20, unique=True))
    ranks = {token: i for i, token in enumerate(tokens)}
    text = data.draw(st.text("ab", max_size=150)) * data.draw(st.sampled_from([1, 7]))
    mine = BPETokenizer(ranks)
    assert mine.encode(text) == mine.to_tiktoken().encode_ordinary(text)


def test_every_character_of_unicode(tokenizer, fast):
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    ids = tokenizer.encode(everything)
    assert ids == fast.encode_ordinary(everything)
    assert tokenizer.decode(ids) == everything


@pytest.mark.parametrize(
    "text", [" " * 100_000, "a" * 100_000, "\n" * 5000 + "ab" * 30_000 + " " * 5000]
)
def test_very_long_words(tokenizer, fast, text):
    ids = tokenizer.encode(text)
    assert ids == fast.encode_ordinary(text)
    assert tokenizer.decode(ids) == text


def test_real_text(tokenizer, fast, texts):
    ids = tokenizer.encode(texts[1])
    assert ids == fast.encode_ordinary(texts[1])
    assert tokenizer.decode(ids) == fast.decode(ids) == texts[1]


@given(st.lists(st.integers(0, 4095), max_size=30))
def test_any_ids_can_be_decoded(tokenizer, fast, ids):
    assert tokenizer.decode(ids) == fast.decode(ids)
    assert tokenizer.decode_bytes(ids) == fast.decode_bytes(ids)


def test_the_cache_of_words_stays_small(tokenizer):
    cache = WordCache(tokenizer.ranks, limit=10)
    for i in range(100):
        word = f"word{i}"
        assert b"".join(tokenizer.token_bytes[id] for id in cache[word]) == word.encode()
        assert len(cache) <= 10
    assert max(map(len, cache)) <= 100


def test_a_small_vocabulary_is_the_beginning_of_a_large_one(texts):
    small, large = (BPETokenizer.train(texts[0], size) for size in (300, 600))
    assert list(large.ranks.items())[:300] == list(small.ranks.items())


def test_the_pattern_is_an_argument(texts):
    digits_apart = BPETokenizer.train(
        texts[0], 1000, pattern=GPT2_PATTERN.replace(r" ?\p{N}+", r"\p{N}")
    )
    text = "in 2024 and 31415"
    assert [digits_apart.decode([id]) for id in digits_apart.encode("31415")] == list("31415")
    assert digits_apart.encode(text) == digits_apart.to_tiktoken().encode_ordinary(text)


def test_special_tokens_from_a_set_have_the_same_ids_in_every_run():
    tokenizer = BPETokenizer.train("", 260, {"<b>", "<a>", "<d>", "<c>"})
    assert list(tokenizer.special_tokens) == ["<a>", "<b>", "<c>", "<d>"]


# -- errors


@pytest.mark.parametrize("pattern", [r"\w+", r" ?(\w+)", r"(a)(b)|."])
def test_a_pattern_that_loses_text_is_refused(pattern):
    with pytest.raises(ValueError, match="loses some of the text"):
        BPETokenizer.train("the hen! 12\n", 260, pattern=pattern)
    ranks = {bytes([i]): i for i in range(256)}
    with pytest.raises(ValueError, match="loses some of the text"):
        BPETokenizer(ranks, pattern=pattern).encode("the hen! 12\n")


def test_only_a_row_of_ids_is_decoded(tokenizer):
    for ids in ([[1, 2]], 5):
        with pytest.raises(TypeError, match="decode one row of ids"):
            tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("size", "specials"), [(255, []), (256, [END_OF_TEXT]), (0, []), (258, SPECIALS)]
)
def test_a_vocabulary_that_is_too_small_is_refused(size, specials):
    with pytest.raises(ValueError, match=rf"vocab_size={size} .* at least {256 + len(specials)}"):
        BPETokenizer.train("some text", size, specials)


def test_a_text_that_is_too_small_is_reported():
    with pytest.warns(UserWarning, match="asked for 1000 tokens, but this text has only 258"):
        assert BPETokenizer.train("abc", 1000).vocab_size == 258


def test_the_smallest_vocabulary_is_the_bytes():
    assert BPETokenizer.train("some text", 256).encode("é") == [0xC3, 0xA9]
    assert BPETokenizer.train("", 257, END_OF_TEXT).special_tokens == {END_OF_TEXT: 256}


@pytest.mark.parametrize("text", ["\ud83d", "ok \udc00", "\ud83d\ude00"])
def test_lone_surrogates_are_refused(tokenizer, text):
    with pytest.raises(ValueError, match="surrogate"):
        tokenizer.encode(text)
    with pytest.raises(ValueError, match="surrogate"):
        BPETokenizer.train(text, 300)


@pytest.mark.parametrize("text", [b"bytes", None, 3, ["a"]])
def test_only_text_is_encoded(tokenizer, text):
    with pytest.raises(TypeError, match="must be a str"):
        tokenizer.encode(text)


def test_unknown_special_tokens_are_named(tokenizer):
    with pytest.raises(ValueError, match=r"unknown special tokens \['<\|nope\|>'\]; there are"):
        tokenizer.encode("x", allowed_special={"<|nope|>"})


@pytest.mark.parametrize("id", [-1, 4096, 10**9])
def test_unknown_ids_are_refused(tokenizer, id):
    with pytest.raises(ValueError, match=rf"no token has the id {id}; ids run from 0 to 4095"):
        tokenizer.decode([5, id])


def test_a_vocabulary_with_two_tokens_for_an_id_is_refused():
    whole = {bytes([i]): i for i in range(256)}
    with pytest.raises(ValueError, match="each used once"):
        BPETokenizer(whole | {b"ab": 255})
    with pytest.raises(ValueError, match="each used once"):
        BPETokenizer(whole, {END_OF_TEXT: 0})
    with pytest.raises(ValueError, match="from 0 on"):
        BPETokenizer(whole, {END_OF_TEXT: -1})
    with pytest.raises(ValueError, match=r"missing: \[7\]"):
        BPETokenizer({(b"xx" if i == 7 else bytes([i])): i for i in range(256)})
    with pytest.raises(ValueError, match="empty string"):
        BPETokenizer(whole, {"": 256})
