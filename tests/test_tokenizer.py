"""The tokenizer against tiktoken and tokenizers, on real text and on what hypothesis thinks of."""

import json
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
import tiktoken
from conftest import token_table
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from gptbook.bpe import GPT2_PATTERN, count_words, learn_merges, merge_pair, merge_word
from gptbook.data import python_docs
from gptbook.tokenizer import END_OF_TEXT, BPETokenizer, WordCache, load_tokenizer

SPECIALS = [END_OF_TEXT, "<|user|>", "<|bot|>"]


@pytest.fixture(scope="module")
def texts():
    """1 MB of real text to train on, and as much held out as there is."""
    documents = list(python_docs())
    random.Random(0).shuffle(documents)
    text = "\n\n".join(documents).encode("utf-8")
    train, held_out = text[:1_000_000], text[1_000_000:]
    return train.decode("utf-8", errors="ignore"), held_out.decode("utf-8", errors="ignore")


@pytest.fixture(scope="module")
def tokenizer(texts):
    # Some text of other alphabets, so that merges of bytes inside characters are learned as well.
    return BPETokenizer.train(texts[0] + "日本語 ünïcödé 👩‍👩‍👧‍👦 مرحبا ٣٤ " * 50, 4096, SPECIALS)


@pytest.fixture(scope="module")
def fast(tokenizer):
    return tokenizer.to_tiktoken()


@pytest.fixture(scope="module")
def reference_merges(texts):
    """What the tokenizers package learns, as pairs of bytes, and the tokenizer itself."""
    reference = Tokenizer(models.BPE())
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4096, initial_alphabet=alphabet, show_progress=False)
    reference.train_from_iterator([texts[0]], trainer)
    # ByteLevel writes each byte as a printable character; printable ones stand for themselves.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    to_byte = {chr(byte): byte for byte in printable}
    to_byte |= {chr(256 + i): byte for i, byte in enumerate(others)}
    merges = json.loads(reference.to_str())["model"]["merges"]
    return [tuple(bytes(to_byte[c] for c in part) for part in merge) for merge in merges], reference


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


# -- training


def test_merges_equal_those_of_tokenizers_up_to_the_first_tie(texts, reference_merges):
    word_counts = count_words(texts[0])
    merges = learn_merges(word_counts, 4096 - 256)
    tokens = token_table(merges)
    mine = [(tokens[left], tokens[right]) for left, right in merges]
    same = next(i for i, (a, b) in enumerate(zip(mine, reference_merges[0], strict=True)) if a != b)
    assert same > 100
    # Where they part, the two chosen pairs must be equally frequent. Count anew, with plain code.
    words = {tuple(word): count for word, count in word_counts.items()}
    for i, pair in enumerate(merges[:same]):
        words = {tuple(merge_pair(word, pair, 256 + i)): count for word, count in words.items()}
    counts = Counter()
    for word, count in words.items():
        for pair in pairwise(word):
            counts[tokens[pair[0]], tokens[pair[1]]] += count
    assert counts[mine[same]] == counts[reference_merges[0][same]] == max(counts.values())


def test_as_many_tokens_on_held_out_text_as_tokenizers(texts, reference_merges):
    mine = len(BPETokenizer.train(texts[0], 4096).encode(texts[1]))
    theirs = len(reference_merges[1].encode(texts[1]).ids)
    assert abs(mine / theirs - 1) < 0.002


@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=8).map(str.encode), st.integers(1, 5), max_size=8
    ),
    st.integers(0, 20),
)
@settings(max_examples=300, deadline=None)
def test_learn_merges_equals_recounting(word_counts, num_merges):
    words = {tuple(word): count for word, count in word_counts.items()}
    wanted = []
    for i in range(num_merges):
        counts = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                counts[pair] += count
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        wanted.append(best)
        words_after = Counter()
        for word, count in words.items():
            words_after[tuple(merge_pair(word, best, 256 + i))] += count
        words = words_after
    assert learn_merges(word_counts, num_merges) == wanted


@given(st.text("abc ", min_size=1, max_size=60))
@settings(max_examples=200, deadline=None)
def test_learned_merges_never_make_a_token_twice_and_encode_their_own_text(text):
    word_counts = count_words(text)
    tokens = token_table(learn_merges(word_counts, 30))
    assert len(set(tokens)) == len(tokens)
    ranks = {token: i for i, token in enumerate(tokens)}
    for word in word_counts:
        assert b"".join(tokens[id] for id in merge_word(word, ranks)) == word


def test_encoding_by_joint_bytes_equals_merging_pair_by_pair(texts):
    """In a learned table, joint bytes say the same as the pairs that were merged."""
    merges = learn_merges(count_words(texts[0]), 1000)
    tokens = token_table(merges)
    ranks = {token: i for i, token in enumerate(tokens)}
    for word in list(count_words(texts[1]))[:1500]:
        ids = list(word)
        for i, pair in enumerate(merges):
            ids = merge_pair(ids, pair, 256 + i)
        assert merge_word(word, ranks) == ids


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


@pytest.mark.parametrize(
    "pattern", [r"\w+|\W+", r"\pL+|\PL+", r"\p{script=Latin}+|(?s:.)", r"\d|[^\d]+"]
)
def test_any_class_of_characters_is_handed_over(pattern):
    tokenizer = BPETokenizer.train("the hen and the 12 hens " * 9, 262, pattern=pattern)
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    ids = tokenizer.encode(everything)
    assert ids == tokenizer.to_tiktoken().encode_ordinary(everything)


def test_there_and_back(tokenizer, fast, texts):
    back = BPETokenizer.from_tiktoken(fast)
    text = texts[1][:20_000] + "x²½٣ ünï 日本 \ua7ce \U00033479"
    assert back.encode(text) == tokenizer.encode(text) == back.to_tiktoken().encode_ordinary(text)


def test_a_special_token_that_begins_another_is_not_handed_over():
    with pytest.raises(ValueError, match=r"'<s>' begins '<s>s'"):
        BPETokenizer.train("", 258, ["<s>", "<s>s"]).to_tiktoken()


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


def test_a_table_with_gaps_is_refused():
    whole = {bytes([i]): i for i in range(256)}
    with pytest.raises(ValueError, match="each used once"):
        BPETokenizer(whole | {b"ab": 300})
    with pytest.raises(ValueError, match="each used once"):
        BPETokenizer(whole, {END_OF_TEXT: 0})
    with pytest.raises(ValueError, match="special tokens the last"):
        BPETokenizer({token: id + 1 for token, id in whole.items()}, {END_OF_TEXT: 0})
    with pytest.raises(ValueError, match=r"missing: \[7\]"):
        BPETokenizer({(b"xx" if i == 7 else bytes([i])): i for i in range(256)})
    with pytest.raises(ValueError, match="empty string"):
        BPETokenizer(whole, {"": 256})


# -- files


def test_save_and_load(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]
    loaded = load_tokenizer(path)
    assert list(loaded.ranks.items()) == list(tokenizer.ranks.items())
    assert loaded.special_tokens == tokenizer.special_tokens
    assert loaded.pattern == tokenizer.pattern


def test_a_truncated_or_altered_file_is_refused_by_name(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    whole = path.read_text()
    for size in (0, 1, 1000, len(whole) - 2, len(whole) - 1):
        path.write_text(whole[:size])
        with pytest.raises(ValueError, match=r"tokenizer\.json"):
            BPETokenizer.load(path)
    # One character changed somewhere: never a silently different tokenizer.
    rng = random.Random(0)
    for _ in range(200):
        i = rng.randrange(len(whole))
        changed = whole[:i] + rng.choice('Aa0+/" {') + whole[i + 1 :]
        path.write_text(changed)
        if json_or_none(changed) != json.loads(whole):
            with pytest.raises(ValueError, match=r"tokenizer\.json"):
                BPETokenizer.load(path)


def json_or_none(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


@pytest.mark.parametrize("content", ["[]", "{}", "3", '{"format": "other"}', "\ufeff{}", "no json"])
def test_a_foreign_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"other\.json"):
        load_tokenizer(path)


def test_a_failed_save_leaves_the_old_file(tokenizer, tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        BPETokenizer.train("x", 256).save(path)
    assert path.read_bytes() == before


def test_many_may_save_at_once(tmp_path):
    path = tmp_path / "tokenizer.json"
    (tmp_path / "tokenizer.json.part").write_text("the reader's own")
    tokenizer = BPETokenizer.train("x", 256)
    tokenizer.save(path)
    with ThreadPoolExecutor(4) as pool:
        saves = [pool.submit(tokenizer.save, path) for _ in range(100)]
        loads = [pool.submit(BPETokenizer.load, path) for _ in range(100)]
    assert all(future.exception() is None for future in saves + loads)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["tokenizer.json", "tokenizer.json.part"]


# -- tiktoken's own tokenizers


def test_gpt2_comes_from_tiktoken(tokenizer, monkeypatch):
    """Without a network, an encoding of tiktoken's making stands in for GPT-2's."""
    order = [
        *range(33, 127),
        *range(33),
        *range(127, 256),
    ]  # GPT-2's table does not start with byte 0
    ranks = {bytes([byte]): id for id, byte in enumerate(order)} | {
        b"he": 256,
        b" t": 257,
        b" the": 258,
    }
    pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
    encoding = tiktoken.Encoding(
        "gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: 259}
    )
    monkeypatch.setattr("tiktoken.get_encoding", lambda name: {"gpt2": encoding}[name])
    gpt2 = load_tokenizer("gpt2")
    for text in ["the hen \n\n", "there  is\n", f"a{END_OF_TEXT} \n ", "12 'll"]:
        ids = gpt2.encode(text, allowed_special="all")
        assert ids == encoding.encode(text, allowed_special="all")
        assert gpt2.decode(ids) == text
    assert gpt2.eos_id == 259


def test_gpt2_without_a_network_says_so(monkeypatch):
    def refuse(name):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("tiktoken.get_encoding", refuse)
    with pytest.raises(OSError, match="could not be downloaded: no route to host"):
        load_tokenizer("gpt2")
