"""Chapter 5's small versions against the package and transformers: choices, caches, texts."""

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from gptbook.attention import KVCache
from gptbook.exercises import drawn
from gptbook.generate import generate, pick_next
from tests.chapters.notebook import taught

chosen = taught("05", "at_temperature", "keep_top_k", "keep_top_p", "choose_one")
texts = taught(
    "05", "next_logits", "write_greedily", "write", "GrowingCache", "write_cached", "write_batch",
    "write_rows", "until_end",
)  # fmt: skip

OPTIONS = [
    {"temperature": 0.3},
    {"temperature": 1.0, "top_k": 4},
    {"temperature": 2.5, "top_p": 0.6},
    {"temperature": 0.7, "top_k": 6, "top_p": 0.8},
    {"temperature": 3.0, "top_k": 5, "top_p": 0.7},
]


@pytest.fixture
def offered(monkeypatch):
    """The probabilities from which `torch.multinomial` is asked to draw."""
    seen, multinomial = [], torch.multinomial

    def noting(p, *arguments, **options):
        seen.append(p.clone())
        return multinomial(p, *arguments, **options)

    monkeypatch.setattr(torch, "multinomial", noting)
    return seen


def of_transformers(logits, temperature, top_k=None, top_p=None):
    logits = TemperatureLogitsWarper(temperature)(None, logits)
    logits = logits if top_k is None else TopKLogitsWarper(top_k)(None, logits)
    logits = logits if top_p is None else TopPLogitsWarper(top_p)(None, logits)
    return logits.softmax(dim=-1)


@pytest.mark.parametrize("options", OPTIONS)
def test_a_choice_is_drawn_from_what_pick_next_and_transformers_would_draw_from(options, offered):
    rows = 3 * drawn((40, 12))[0]
    pick_next(rows, **options)
    for row in rows:
        assert 0 <= chosen.choose_one(row, **options) < 12
    theirs, *ours = offered
    theirs = theirs / theirs.sum(dim=-1, keepdim=True)  # multinomial divides, too
    torch.testing.assert_close(torch.stack(ours), theirs)
    torch.testing.assert_close(theirs, of_transformers(rows, **options))


def test_the_order_of_the_knobs_makes_a_difference_that_is_seen():
    rows = (3 * drawn((40, 12))[0]).double()
    right = torch.stack([chosen.keep_top_p(chosen.at_temperature(z, 2.5), 0.6) for z in rows])
    torch.testing.assert_close(right, of_transformers(rows, 2.5, top_p=0.6))
    swapped = torch.stack([chosen.keep_top_p(z.softmax(dim=0), 0.6) for z in rows])
    assert ((swapped > 0).sum(dim=1) < (right > 0).sum(dim=1)).sum() > 10


def test_filters_differentiate_as_those_of_transformers():
    rows = (2 * drawn((10, 12))[0]).double()
    weight = drawn((12,), seed=1)[0].double()
    for options in OPTIONS[1:3]:
        z = rows.clone().requires_grad_()
        (of_transformers(z, **options) @ weight).sum().backward()
        x = rows.clone().requires_grad_()
        for row in x:
            p = chosen.at_temperature(row, options["temperature"])
            p = chosen.keep_top_k(p, 4) if "top_k" in options else chosen.keep_top_p(p, 0.6)
            (p @ weight).backward(retain_graph=True)
        torch.testing.assert_close(x.grad, z.grad)


def test_greedy_is_greedy():
    rows = drawn((9, 12))[0]
    assert [chosen.choose_one(row) for row in rows] == pick_next(rows).tolist()


def test_both_caches_hand_out_the_same():
    ours, theirs = texts.GrowingCache(), KVCache(10)
    for i, T in enumerate((3, 1, 1, 4)):
        k, v = drawn((2, 4, T, 8), (2, 4, T, 8), seed=i)
        for one, other in zip(ours.append(k, v), theirs.append(k, v), strict=True):
            assert torch.equal(one, other)
        assert ours.length == theirs.length


@pytest.mark.parametrize("pieces", [[1] * 9, [4, 1, 1, 3], [9]])
def test_a_model_with_growing_caches_has_the_logits_and_gradients_of_one_without(pair, pieces):
    model, _ = pair
    ids = torch.randint(97, (2, 9), generator=torch.Generator().manual_seed(0))
    results = []
    for split in ([9], pieces):
        caches = [texts.GrowingCache() for _ in model.blocks] if split is pieces else None
        model.zero_grad()
        logits = torch.cat([model(part, caches) for part in ids.split(split, dim=1)], dim=1)
        (logits * drawn(logits.shape, seed=3)[0]).sum().backward()
        results.append([logits, *(p.grad.clone() for p in model.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def prompts():
    ids = torch.randint(97, (4, 7), generator=torch.Generator().manual_seed(8)).tolist()
    return [row[:length] for row, length in zip(ids, (7, 3, 5, 1), strict=True)]


def test_every_loop_writes_what_generate_writes(pair):
    model, _ = pair
    wanted = [row.tolist() for row in generate(model, prompts(), 12)]
    assert len({tuple(row[-12:]) for row in wanted}) > 1
    assert texts.write_rows(model, prompts(), 12) == wanted
    for prompt, row in zip(prompts(), wanted, strict=True):
        assert texts.write_greedily(model, prompt, 12) == row
        assert texts.write_cached(model, prompt, 12) == row
        assert texts.write(model, prompt, 12, lambda logits: logits.argmax().item()) == row
        batch = torch.tensor([prompt, prompt])
        assert texts.write_batch(model, batch, 12).tolist() == [row, row]


def test_rows_are_cut_where_generate_ends_them(pair):
    model, _ = pair
    free = texts.write_rows(model, prompts(), 12)
    cut_somewhere = 0
    for end in {id for row in free for id in row}:
        wanted = generate(model, prompts(), 12, eos_id=end)
        for prompt, row, ended in zip(prompts(), free, wanted, strict=True):
            assert texts.until_end(row, len(prompt), end) == ended.tolist()
            cut_somewhere += len(ended) < len(row)
    assert cut_somewhere > 4
