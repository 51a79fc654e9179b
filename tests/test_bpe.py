"""Merges are learned and applied as tokenizers does, and as plain counting says."""

import json
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from gptbook.bpe import count_words, learn_merges, merge_pair, merge_word
from gptbook.tokenizer import BPETokenizer
from tests.helpers import token_table


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
