"""What comes with the book: the base model, and the results that figures are drawn from."""

import json
from pathlib import Path

import pytest
import torch
from transformers import GPT2LMHeadModel

from gptbook.experiments.base_model import BATCH, MEASURE_EVERY, RATE, SEED, SHAPE, STEPS
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
    model, config = load_gpt2("book"), {**SHAPE, "batch": BATCH, "rate": RATE, "seed": SEED}
    for name, value in {**config, "steps": STEPS}.items():
        assert record["options"][name] == value
    for name, value in SHAPE.items():
        assert getattr(model.config, name) == value
    assert [row["step"] for row in record["curve"]] == list(
        range(MEASURE_EVERY, STEPS + 1, MEASURE_EVERY)
    )
    probes = [
        probe
        for document in World().documents(400, "validation")
        if document.kind == "things"
        for probe in document.probes
    ]
    tracking = share(exact_matches(model, load_tokenizer("book"), probes))
    assert tracking == pytest.approx(record["curve"][-1]["tracking"], abs=0.1)


def test_repetition_has_every_run():
    runs = read("repetition")
    assert sorted((run["epochs"], run["seed"]) for run in runs) == sorted(
        (epochs, seed) for epochs in EPOCHS for seed in SEEDS
    )
