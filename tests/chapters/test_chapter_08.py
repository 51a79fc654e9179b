"""Chapter 8's labels and batches beside the package's, on entries of every task and on odd ones."""

from itertools import accumulate

import pytest
import torch
from datasets import Dataset
from transformers import GPT2LMHeadModel
from trl import pack_dataset

from gptbook.chats import encode_entry
from gptbook.files import ASSETS
from gptbook.gpt2 import load_gpt2
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
    "label_response", "LEFT_OUT", "small_labels", "packed_logits",
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


def test_packed_logits_are_those_of_transformers_on_rows_of_trl():
    examples = [encode_example(e, chapter.tokenizer) for e in ENTRIES["validation"][:12]]
    columns = {"input_ids": [e.ids for e in examples], "labels": list(map(make_labels, examples))}
    rows = pack_dataset(Dataset.from_dict(columns), seq_length=256)
    model = load_gpt2("book").eval()
    theirs = GPT2LMHeadModel.from_pretrained(ASSETS / "base").eval()
    by_ids = {tuple(e.ids): e for e in examples}
    assert any(len(lengths) > 2 for lengths in rows["seq_lengths"])
    for ids, labels, lengths in zip(
        *(rows[n] for n in ("input_ids", "labels", "seq_lengths")), strict=True
    ):
        ends = list(accumulate(lengths))
        packed = [by_ids[tuple(ids[end - n : end])] for n, end in zip(lengths, ends, strict=True)]
        assert [label for each in packed for label in make_labels(each)] == labels
        positions = torch.cat([torch.arange(n) for n in lengths])[None]
        with torch.no_grad():
            row = torch.tensor([ids])
            wanted = theirs(row, position_ids=positions, use_cache=False).logits[0]
        torch.testing.assert_close(
            chapter.packed_logits(model, packed, True, True), wanted, rtol=1e-3, atol=1e-3
        )
        half = chapter.packed_logits(model, packed, False, True)
        assert len(packed) == 1 or (half - wanted).abs().max() > 1
