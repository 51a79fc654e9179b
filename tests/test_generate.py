"""Generation: greedy against transformers, the cache, stopping, sampling, errors."""

import copy
from dataclasses import replace

import pytest
import torch

from gptbook.generate import generate, make_caches, pick_next
from gptbook.model import GPT


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
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    alone = generate(model, prompts[1:2], 12, eos_id=eos)
    assert len(calls) == alone.shape[1] - 6 <= 3  # no step for nothing after the end
    assert alone[0, -1] == eos


def unequal_prompts():
    """Four prompts of 9, 3, 6 and 1 tokens."""
    ids = torch.randint(97, (4, 9), generator=torch.Generator().manual_seed(8)).tolist()
    return [row[:length] for row, length in zip(ids, (9, 3, 6, 1), strict=True)]


def stops_of(model, prompts, new):
    """For each token that any row writes: how many each row writes if that token ends it."""
    free = [generate(model, torch.tensor([p]), new)[0, len(p) :].tolist() for p in prompts]
    return {
        eos: [row.index(eos) + 1 if eos in row else new for row in free]
        for eos in set().union(*free)
    }


@pytest.mark.parametrize("use_cache", [True, False])
def test_unequal_prompts_get_what_each_gets_alone(pair, use_cache):
    model, reference = pair
    prompts = unequal_prompts()
    stops = stops_of(model, prompts, 15)
    ends_most = max(stops, key=lambda token: len(set(stops[token])))
    assert len(set(stops[ends_most])) >= 3
    for eos in (None, ends_most):
        together = generate(model, prompts, 15, eos_id=eos, use_cache=use_cache)
        assert isinstance(together, list)
        for prompt, row in zip(prompts, together, strict=True):
            ids = torch.tensor([prompt])
            theirs = reference.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=15,
                do_sample=False,
                pad_token_id=0,
                eos_token_id=eos,
            )
            assert row.tolist() == theirs[0].tolist()
            alone = generate(model, ids, 15, eos_id=eos, use_cache=use_cache)
            assert torch.equal(row, alone[0])
        if eos is not None:
            new = [len(row) - len(p) for row, p in zip(together, prompts, strict=True)]
            assert new == stops[eos]


def test_a_prompt_that_contains_the_end_of_text_has_not_ended(pair):
    model, _ = pair
    prompts = unequal_prompts()
    eos = prompts[0][7]  # in the part that the shorter prompts' new tokens stand beside
    prompts[1][-1] = prompts[3][0] = eos  # and as the last token
    free = generate(model, prompts, 12)
    stopped = generate(model, prompts, 12, eos_id=eos)
    for prompt, row, end in zip(prompts, free, stopped, strict=True):
        new = row[len(prompt) :].tolist()
        length = new.index(eos) + 1 if eos in new else 12
        assert end.tolist() == prompt + new[:length]
    assert any(len(row) == len(p) + 12 for row, p in zip(stopped, prompts, strict=True))


def test_a_long_prompt_is_continued_after_the_others_have_ended(pair):
    model, _ = pair
    prompts = unequal_prompts()
    rows = generate(model, [prompts[0], prompts[3]], 2)  # 9 tokens and 1: no place in common
    assert [len(row) for row in rows] == [11, 3]
    for prompt, row in zip((prompts[0], prompts[3]), rows, strict=True):
        assert torch.equal(row, generate(model, torch.tensor([prompt]), 2)[0])


@pytest.mark.parametrize("options", [{"temperature": 1.5}, {"temperature": 2.0, "top_k": 20}])
def test_unequal_prompts_are_sampled_alike_with_and_without_cache(pair, options):
    def sample(seed, use_cache):
        generator = torch.Generator().manual_seed(seed)
        rows = generate(
            pair[0],
            unequal_prompts(),
            15,
            eos_id=5,
            use_cache=use_cache,
            generator=generator,
            **options,
        )
        return [row.tolist() for row in rows]

    assert sample(0, True) == sample(0, False)
    assert sample(0, True) != sample(1, True)


def test_prompts_may_be_tensors_and_of_equal_lengths(pair, prompts):
    model, _ = pair
    together = generate(model, prompts, 5)
    assert isinstance(together, torch.Tensor)
    for given in (prompts.tolist(), list(prompts)):
        rows = generate(model, given, 5)
        assert [row.tolist() for row in rows] == together.tolist()
    assert [row.tolist() for row in generate(model, [[4, 5], [6]], 0)] == [[4, 5], [6]]


def test_the_longest_prompt_must_fit_with_its_new_tokens(pair):
    message = "9 prompt tokens and 16 new ones are 25, more than context_length=24"
    with pytest.raises(ValueError, match=message):
        generate(pair[0], unequal_prompts(), 16)
    assert [len(row) for row in generate(pair[0], unequal_prompts(), 15)] == [24, 18, 21, 16]


@pytest.mark.parametrize("prompts", [[], [[1, 2], []]])
def test_prompts_without_tokens_are_refused(pair, prompts):
    with pytest.raises(ValueError, match="at least one token"):
        generate(pair[0], prompts, 3)


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


def test_every_part_gets_its_own_mode_back(pair, prompts):
    model, _ = pair
    model.train()
    model.blocks[0].eval()
    generate(model, prompts, 1)
    assert model.training
    assert not model.blocks[0].training
    assert model.blocks[1].training
    model.train()


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}, {"use_cache": False}])
def test_logits_that_are_nan_are_refused(pair, prompts, options):
    broken = copy.deepcopy(pair[0])
    with torch.no_grad():
        broken.final_norm.bias[0] = torch.nan
    with pytest.raises(ValueError, match="logits for token 4 are NaN"):
        generate(broken, prompts[:, :4], 3, **options)


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
    cases = (
        ([3, 97], None),
        ([3, 9], 97),
        ([-1, 4], None),
        ([1.5, 2.0], None),
        ([float("inf")], None),
    )
    for ids, eos_id in cases:
        with pytest.raises(ValueError, match="ids must be whole numbers from 0 to 96; got"):
            generate(pair[0], torch.tensor([ids]), 3, eos_id=eos_id)


def test_a_single_list_of_ids_is_refused(pair):
    with pytest.raises(ValueError, match="in brackets"):
        generate(pair[0], [1, 2, 3], 3)


def test_a_share_of_one_cuts_nothing():
    logits = torch.randn(50, 200, generator=torch.Generator().manual_seed(0)) * 9
    draws = [
        pick_next(logits, 1.0, None, top_p, torch.Generator().manual_seed(1)) for top_p in (None, 1)
    ]
    assert torch.equal(*draws)


@pytest.mark.parametrize("temperature", [float("nan"), float("inf")])
def test_a_temperature_that_is_no_number_is_refused(pair, prompts, temperature):
    for new in (0, 1):
        with pytest.raises(ValueError, match="temperature"):
            generate(pair[0], prompts, new, temperature)


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


def test_what_was_written_can_be_trained_on(pair, prompts):
    model, _ = pair
    ids = generate(model, prompts, 5)
    model(ids).sum().backward()  # tensors made under inference_mode would refuse
    assert model.token_embedding.weight.grad.abs().sum() > 0


def test_a_row_without_an_end_stops_after_its_own_number_of_tokens(pair, prompts):
    model, _ = pair
    rows = [prompts[0, :2], prompts[1]]
    short, long = generate(model, rows, 7)
    assert (len(short), len(long)) == (9, 13)
    assert torch.equal(short, generate(model, rows[:1], 7)[0])


def test_every_block_gets_a_cache_of_its_own_with_room_for_the_whole_text(pair):
    model, _ = pair
    caches = make_caches(model, 24)
    assert len(set(map(id, caches))) == len(model.blocks) == 3
    assert {cache.max_length for cache in caches} == {24}
    with pytest.raises(ValueError, match=r"25 tokens are more than .*context_length=24"):
        make_caches(model, 25)


def test_a_model_without_blocks_writes_with_and_without_caches(pair, prompts):
    config = replace(pair[0].config, num_layers=0)
    model = GPT(config)
    runs = [generate(model, prompts, 5, use_cache=use_cache) for use_cache in (True, False)]
    assert torch.equal(*runs)


def test_the_head_computes_the_last_position_only(pair, prompts):
    model, seen = pair[0], []
    hook = model.head.register_forward_hook(lambda module, given, y: seen.append(y.shape[1]))
    generate(model, prompts, 3)
    generate(model, prompts, 3, use_cache=False)
    hook.remove()
    assert seen == [1] * 6
    assert model(prompts).shape[1] == prompts.shape[1]  # as before, afterwards
