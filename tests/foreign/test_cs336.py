"""What the tests of Stanford's CS336, assignment 1, look at, asked of this book. Nothing is theirs.

We differ, on purpose: equally frequent pairs are merged in the order of their ids, not from the
last in alphabetical order; the warm-up begins with a step of peak / warmup, not of 0; windows are
drawn without replacement; GPT-2's norm, GELU and learned positions stand where theirs are others.
"""

import math
import random
import time
from itertools import cycle, islice, pairwise

import pytest
import regex
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gptbook.attention import CausalSelfAttention, causal_attention
from gptbook.bpe import GPT2_PATTERN
from gptbook.checkpoints import load_checkpoint, save_checkpoint
from gptbook.data import WindowDataset, make_loader, python_docs
from gptbook.model import GPT, Block, FeedForward, GPTConfig
from gptbook.tokenizer import END_OF_TEXT, BPETokenizer
from gptbook.training import learning_rate, make_optimizer, next_token_loss

CONFIG = GPTConfig(vocab_size=50, context_length=16, embed_dim=24, num_layers=2, num_heads=4)
TEXT = "\n".join(python_docs()[:200])
RANDOM = torch.Generator().manual_seed(0)


def randn(*shape):
    return torch.randn(*shape, generator=RANDOM, dtype=torch.float64)


# -- training a tokenizer


def test_training_is_fast():
    start = time.process_time()
    BPETokenizer.train(TEXT[:130_000], 500)
    assert time.process_time() - start < 1.5


def recounted(text, merges):
    """The slow way: count all pairs anew before each merge."""
    words = [list(word.encode()) for word in regex.findall(GPT2_PATTERN, text)]
    learned = []
    for new in range(256, 256 + merges):
        counts = {}
        for word in words:
            for pair in pairwise(word):
                counts[pair] = counts.get(pair, 0) + 1
        best = min(counts, key=lambda pair: (-counts[pair], pair))  # theirs: the last in order
        learned.append(best)
        for word in words:
            i = 0
            while i < len(word) - 1:
                if (word[i], word[i + 1]) == best:
                    word[i : i + 2] = [new]
                i += 1
    return learned


def test_merges_are_those_of_recounting():
    tokenizer = BPETokenizer.train(TEXT[:6000], 256 + 60)
    tokens = [bytes([i]) for i in range(256)]
    for left, right in recounted(TEXT[:6000], 60):
        tokens.append(tokens[left] + tokens[right])
    assert tokenizer.ranks == {token: id for id, token in enumerate(tokens)}


def test_ties_go_to_the_smaller_ids():
    ranks = BPETokenizer.train("ab yz ab yz", 257, pattern=r"\w+|\W").ranks
    assert ranks[b"ab"] == 256  # yz is as frequent, and would come first there


def test_special_tokens_do_not_leak_into_the_vocabulary():
    text = f"{TEXT[:2000]}{END_OF_TEXT}" * 20
    for token in BPETokenizer.train(text, 500, [END_OF_TEXT]).ranks:
        assert b"<|" not in token


# -- encoding


@pytest.fixture(scope="module")
def tokenizer():
    return BPETokenizer.train(TEXT, 900, [END_OF_TEXT, END_OF_TEXT * 2])


@pytest.mark.parametrize(
    "text", ["", "s", "🐄", "Hens and cows.", "Kühe, Hühner 🐔", f"Hi{END_OF_TEXT}ho", TEXT[:9000]]
)
def test_texts_come_back(tokenizer, text):
    for allowed in ("all", ()):
        assert tokenizer.decode(tokenizer.encode(text, allowed)) == text


def test_of_special_tokens_that_overlap_the_longest_wins(tokenizer):
    ids = tokenizer.encode(f"a{END_OF_TEXT * 2} b{END_OF_TEXT}", "all")
    assert [tokenizer.decode([id]) for id in ids if id >= 898] == [END_OF_TEXT * 2, END_OF_TEXT]


def test_a_file_is_encoded_line_by_line_like_the_whole(tokenizer, tmp_path):
    path = tmp_path / "text"
    path.write_text(TEXT[:200_000], encoding="utf-8")
    with path.open(encoding="utf-8") as lines:
        assert list(tokenizer.encode_iterable(lines)) == tokenizer.encode(TEXT[:200_000])


def test_a_text_without_end_is_encoded_as_it_comes(tokenizer):
    lines = TEXT.splitlines(keepends=True)
    ids = list(islice(tokenizer.encode_iterable(cycle(lines)), 300_000))
    assert tokenizer.decode(ids).startswith(TEXT)


# -- the parts of a model


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 6), st.integers(0, 4))
def test_attention_is_the_formula(T, before):
    q, k, v = randn(2, 4, T, 6), randn(2, 4, T + before, 6), randn(2, 4, T + before, 6)
    scores = q @ k.transpose(2, 3) / math.sqrt(6)
    future = torch.ones(T, T + before).triu(before + 1).bool()
    wanted = scores.masked_fill(future, -math.inf).softmax(dim=-1) @ v
    torch.testing.assert_close(causal_attention(q, k, v), wanted)


def test_heads_are_torchs():
    attention = CausalSelfAttention(24, 4).double()
    theirs = nn.MultiheadAttention(24, 4, batch_first=True, dtype=torch.float64)
    theirs.load_state_dict(
        {
            "in_proj_weight": attention.qkv.weight,
            "in_proj_bias": attention.qkv.bias,
            "out_proj.weight": attention.out.weight,
            "out_proj.bias": attention.out.bias,
        }
    )
    x = randn(2, 9, 24)
    mask = nn.Transformer.generate_square_subsequent_mask(9, dtype=torch.float64)
    wanted, _ = theirs(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)
    torch.testing.assert_close(attention(x), wanted)


def test_the_feed_forward_network_and_the_block_are_their_formulas():
    block = Block(CONFIG).double()
    x = randn(2, 5, 24)
    up = F.linear(x, block.feed_forward.up.weight, block.feed_forward.up.bias)
    cubic = 0.5 * up * (1 + torch.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)))
    wanted = F.linear(cubic, block.feed_forward.down.weight, block.feed_forward.down.bias)
    assert isinstance(block.feed_forward, FeedForward)
    torch.testing.assert_close(block.feed_forward(x), wanted)
    h = x + block.attention(block.norm1(x))
    torch.testing.assert_close(block(x), h + block.feed_forward(block.norm2(h)))


def test_a_shorter_input_gives_the_beginning_of_the_logits():
    model = GPT(CONFIG).double()
    ids = torch.randint(50, (2, 16), generator=RANDOM)
    torch.testing.assert_close(model(ids[:, :7]), model(ids)[:, :7])


# -- loss, gradients, optimizer, schedule


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_the_loss_is_stable(scale):
    logits, targets = scale * randn(8, 5, 50), torch.randint(50, (8, 5), generator=RANDOM)
    wanted = -(logits.log_softmax(-1)).gather(-1, targets[..., None]).mean()
    found = next_token_loss(logits.float(), targets)
    assert found.isfinite()
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


def test_adamw_is_its_formula():
    """Decoupled decay, β = (0.9, 0.95), both moments corrected for their beginning."""
    layer = nn.Linear(3, 2).double()
    optimizer = make_optimizer(layer, lr=0.1, weight_decay=0.5)
    weight, m, v = layer.weight.detach().clone(), 0.0, 0.0
    for t in range(1, 11):
        layer.zero_grad()
        ((layer(randn(4, 3)) - 1) ** 2).sum().backward()
        g = layer.weight.grad
        m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g**2
        weight *= 1 - 0.1 * 0.5
        weight -= 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.95**t)).sqrt() + 1e-8)
        optimizer.step()
    torch.testing.assert_close(layer.weight, weight)


def test_the_schedule_has_the_shape_of_theirs_with_our_ends():
    rates = [learning_rate(step, 25, peak=1.0, warmup=7) for step in range(30)]
    for step in range(7):
        assert rates[step] == pytest.approx((step + 1) / 7)  # theirs: step / 7
    for step in range(7, 25):
        cosine = 0.5 * (1 + math.cos(math.pi * (step - 7) / (24 - 7)))
        assert rates[step] == pytest.approx(0.1 + 0.9 * cosine)
    assert rates[24:] == [pytest.approx(0.1)] * 6  # and stays there


# -- batches and checkpoints


def test_batches_are_windows_and_the_next_tokens_of_each():
    ids = torch.arange(100)
    for inputs, targets in make_loader(ids, 7, 32, shuffle=True):
        assert inputs.shape == targets.shape
        assert torch.equal(inputs + 1, targets)


def test_every_window_is_drawn_and_none_reaches_over_the_end():
    starts = [int(WindowDataset(torch.arange(100), 7, 1)[i][0][0]) for i in range(93)]
    assert starts == list(range(93))
    drawn = [int(x[0]) for batch, _ in make_loader(torch.arange(100), 7, 4, 1, shuffle=True)
             for x in batch]  # fmt: skip
    assert sorted(drawn) == starts  # theirs are drawn with replacement, ours without
    assert drawn != starts


def test_a_checkpoint_brings_model_and_optimizer_back(tmp_path):
    def step(model, optimizer):
        optimizer.zero_grad()
        ids = torch.randint(50, (2, 9), generator=torch.Generator().manual_seed(1))
        next_token_loss(model(ids[:, :-1]), ids[:, 1:]).backward()
        optimizer.step()

    model, other = GPT(CONFIG), GPT(CONFIG)
    optimizers = [make_optimizer(each, lr=1e-2) for each in (model, other)]
    for _ in range(3):
        step(model, optimizers[0])
    save_checkpoint(tmp_path / "file", model, optimizers[0], step=3)
    assert load_checkpoint(tmp_path / "file", other, optimizers[1]) == 3
    step(model, optimizers[0])
    step(other, optimizers[1])
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_python_draws_alike_after_a_seed():
    """Batches depend on the seed and on nothing else."""
    orders = []
    for _ in range(2):
        random.random()
        torch.rand(1)
        loader = make_loader(torch.arange(100), 7, 4, shuffle=True, seed=5)
        orders.append([batch.tolist() for batch, _ in loader])
    assert orders[0] == orders[1]
