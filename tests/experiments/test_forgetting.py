"""The pieces of the experiment on learning and forgetting."""

import pytest
import torch
from torch import nn

from gptbook.adapters import LoRALinear, add_adapters
from gptbook.experiments import forgetting
from gptbook.gpt2 import load_gpt2
from gptbook.results import read_result, select
from gptbook.tokenizer import load_tokenizer
from tests.experiments.helpers import runs_at_best_rate

# The domains whose runs are done; those of the others are going on.
COMPLETE = ("people", "reckoning")


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


def test_the_fraction_of_right_answers():
    model, tokenizer = load_gpt2("book"), load_tokenizer("book")
    home = forgetting.World()
    person = next(person for person in home.people if person.asked)
    pairs = [home.completions(person, a)[0] for a in forgetting.ATTRIBUTES]
    wrong = [(prompt, " nowhere at all.") for prompt, _ in pairs]
    right = forgetting.fraction_right(model, tokenizer, pairs)
    assert right > 0.8
    assert forgetting.fraction_right(model, tokenizer, pairs + wrong) == pytest.approx(right / 2)
    assert (
        forgetting.fraction_right(model, tokenizer, [{"instruction": "?", "output": "Yes."}]) == 0
    )
    assert forgetting.fraction_right(model, tokenizer, []) is None


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


@pytest.mark.parametrize(
    ("best", "wanted"), [(5, [4, 5, 6]), (8, [4, 5, 6, 7, 8, 9]), (2, [1, 2, 3, 4, 5, 6])]
)
def test_the_search_goes_on_while_the_best_rate_is_at_the_edge(tmp_path, monkeypatch, best, wanted):
    monkeypatch.setattr("gptbook.results.RESULTS", tmp_path)
    done = []

    def run(options):
        done.append(options["learning_rate"])
        away = abs(forgetting.GRID.index(options["learning_rate"]) - best)
        return {**options, "validation_losses": [9.0, 1.0 + away]}

    monkeypatch.setattr(forgetting, "run", run)
    rates = forgetting.searched("trial", {"arm": "a"}, forgetting.GRID[4:7])
    assert list(rates) == sorted(done) == [forgetting.GRID[i] for i in wanted]


@pytest.mark.parametrize("name", COMPLETE)
def test_a_domain_has_every_run_and_the_best_rate_of_each_arm(name):
    runs, total = read_result(f"forgetting_{name}"), 0
    for arm, how in forgetting.ARMS.items():
        setting = {"domain": name, "arm": arm}
        rates = {run["learning_rate"] for run in select(runs, arm=arm)}
        final = select(runs, arm=arm, phase="final")
        if how.slower == 1:
            final = runs_at_best_rate(runs, setting, rates, forgetting.SEEDS, "home_losses")
            assert min(rates) < final[0]["learning_rate"] < max(rates), arm
            assert len(rates) >= 5
            total += len(rates)
        else:
            usual = select(runs, arm="full", phase="final")[0]["learning_rate"]
            assert [run["seed"] for run in final] == list(forgetting.SEEDS)
            assert {run["learning_rate"] for run in final} == {how.slower * usual}
        total += len(final)
        for run in final:
            for each in ("validation_losses", "home_losses", "learned", "recalled", "certainty"):
                assert len(run[each]) == forgetting.LOOKS + 1
            assert len(run["ranks"]) == 24
    assert len(runs) == total
