"""The runs on random codes."""

from itertools import pairwise

import pytest
import torch

from gptbook.experiments import codes
from gptbook.results import read_result
from gptbook.tokenizer import load_tokenizer
from tests.experiments.helpers import runs_at_best_rate


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


def test_codes_has_every_run_and_the_best_rate_of_each_method():
    runs = read_result("codes")
    assert len(runs) == len(codes.METHODS) * (len(codes.LEARNING_RATES) + len(codes.SEEDS))
    for method in codes.METHODS:
        setting, cost = {"method": method}, codes.digits_missed
        runs_at_best_rate(runs, setting, codes.LEARNING_RATES, codes.SEEDS, "accuracies", cost)
    for accuracies in (run["accuracies"] for run in runs):
        ended = [pair == (1.0, 1.0) for pair in pairwise(accuracies)]
        assert not any(ended[:-1])
        assert ended[-1] or len(accuracies) == codes.STEPS // codes.CHECK_EVERY
