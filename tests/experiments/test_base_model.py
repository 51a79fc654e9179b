"""The base model that comes with the book is the one of its record."""

import pytest
import torch
from transformers import GPT2LMHeadModel

from gptbook.experiments.base_model import BATCH, MEASURE_EVERY, PHASES, SEED, SHAPE
from gptbook.gpt2 import BOOK, load_gpt2
from gptbook.results import read_result
from gptbook.scoring import accuracy, exact_matches
from gptbook.tokenizer import load_tokenizer
from gptbook.world import World


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
    record = read_result("base_model")
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
    tracking = accuracy(exact_matches(model, load_tokenizer("book"), probes))
    assert tracking == pytest.approx(record["curve"][-1]["tracking"], abs=0.1)
