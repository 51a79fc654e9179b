"""The pieces of the experiment on learning and forgetting."""

import pytest
import torch
from torch import nn

from gptbook.adapters import LoRALinear, add_adapters
from gptbook.experiments import forgetting
from gptbook.gpt2 import load_gpt2
from gptbook.tokenizer import load_tokenizer


def test_slowed_is_a_learning_rate_of_its_own():
    weights = []
    for own in (True, False):
        torch.manual_seed(0)
        fast, slow = (nn.Parameter(torch.randn(3, 4, dtype=torch.float64)) for _ in range(2))
        rates = [{"params": [fast]}, {"params": [slow], "lr": 0.1 if own else 0.1 * 0.2}]
        optimizer = torch.optim.AdamW(rates, lr=0.1, weight_decay=0.3)
        after_step = forgetting.slowed(slow, 0.2)
        for step in range(5):
            optimizer.zero_grad()
            ((fast - step) ** 2 + (slow + step) ** 4).sum().backward()
            optimizer.step()
            if own:
                after_step(step)
        weights.append((fast.detach(), slow.detach()))
    # The gradients of the two parts do not depend on each other, so the paths are the same.
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other)


def test_ranks_of_a_change_that_is_known():
    base, model = load_gpt2("book"), load_gpt2("book")
    add_adapters(model, LoRALinear, ["attention.qkv"], rank=3, alpha=3)
    for module in model.modules():
        if isinstance(module, LoRALinear):
            nn.init.orthogonal_(module.lora_A)
            nn.init.orthogonal_(module.lora_B)
    ranks = forgetting.ranks_of_change(model, base)
    assert len(ranks) == 24
    assert {n for name, n in ranks.items() if name.endswith("qkv")} == {3}


def test_old_texts_take_the_place_of_new_ones():
    tokenizer = load_tokenizer("book")
    texts = [f"A new text, number {i}, about nothing at all. " * 5 for i in range(40)]
    entries = [{"instruction": text, "output": "Well."} for text in texts]

    def tokens(items):
        return sum(len(forgetting.encoded(item, tokenizer).ids) for item in items)

    for items in (texts, entries):
        assert forgetting.mixed(items, 0.0, 1, tokenizer) == items
        one, other = (forgetting.mixed(items, 0.3, seed, tokenizer) for seed in (1, 2))
        old = [item for item in one if item not in items]
        assert one[: len(one) - len(old)] == items[12:]
        assert 0.3 <= tokens(old) / tokens(items) < 0.35  # the last one may be too long
        assert old != [item for item in other if item not in items]


def test_an_entry_counts_its_response_and_an_old_text_all():
    tokenizer = load_tokenizer("book")
    entry = {"instruction": "Name a fruit.", "output": "A pear."}
    [batch] = forgetting.loader_of([entry, "The kite is red."], tokenizer)
    inputs, targets = batch
    counted = [[id for id in row if id >= 0] for row in targets.tolist()]
    assert tokenizer.decode(counted[0]) == " A pear.<|endoftext|>"
    assert tokenizer.encode("The kite is red.")[1:] == counted[1][:-1]
    assert inputs.shape == targets.shape


def test_the_share_of_right_answers():
    model, tokenizer = load_gpt2("book"), load_tokenizer("book")
    home = forgetting.World()
    person = next(person for person in home.people if person.asked)
    pairs = [home.completions(person, a)[0] for a in forgetting.ATTRIBUTES]
    wrong = [(prompt, " nowhere at all.") for prompt, _ in pairs]
    right = forgetting.share_right(model, tokenizer, pairs)
    assert right > 0.8
    assert forgetting.share_right(model, tokenizer, pairs + wrong) == pytest.approx(right / 2)
    assert forgetting.share_right(model, tokenizer, [{"instruction": "?", "output": "Yes."}]) == 0
    assert forgetting.share_right(model, tokenizer, []) is None


def test_certainty_is_the_largest_probability():
    model, tokenizer = load_gpt2("book"), load_tokenizer("book")
    one = forgetting.certainty(model, tokenizer, ["Eva Hart lives in"])
    two = forgetting.certainty(model, tokenizer, ["Eva Hart lives in", "The red"])
    assert 0 < one < 1
    assert two == pytest.approx(
        (one + forgetting.certainty(model, tokenizer, ["The red"])) / 2, abs=1e-3
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("domain", "arm"),
    [("reckoning", "LoRA, rank 16, embeddings"), ("asked", "full, 5 % old texts")],
)
def test_a_run_holds_all_that_is_compared(monkeypatch, domain, arm):
    monkeypatch.setattr(forgetting, "STEPS", 5)
    options = {"domain": domain, "arm": arm, "learning_rate": 1e-3, "seed": 1}
    run = forgetting.run({**options, "phase": "final"})
    for name in ("validation_losses", "home_losses", "learned", "recalled", "certainty"):
        assert len(run[name]) == forgetting.LOOKS + 1
    assert len(run["ranks"]) == 24
    assert run["recalled"][0] > 0.8
