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
    total = 0
    for method in codes.METHODS:
        rates = (*codes.LEARNING_RATES, *codes.HIGHER.get(method, ()))
        setting, cost = {"method": method}, codes.digits_missed
        final = runs_at_best_rate(runs, setting, rates, codes.SEEDS, "accuracies", cost)
        assert final[0]["learning_rate"] not in (min(rates), max(rates))
        total += len(rates) + len(final)
    assert len(runs) == total
    for accuracies in (run["accuracies"] for run in runs):
        ended = [pair == (1.0, 1.0) for pair in pairwise(accuracies)]
        assert not any(ended[:-1])
        assert ended[-1] or len(accuracies) == codes.STEPS // codes.CHECK_EVERY


@pytest.mark.parametrize("method", ["LoRA, A frozen", "random square"])
def test_what_is_fixed_stays_and_the_change_is_what_it_says(method):
    torch.manual_seed(0)
    kind, options = codes.METHODS[method]
    layer = kind(torch.nn.Linear(12, 9), **options)
    x, before = torch.randn(5, 12), {n: b.clone() for n, b in layer.named_buffers()}
    torch.testing.assert_close(layer(x), layer.base(x))
    [(name, trained)] = [(n, p) for n, p in layer.named_parameters() if p.requires_grad]
    assert name == {"LoRA, A frozen": "lora_B", "random square": "matrix"}[method]
    trained.data.normal_()
    if method == "random square":
        k = layer.k
        change = before["expand"] @ trained @ before["compress"]
        assert [tuple(b.shape) for b in before.values()] == [(k, 12), (9, k)]
    else:
        change = trained @ before["lora_A"]  # alpha / rank is 1
    torch.testing.assert_close(layer(x), layer.base(x) + x @ change.T)
    torch.testing.assert_close(layer.merged_weight(), layer.base.weight + change)
    layer(x).square().sum().backward()
    torch.optim.AdamW(layer.parameters(), lr=0.1).step()
    assert all(torch.equal(buffer, before[n]) for n, buffer in layer.named_buffers())


def test_random_matrices_keep_norms_as_sharing_does():
    torch.manual_seed(0)
    base, x = torch.nn.Linear(192, 576), torch.randn(400, 192)
    layer = codes.RandomSquare(base, rank=1)
    sharing = codes.MoRALinear(base, rank=1)
    layer.matrix.data = sharing.matrix.data = torch.randn(layer.k, layer.k)
    ratio = layer.change(x).norm() / sharing.change(x).norm()
    assert 0.8 < ratio < 1.2
