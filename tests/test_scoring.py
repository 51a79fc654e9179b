"""Exact match is what greedy generation would give, neither more nor less."""

import pytest
import torch

from gptbook.data import encode_documents, make_loader
from gptbook.device import seed_everything
from gptbook.generate import generate
from gptbook.model import GPT, GPTConfig
from gptbook.scoring import accuracy, by_task, exact_matches, greedy_matches, macro_average
from gptbook.tokenizer import load_tokenizer
from gptbook.training import TrainConfig, train
from gptbook.world import World

TOKENIZER = load_tokenizer("book")


@pytest.fixture(scope="module")
def model():
    """A model that knows a few documents by heart, and others only half."""
    seed_everything(0)
    texts = [document.text for document in World().documents(20)]
    model = GPT(GPTConfig(TOKENIZER.vocab_size, 64, 64, 2, 4, dropout=0.1))
    loader = make_loader(encode_documents(texts, TOKENIZER), 32, 8, stride=3, shuffle=True)
    train(model, loader, TrainConfig(500, lr=1e-2))
    return model


def test_exact_match_is_what_greedy_generation_writes(model):
    pairs = []
    for document in World().documents(40):
        words = document.text.split()
        if len(words) > 8 and len(TOKENIZER.encode(document.text)) < 60:
            for cut in (len(words) // 2, len(words) - 1):
                pairs.append((" ".join(words[:cut]), " ".join(words[cut : cut + 1])))
    found = exact_matches(model, TOKENIZER, pairs, batch_size=7)
    assert 0.05 < accuracy(found) < 0.95
    for (prompt, end), match in zip(pairs, found, strict=True):
        ids = torch.tensor([[TOKENIZER.eos_id, *TOKENIZER.encode(prompt)]])
        wanted = [TOKENIZER.eos_id, *TOKENIZER.encode(f"{prompt} {end}")]
        written = generate(model, ids, len(wanted) - ids.shape[1])[0].tolist()
        assert match == (written == wanted)
    assert model.training


def test_every_task_weighs_the_same():
    entries = [{"task": task} for task in "abaa"]
    found = by_task(entries, [True, False, True, False])
    assert found == {"a": [True, True, False], "b": [False]}
    assert macro_average(found) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="shorter"):
        by_task(entries, [True])


def test_pairs_that_cannot_be_scored_are_refused(model):
    with pytest.raises(ValueError, match="1 of 1 rows, 0, have more tokens than context_length=64"):
        exact_matches(model, TOKENIZER, [("kite " * 80, "box")])
    with pytest.raises(ValueError, match="no accuracy of nothing"):
        accuracy(exact_matches(model, TOKENIZER, []))


def test_every_row_needs_its_start(model):
    for starts in ([1], [1, 1, 1]):
        with pytest.raises(ValueError, match="zip"):
            greedy_matches(model, [[1, 2], [3, 4, 5]], starts)


def test_rows_are_judged_in_their_own_order(model):
    rows = [[TOKENIZER.eos_id, *TOKENIZER.encode("Once there was"[:n])] for n in (14, 4, 9, 1)]
    alone = [greedy_matches(model, [row], [1])[0] for row in rows]
    assert greedy_matches(model, rows, [1] * 4, batch_size=3) == alone
