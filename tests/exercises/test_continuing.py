"""What chapter 5's checks compare continued texts with: brute force, and PyTorch alone."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F

from gptbook.exercises.continuing import (
    BEAMS,
    OPTIONS,
    UNTIL,
    SumModel,
    TableModel,
    best_text,
    counting_model,
    option_sums,
    random,
    written_until,
)


def test_a_beam_as_wide_as_all_texts_finds_the_best():
    for seed in range(3):
        for kind in (TableModel, SumModel):
            model = kind(2 * random(4, 4, seed=seed).double())

            def log_p(new, model=model):
                text = torch.tensor([[1, *new]])
                logs = model(text)[0, :-1].log_softmax(dim=-1)
                return logs.gather(1, text[0, 1:, None]).sum().item()

            best = max(product(range(4), repeat=2), key=log_p)
            assert best_text(model, [1], 16, 2) == [1, *best]


def test_option_sums_are_cross_entropies():
    model, ids, options = counting_model(), [3, 1], [[4, 5], [6], [7, 7, 2]]
    for option, found in zip(options, option_sums(model, ids, options), strict=True):
        text = torch.tensor([ids + option])
        targets = torch.tensor([[-100, *option]])
        logits = model(text)[:, :-1]
        wanted = -F.cross_entropy(logits[0], targets[0], ignore_index=-100, reduction="sum")
        assert abs(found - wanted.item()) < 1e-4


def test_a_counting_model_counts_and_leaves_the_random_numbers_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    model = counting_model()
    model(torch.zeros(2, 5, dtype=torch.long))
    assert model.seen == 10
    assert torch.equal(torch.get_rng_state(), before)


def test_every_mistake_is_one():
    until = [
        (TableModel(10.0 * torch.eye(10).roll(1, dims=1)), [2, 3], [2, 3], 3),
        (TableModel(10.0 * torch.eye(10).roll(1, dims=1)), [1], [3, 4], 8),
        (TableModel(10.0 * torch.eye(10).roll(1, dims=1)), [1], [2, 4], 4),
        (TableModel(10.0 * torch.eye(10).roll(1, dims=1)), [1], [], 2),
        (SumModel(10.0 * torch.eye(10)), [1, 2], [9], 4),
    ]
    for wrong, sentence in UNTIL:
        assert any(wrong(*given) != written_until(*given) for given in until), sentence
    for wrong, sentence in BEAMS:
        given = [(SumModel(2 * random(6, 6, seed=s)), [1, 2], 2, 4) for s in range(6)]
        assert any(wrong(*each) != best_text(*each) for each in given), sentence
    given = (counting_model(), [3, 1], [[4, 5], [6], [7, 7, 2]])
    *others, (fails, _) = OPTIONS
    with pytest.raises(RuntimeError, match="deepcopy"):
        fails(*given)
    for wrong, sentence in others:
        pairs = zip(wrong(*given), option_sums(*given), strict=True)
        assert max(abs(a - b) for a, b in pairs) > 0.01, sentence
