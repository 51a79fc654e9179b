"""What comes with the book: the base model, and the results that figures are drawn from."""

import json
from itertools import pairwise, product
from pathlib import Path

import pytest
import torch
from transformers import GPT2LMHeadModel

from gptbook.experiments import adapters, codes, continued, finetuning, masking, measures
from gptbook.experiments.ablation import CENTER, CHANGES, FLOPS, flops_per_token
from gptbook.experiments.base_model import BATCH, MEASURE_EVERY, PHASES, SEED, SHAPE
from gptbook.experiments.repetition import EPOCHS, SEEDS
from gptbook.gpt2 import BOOK, load_gpt2
from gptbook.scoring import exact_matches, share
from gptbook.tokenizer import load_tokenizer
from gptbook.world import World

RESULTS = Path(__file__).resolve().parents[1] / "chapters" / "results"


def read(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def test_the_base_model_is_small_and_opens_in_transformers():
    assert sum(path.stat().st_size for path in BOOK.iterdir()) < 25e6
    ours = load_gpt2("book").double().eval()
    theirs = GPT2LMHeadModel.from_pretrained(BOOK).double().eval()
    torch.manual_seed(0)
    ids = torch.randint(ours.config.vocab_size, (2, 100))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, rtol=1e-10, atol=1e-10)
    assert theirs.config.eos_token_id == load_tokenizer("book").eos_id


def test_the_base_model_is_the_one_of_the_record():
    record = read("base_model")
    model, config = load_gpt2("book"), {**SHAPE, "batch": BATCH, "seed": SEED, "phases": PHASES}
    for name, value in config.items():
        assert record["options"][name] == value
    for name, value in SHAPE.items():
        assert getattr(model.config, name) == value
    steps = sum(phase["steps"] for phase in PHASES)
    assert [row["step"] for row in record["curve"]] == list(
        range(MEASURE_EVERY, steps + 1, MEASURE_EVERY)
    )
    assert len(record["losses"]) == steps // 50
    probes = [
        probe
        for document in World().documents(400, "validation")
        if document.kind == "things"
        for probe in document.probes
    ]
    tracking = share(exact_matches(model, load_tokenizer("book"), probes))
    assert tracking == pytest.approx(record["curve"][-1]["tracking"], abs=0.1)


def test_the_ablation_changes_one_thing_at_a_time():
    runs = read("ablation")
    assert {name: runs[0][name] for name in CENTER} == CENTER
    assert len(runs) == len(CHANGES)
    for run in runs:
        assert {name: run[name] for name in CENTER} in [CENTER | change for change in CHANGES]
        tokens = FLOPS / flops_per_token(run["width"], run["layers"], run["vocabulary"])
        assert run["tokens"] == pytest.approx(tokens, rel=0.01)


def test_the_best_rate_is_searched_with_one_seed_and_run_with_others(tmp_path, monkeypatch):
    monkeypatch.setattr(measures, "RESULTS", tmp_path)
    done = []

    def run(options):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(options)
        # With "a", the rate 0.1 is best halfway; with "b", 0.2 is.
        low = {"a": 0.1, "b": 0.2}[options["variant"]] == options["rate"]
        return {**options, "validation_losses": [1 if low else 3, 2]}

    settings = [{"variant": "a"}, {"variant": "b"}]
    arguments = ("trial", settings, (0.1, 0.2), (7, 8), run)
    with pytest.raises(KeyboardInterrupt):
        measures.run_at_best_rate(*arguments)
    done.append("interrupted")
    measures.run_at_best_rate(*arguments)
    searched = [(o["variant"], o["rate"], o["seed"]) for o in done[:4]]
    assert searched == [(v, r, measures.SEARCH_SEED) for v in "ab" for r in (0.1, 0.2)]
    rest = [(o["variant"], o["rate"], o["seed"]) for o in done[4:] if o != "interrupted"]
    assert rest == [(v, r, s) for s in (7, 8) for v, r in (("a", 0.1), ("b", 0.2))]


def test_the_best_rate_is_the_one_of_the_least_cost(tmp_path, monkeypatch):
    monkeypatch.setattr(measures, "RESULTS", tmp_path)
    accuracies = {1: [0.5, 1.0, 1.0], 2: [0.9] * 20, 3: [0.8, 1.0, 1.0]}
    done = []

    def run(options):
        done.append(options)
        return {**options, "accuracies": accuracies[options["rate"]]}

    settings = [{"method": "a"}]
    measures.run_at_best_rate("trial", settings, (1, 2, 3), (7,), run, cost=codes.digits_missed)
    assert done[3:] == [{"method": "a", "rate": 3, "seed": 7}]


def test_digits_are_compared_place_by_place(monkeypatch):
    tokenizer = load_tokenizer("book")
    said = {"11": " 12345678 x", "22": " 1234567", "33": " 02345678", "44": "", "55": "1 2345678"}

    def write(model, prompts, *_, **__):
        answers = [said[tokenizer.decode(prompt).split()[0]] for prompt in prompts]
        both = zip(prompts, answers, strict=True)
        return [torch.tensor(prompt + tokenizer.encode(answer)) for prompt, answer in both]

    monkeypatch.setattr(codes, "generate", write)
    pairs = [(key, "12345678") for key in said]
    right = codes.character_accuracy(None, tokenizer, pairs) * 40
    assert right == pytest.approx(8 + 7 + 7 + 0 + 1)


def runs_at_best_rate(runs, setting, rates, seeds, measured, cost=measures.lowest_loss):
    """Check the search and the seeds of a setting; return its runs that hold `measured`."""
    own = [run for run in runs if setting.items() <= run.items()]
    search = [run for run in own if run["seed"] == measures.SEARCH_SEED]
    assert sorted(run["rate"] for run in search) == sorted(rates)
    best = min(search, key=cost)["rate"]
    chosen = [run for run in own if run["seed"] != measures.SEARCH_SEED]
    assert all(run[measured] for run in chosen)
    assert [(run["rate"], run["seed"]) for run in chosen] == [(best, seed) for seed in seeds]
    return chosen


def test_masking_has_every_run_and_the_best_rate_of_each_variant():
    runs = read("masking")
    grid = [(s, t, v) for s in masking.SIZES for t in masking.TASKS for v in masking.VARIANTS]
    assert len(runs) == len(grid) * (len(masking.RATES) + len(masking.SEEDS))
    for size, tasks, variant in grid:
        setting = {"size": size, "tasks": tasks, "variant": variant}
        runs_at_best_rate(runs, setting, masking.RATES, masking.SEEDS, "last_exact_match")


def test_adapters_has_every_run_and_the_best_rate_of_each_way():
    runs = read("adapters")
    ways = [(adapters.FULL, adapters.FULL_RATES)]
    ways += [(way, adapters.RATES) for way in adapters.ADAPTERS]
    assert len(runs) == sum(len(rates) + len(adapters.SEEDS) for _, rates in ways)
    for way, rates in ways:
        chosen = runs_at_best_rate(runs, way, rates, adapters.SEEDS, "new words")
        looks = adapters.CHECKS if way["targets"] == "all" else 0
        assert all(list(map(len, run["changes"])) == [24] * looks for run in chosen)


def test_codes_has_every_run_and_the_best_rate_of_each_method():
    runs = read("codes")
    assert len(runs) == len(codes.METHODS) * (len(codes.RATES) + len(codes.SEEDS))
    for method in codes.METHODS:
        setting, cost = {"method": method}, codes.digits_missed
        runs_at_best_rate(runs, setting, codes.RATES, codes.SEEDS, "accuracies", cost)
    for accuracies in (run["accuracies"] for run in runs):
        ended = [pair == (1.0, 1.0) for pair in pairwise(accuracies)]
        assert not any(ended[:-1])
        assert ended[-1] or len(accuracies) == codes.STEPS // codes.CHECK_EVERY


def test_continued_has_every_run_and_the_best_rate_of_each_method():
    runs = read("continued")
    assert len(runs) == len(continued.METHODS) * (len(continued.RATES) + len(continued.SEEDS))
    for method in continued.METHODS:
        setting = {"method": method}
        runs_at_best_rate(runs, setting, continued.RATES, continued.SEEDS, "recall")
    assert all(len(run["validation_losses"]) == continued.CHECKS for run in runs)


def test_finetuning_has_every_run():
    found = [
        ({"template": run["template"], "embeddings": run["embeddings"]}, run["rate"], run["seed"])
        for run in read("finetuning")
    ]
    wanted = list(product(finetuning.VARIANTS, finetuning.RATES, finetuning.SEEDS))
    assert len(found) == len(wanted)
    assert all(one in found for one in wanted)


def test_repetition_has_every_run():
    runs = read("repetition")
    assert sorted((run["epochs"], run["seed"]) for run in runs) == sorted(
        (epochs, seed) for epochs in EPOCHS for seed in SEEDS
    )
