"""Generation: greedy against transformers, the cache, stopping, sampling, errors."""

import pytest
import torch

from gptbook.generate import generate, pick_next


@pytest.fixture
def prompts():
    return torch.randint(97, (4, 6), generator=torch.Generator().manual_seed(5))


def test_greedy_equals_transformers(pair, prompts):
    model, reference = pair
    ids = generate(model, prompts, 18)
    mask = torch.ones_like(prompts)
    theirs = reference.generate(
        prompts,
        attention_mask=mask,
        max_new_tokens=18,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=None,
    )
    assert torch.equal(ids, theirs)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 1.0},
        {"temperature": 0.8, "top_k": 5},
        {"temperature": 2.0, "top_p": 0.7},
    ],
)
def test_the_cache_changes_nothing(pair, prompts, options):
    model, _ = pair
    runs = [
        generate(
            model,
            prompts,
            18,
            use_cache=cached,
            generator=torch.Generator().manual_seed(0),
            **options,
        )
        for cached in (True, False)
    ]
    assert torch.equal(*runs)


def test_a_row_does_not_depend_on_the_others(pair, prompts):
    model, _ = pair
    together = generate(model, prompts, 10)
    for row in range(4):
        assert torch.equal(generate(model, prompts[row : row + 1], 10)[0], together[row])


def test_rows_stop_at_the_end_of_text(pair, prompts):
    model, _ = pair
    free = generate(model, prompts, 12)
    eos = free[1, 8].item()  # the second row writes this as its third new token, if not before
    stopped = generate(model, prompts, 12, eos_id=eos)
    for row in range(4):
        new = free[row, 6:].tolist()
        length = new.index(eos) + 1 if eos in new else len(new)
        wanted = (new[:length] + [eos] * 12)[: stopped.shape[1] - 6]
        assert stopped[row, 6:].tolist() == wanted
    alone = generate(model, prompts[1:2], 12, eos_id=eos)
    assert alone.shape[1] <= 9
    assert alone[0, -1] == eos


def test_seeds_repeat_and_differ(pair, prompts):
    model, _ = pair

    def sample(seed):
        generator = torch.Generator().manual_seed(seed)
        return generate(model, prompts, 18, temperature=1.5, generator=generator)

    assert torch.equal(sample(0), sample(0))
    assert not torch.equal(sample(0), sample(1))


def test_the_mode_of_the_model_is_kept(pair, prompts):
    model, _ = pair
    for training in (True, False):
        model.train(training)
        generate(model, prompts, 1)
        assert model.training is training


LOGITS = torch.tensor([[2.0, 0.0, 1.0, -1.0]]).log_softmax(-1)


def frequencies(**options):
    draws = pick_next(
        LOGITS.expand(20_000, 4), generator=torch.Generator().manual_seed(0), **options
    )
    return torch.bincount(draws, minlength=4) / 20_000


def test_sampling_follows_the_probabilities():
    torch.testing.assert_close(frequencies(temperature=1.0), LOGITS[0].exp(), rtol=0, atol=0.02)
    hot = (LOGITS[0] / 2).softmax(-1)
    torch.testing.assert_close(frequencies(temperature=2.0), hot, rtol=0, atol=0.02)


def test_top_k_and_top_p_keep_the_most_likely():
    p = LOGITS[0].exp()  # 0.64, 0.09, 0.24, 0.03
    two = torch.stack([p[0], 0 * p[1], p[2], 0 * p[3]]) / (p[0] + p[2])
    torch.testing.assert_close(frequencies(temperature=1.0, top_k=2), two, rtol=0, atol=0.02)
    torch.testing.assert_close(frequencies(temperature=1.0, top_p=0.8), two, rtol=0, atol=0.02)
    assert frequencies(temperature=1.0, top_p=0.3)[0] == 1
    assert frequencies(temperature=1.0, top_k=1)[0] == 1
    assert (frequencies(temperature=1.0, top_k=99, top_p=1.0) > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"max_new_tokens": 19},
            "6 prompt tokens and 19 new ones are 25, more than context_length=24",
        ),
        (
            {"max_new_tokens": 1, "temperature": -1.0},
            "temperature=-1.0 must be 0 or a positive number",
        ),
        ({"max_new_tokens": 1, "top_k": 0}, "need top_k >= 1"),
        ({"max_new_tokens": 1, "top_p": 1.5}, "0 < top_p <= 1"),
    ],
)
def test_bad_options_are_refused(pair, prompts, options, message):
    with pytest.raises(ValueError, match=message):
        generate(pair[0], prompts, **options)


def test_an_empty_prompt_is_refused(pair):
    with pytest.raises(ValueError, match="at least one token"):
        generate(pair[0], torch.zeros(1, 0, dtype=torch.long), 3)


def test_an_id_that_the_model_does_not_know_is_refused(pair):
    with pytest.raises(ValueError, match="id 97 is not below vocab_size=97"):
        generate(pair[0], torch.tensor([[3, 97]]), 3)


@pytest.mark.parametrize("temperature", [float("nan"), float("inf")])
def test_a_temperature_that_is_no_number_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature"):
        pick_next(LOGITS, temperature)


def test_a_tiny_temperature_is_greedy_and_ties_are_cut():
    assert frequencies(temperature=1e-39)[0] == 1
    draws = pick_next(torch.zeros(1000, 5), temperature=1.0, top_k=2)
    assert len(draws.unique()) == 2


def test_nothing_new_is_asked_for(pair, prompts):
    assert torch.equal(generate(pair[0], prompts, 0), prompts)
    with pytest.raises(ValueError, match="max_new_tokens >= 0"):
        generate(pair[0], prompts, -1)
    with pytest.raises(ValueError, match=r"shape \(B, T\)"):
        generate(pair[0], prompts[0], 3)


def test_the_mode_of_the_model_is_kept_after_an_error(pair, prompts):
    model, _ = pair
    model.train()
    with pytest.raises(ValueError, match="temperature"):
        generate(model, prompts, 3, temperature=-1.0)
    assert model.training
