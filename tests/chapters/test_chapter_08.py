"""Chapter 8's labels and batches beside the package's, on entries of every task and on odd ones."""

import pytest
import torch

from gptbook.chats import encode_entry
from gptbook.instructions import (
    MASKS,
    collate,
    encode_example,
    encode_pair,
    format_prompt,
    make_labels,
)
from gptbook.training import next_token_loss
from gptbook.world import SPLITS, load_examples
from tests.chapters.notebook import taught

chapter = taught(
    "08", "tokenizer", "base", "device", "small_prompt", "small_example", "small_batch",
    "label_response", "LEFT_OUT", "small_labels",
)  # fmt: skip
ODD = [
    {"instruction": "Say ünï 🐔.", "input": "", "output": "日本 …"},
    {"instruction": "### Response: no.", "input": "### Input:", "output": "<|endoftext|>"},
]
ENTRIES, EXAMPLES = load_examples(SPLITS[:2], chapter.tokenizer)
SOME = [*ENTRIES["validation"], *ENTRIES["training"][:500], *ODD]


def test_prompts_are_the_packages():
    for entry in SOME:
        assert chapter.small_prompt(entry) == format_prompt(entry)


def test_labels_are_the_packages():
    for entry in SOME:
        example = encode_example(entry, chapter.tokenizer)
        assert chapter.small_example(entry) == (example.ids, make_labels(example, "instruction"))
        for mask in MASKS:
            assert chapter.small_labels(example, mask) == make_labels(example, mask)
    assert {mask: set(kinds) for mask, kinds in chapter.LEFT_OUT.items()} == MASKS


@pytest.mark.parametrize(
    ("prompt", "response"),
    [("The kit", "e and a hat"), ("a", "b"), ("The red ", "kite"), ("", "x"), ("3", "4 = 7")],
)
def test_a_response_begins_where_the_package_lets_it_begin(prompt, response):
    example = encode_pair(prompt, response, chapter.tokenizer)
    labels = make_labels(example, "instruction")
    assert chapter.label_response(prompt, response) == (example.ids, labels)


@pytest.mark.parametrize("pad_id", [0, 2047])
def test_batches_losses_and_gradients_are_the_packages(pad_id):
    entries = [*SOME[:7], *ODD]
    ours = chapter.small_batch([chapter.small_example(e) for e in entries], pad_id)
    encoded = [encode_entry(e, chapter.tokenizer) for e in entries]
    theirs = collate(encoded, "instruction", pad_id)
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])
    losses = []
    for inputs, targets in (ours, theirs):
        chapter.base.zero_grad()
        inputs, targets = inputs.to(chapter.device), targets.to(chapter.device)
        loss = next_token_loss(chapter.base(inputs), targets)
        loss.backward()
        losses.append((loss.item(), chapter.base.blocks[0].norm1.weight.grad.clone()))
    assert losses[0][0] == losses[1][0]
    assert torch.equal(losses[0][1], losses[1][1])
