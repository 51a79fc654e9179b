"""What litgpt's tests of masking and sampling look at, asked of this book. Nothing here is theirs.

We differ, on purpose: a text that would outgrow the context is refused before it begins, by a
ValueError; a nucleus of size 0 is refused, and not greedy; the end of text is always a target.
"""

import pytest
import torch

from gptbook.data import IGNORE_INDEX
from gptbook.generate import generate, pick_next
from gptbook.instructions import collate, encode_example, encode_pair, format_prompt, make_labels
from gptbook.model import GPT, GPTConfig
from gptbook.tokenizer import load_tokenizer

TOKENIZER = load_tokenizer("book")
ENTRIES = [
    {"instruction": "Name the first letter.", "input": "hen", "output": "h"},
    {"instruction": "Say how many there are of the things here.", "output": "There are two."},
    {"instruction": "Is it so?", "input": "", "output": "Yes, it is, and it has always been."},
]
CONFIG = GPTConfig(vocab_size=40, context_length=32, embed_dim=16, num_layers=2, num_heads=2)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = GPT(CONFIG)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.eval()


# -- masking


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_masked_prompt_has_no_target_and_the_answer_all(entry):
    example = encode_example(entry, TOKENIZER)
    prompt = len(TOKENIZER.encode(format_prompt(entry)))
    labels = make_labels(example, "instruction")
    assert labels[:prompt] == [IGNORE_INDEX] * prompt
    assert labels[prompt:] == example.ids[prompt:]
    assert make_labels(example, "none") == example.ids


def test_the_input_is_part_of_the_prompt_if_there_is_one():
    assert "### Input: hen" in format_prompt(ENTRIES[0])
    for entry in ENTRIES[1:]:
        assert "### Input" not in format_prompt(entry)


@pytest.mark.parametrize("mask", ["none", "instruction"])
@pytest.mark.parametrize("pad_id", [0, 7])
def test_batches_are_padded_and_padding_is_no_target(mask, pad_id):
    examples = [encode_example(entry, TOKENIZER) for entry in ENTRIES]
    inputs, targets = collate(examples, mask, pad_id)
    longest = max(len(example.ids) for example in examples)
    assert inputs.shape == targets.shape == (3, longest - 1)
    for row, target, example in zip(inputs, targets, examples, strict=True):
        size = len(example.ids)
        assert row[: size - 1].tolist() == example.ids[:-1]
        assert (row[size:] == pad_id).all()
        assert (target[size - 1 :] == IGNORE_INDEX).all()
        assert target[size - 2] == TOKENIZER.eos_id


@pytest.mark.parametrize("max_length", [10, 1000])
def test_long_texts_are_cut_at_their_end(max_length):
    examples = [encode_example(entry, TOKENIZER) for entry in ENTRIES]
    inputs, targets = collate(examples, "none", max_length=max_length)
    for row, target, example in zip(inputs, targets, examples, strict=True):
        kept = example.ids[:max_length]
        assert row[: len(kept) - 1].tolist() == kept[:-1]
        assert target[: len(kept) - 1].tolist() == kept[1:]


def test_prompt_and_completion_of_any_kind():
    example = encode_pair("2 + 2 =", " 4", TOKENIZER)
    labels = [label for label in make_labels(example) if label != IGNORE_INDEX]
    assert TOKENIZER.decode(labels[:-1]) == " 4"
    assert labels[-1] == TOKENIZER.eos_id


# -- sampling


def test_only_the_first_is_greedy():
    logits = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    greedy = logits.argmax(dim=-1)
    assert torch.equal(pick_next(logits), greedy)
    for _ in range(5):
        assert torch.equal(pick_next(logits, 1.0, top_k=1), greedy)
        assert torch.equal(pick_next(logits, 1.0, top_p=1e-6), greedy)
        assert torch.equal(pick_next(logits, 1e-4), greedy)


@pytest.mark.parametrize(
    ("top_p", "allowed"),
    [
        (0.1, {2}),
        (0.39, {2}),
        (0.41, {2, 0}),
        (0.69, {2, 0}),
        (0.71, {2, 0, 1}),
        (1.0, {0, 1, 2, 3}),
    ],
)
def test_the_nucleus_is_the_fewest_that_hold_so_much(top_p, allowed):
    logits = torch.tensor([0.3, 0.2, 0.4, 0.1]).log().expand(2000, 4)
    generator = torch.Generator().manual_seed(0)
    drawn = pick_next(logits, 1.0, top_p=top_p, generator=generator)
    assert set(drawn.tolist()) == allowed


@pytest.mark.parametrize("top_k", [1, 2, 3, 4, 100])
def test_of_the_k_best_all_are_drawn_and_no_other(top_k):
    logits = torch.tensor([0.3, 0.2, 0.4, 0.1]).log().expand(2000, 4)
    drawn = pick_next(logits, 1.0, top_k, generator=torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == set([2, 0, 1, 3][:top_k])


def test_frequencies_are_the_probabilities():
    wanted = torch.tensor([0.3, 0.2, 0.4, 0.1])
    generator = torch.Generator().manual_seed(0)
    drawn = pick_next(wanted.log().expand(40_000, 4), 1.0, generator=generator)
    found = drawn.bincount(minlength=4) / 40_000
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.01)
    hot = pick_next(wanted.log().expand(40_000, 4), 2.0, generator=generator)
    torch.testing.assert_close(
        hot.bincount(minlength=4) / 40_000, wanted.sqrt() / wanted.sqrt().sum(), rtol=0, atol=0.01
    )


def test_the_text_is_the_prompt_and_so_many_tokens_more(model):
    prompt = torch.randint(40, (1, 5))
    text = generate(model, prompt, 9)
    assert text.shape == (1, 14)
    assert torch.equal(text[:, :5], prompt)


def test_the_cache_changes_no_token(model):
    prompt = torch.randint(40, (2, 5))
    assert torch.equal(generate(model, prompt, 20), generate(model, prompt, 20, use_cache=False))


def test_an_end_token_ends_the_text(model):
    prompt = torch.randint(40, (1, 5))
    whole = generate(model, prompt, 12)[0].tolist()
    end = whole[8]
    stopped = generate(model, [prompt[0]], 12, eos_id=end)[0].tolist()
    assert stopped == whole[: whole.index(end, 5) + 1]


def test_a_text_beyond_the_context_is_refused_before_it_begins(model):
    prompt = torch.randint(40, (1, 30))
    assert generate(model, prompt, 2).shape == (1, 32)
    with pytest.raises(ValueError, match="more than context_length=32"):
        generate(model, prompt, 3)


@pytest.mark.parametrize("options", [{"top_p": 0.0}, {"top_p": 1.1}, {"top_k": 0}])
def test_options_out_of_range_are_refused(model, options):
    with pytest.raises(ValueError, match="top_p"):
        generate(model, torch.zeros(1, 2, dtype=torch.long), 2, temperature=1.0, **options)
