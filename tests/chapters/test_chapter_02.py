"""What chapter 2 builds small does the same as the package, torch and tiktoken."""

import random
from collections import Counter

import pytest
import tiktoken
import torch
from torch import nn

from gptbook.bpe import GPT2_PATTERN, count_words, learn_merges, merge_pair, merge_word
from gptbook.data import make_loader
from gptbook.tokenizer import BPETokenizer
from tests.chapters.notebook import taught

own = taught(
    "02", "count_pairs", "join", "learn", "learn_with_index", "apply_merges", "encode_word",
    "SmallTokenizer", "encode_with", "cut_windows", "running_mean",
)  # fmt: skip
LETTERS = "abcé "


def random_text(seed, size=400):
    return "".join(random.Random(seed).choices(LETTERS, k=size))


def random_words(seed):
    rng = random.Random(seed)
    words = [bytes(rng.choices(b"abc", k=rng.randint(1, 9))) for _ in range(40)]
    return Counter(words)


@pytest.mark.parametrize("seed", range(5))
def test_joining_a_pair(seed):
    rng = random.Random(seed)
    for pair in ((1, 2), (1, 1), (2, 3)):
        ids = rng.choices((1, 2, 3), k=50)
        assert list(own.join(ids, pair, 9)) == merge_pair(ids, pair, 9)


@pytest.mark.parametrize("seed", range(5))
def test_learning_finds_the_same_merges(seed):
    counts = random_words(seed)  # with many equally frequent pairs
    words = {tuple(word): count for word, count in counts.items()}
    wanted = learn_merges(counts, 25)
    assert len(wanted) == 25
    assert own.learn(words, 25) == wanted
    assert own.learn_with_index(words, 25) == wanted


@pytest.mark.parametrize("seed", range(5))
def test_encoding_a_word(seed):
    merges = learn_merges(random_words(seed), 25)
    new_ids = {pair: new_id for new_id, pair in enumerate(merges, start=256)}
    ranks = {token: id for id, token in enumerate(own.SmallTokenizer(merges).tokens)}
    rng, shorter = random.Random(seed), 0
    for _ in range(50):
        word = bytes(rng.choices(b"abcd", k=rng.randint(0, 12)))
        wanted = merge_word(word, ranks)
        shorter += len(wanted) < len(word)
        assert list(own.apply_merges(word, merges)) == wanted
        assert list(own.encode_word(word, new_ids)) == wanted
    assert shorter > 25


@pytest.mark.parametrize("seed", range(3))
def test_the_tokenizer_and_special_tokens(seed):
    text, end = random_text(seed), "<|endoftext|>"
    theirs = BPETokenizer.train(text, 300, [end])
    small = own.SmallTokenizer(learn_merges(count_words(text), 300 - 257))
    fast = tiktoken.Encoding(
        "test",
        pat_str=GPT2_PATTERN,
        mergeable_ranks={token: id for id, token in enumerate(small.tokens)},
        special_tokens={end: 299},
    )
    for probe in (random_text(seed + 10), "", "  x", "👍é", f"ab{end}", f"{end}{end} c"):
        ids = small.encode(probe)
        assert ids == theirs.encode(probe) == fast.encode_ordinary(probe)
        assert small.decode(ids) == theirs.decode(ids) == probe
        allowed = own.encode_with(theirs.special_tokens, small, probe)
        assert allowed == theirs.encode(probe, "all") == fast.encode(probe, allowed_special="all")
        assert (allowed == ids) == (end not in probe)
    assert small.decode([0xC3]) == theirs.decode([0xC3]) == "\ufffd"


@pytest.mark.parametrize(("size", "context"), [(10, 4), (9, 4), (8, 4), (50, 7), (5, 4), (21, 1)])
def test_windows(size, context):
    ids = torch.randperm(size)
    inputs, targets = own.cut_windows(ids, context)
    batches = list(make_loader(ids, context, batch_size=2))
    assert torch.equal(inputs, torch.cat([x for x, _ in batches]))
    assert torch.equal(targets, torch.cat([y for _, y in batches]))


def test_picking_rows_is_an_embedding_and_a_product_gradients_too():
    embedding = nn.Embedding(7, 5).double()
    ids = torch.tensor([[3, 1, 3], [0, 1, 6]])
    upstream = 10 * torch.randn(2, 3, 5, dtype=torch.float64)
    gradients = []
    one_hot = nn.functional.one_hot(ids, 7).double()
    for picked in (
        lambda weight: nn.functional.embedding(ids, weight),
        lambda weight: weight[ids],
        lambda weight: one_hot @ weight,
    ):
        weight = embedding.weight.detach().clone().requires_grad_()
        rows = picked(weight)
        torch.testing.assert_close(rows, embedding(ids))
        gradients.append(torch.autograd.grad((rows * upstream).sum(), weight)[0])
    torch.testing.assert_close(gradients[1], gradients[0])
    torch.testing.assert_close(gradients[2], gradients[0])
    assert [bool(row.any()) for row in gradients[0]] == [
        True,
        True,
        False,
        True,
        False,
        False,
        True,
    ]


def test_the_running_mean_is_a_product_with_a_lower_triangle():
    x = 10 * torch.randn(6, 4, dtype=torch.float64)
    weights = torch.ones(6, 6).tril().double()
    weights /= weights.sum(dim=1, keepdim=True)
    torch.testing.assert_close(own.running_mean(x), weights @ x)
