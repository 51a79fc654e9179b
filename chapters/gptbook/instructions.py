"""From an instruction to ids and targets: the prompt, its spans, and what counts in the loss.

Chapter 8 builds it. An entry is a dict in the Alpaca form: "instruction", "output", and an "input"
that may be empty or missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from gptbook.data import IGNORE_INDEX
from gptbook.entry_files import Entry, check_entry
from gptbook.entry_files import load_entries as load_entries  # importable from here, too
from gptbook.generate import generate, never_choosing
from gptbook.model import GPT
from gptbook.modes import unwrapped
from gptbook.scoring import first_of, greedy_matches
from gptbook.tokenizer import BPETokenizer

Pieces = list[tuple[str, str]]  # (kind of span, text)
PREAMBLE = "Do what is asked.\n\n"
PREAMBLE_WITH_INPUT = "Do what is asked of the text.\n\n"
HEADERS = {
    "instruction": "### Instruction:",
    "input": "### Input:",
    "response": "### Response:",
}
# What each mask leaves out of the loss, by kind of span. Each leaves out what those before it do.
MASKS: dict[str, set[str]] = {
    "none": set(),
    "role": {"role"},
    "boilerplate": {"role", "boilerplate"},
    "instruction": {"role", "boilerplate", "instruction", "input"},
}


@dataclass(frozen=True)
class Span:
    """The ids from `start` up to, and without, `stop` are of a `kind`: "instruction", "role" …"""

    kind: str
    start: int
    stop: int


@dataclass(frozen=True)
class Example:
    """The ids of a text that ends in end-of-text, and spans that cover them without a gap."""

    ids: list[int]
    spans: list[Span]

    def text_of(self, tokenizer: BPETokenizer, kind: str) -> str:
        """The text of all spans of a kind, one after another."""
        kept = [id for s in self.spans if s.kind == kind for id in self.ids[s.start : s.stop]]
        return tokenizer.decode(kept)


def prompt_pieces(entry: Mapping[str, Any]) -> Pieces:
    """The prompt of an entry as (kind of span, text), one after another."""
    parts = [
        ("instruction", entry["instruction"].strip()),
        ("input", (entry.get("input") or "").strip()),
    ]
    preamble = PREAMBLE_WITH_INPUT if parts[1][1] else PREAMBLE
    first = (entry.get("system") or "").strip()  # what the model is told first, instead
    pieces = [("boilerplate", f"{first}\n\n" if first else preamble)]
    for kind, text in parts:
        if text:
            pieces += [("role", HEADERS[kind]), (kind, " " + text), ("boilerplate", "\n\n")]
    return [*pieces, ("role", HEADERS["response"])]


def format_prompt(entry: Mapping[str, Any]) -> str:
    """The text of an entry that the model is given, followed by a space and the response."""
    return "".join(text for _, text in prompt_pieces(entry))


def shared_start(a: Sequence[int], b: Sequence[int]) -> int:
    """How many items two lists have in common, from the beginning on."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))
    return len(list(same))


def encode_pieces(pieces: Pieces, tokenizer: BPETokenizer) -> Example:
    """Encode (kind, text) pieces as one text that ends in end-of-text; return an `Example`.

    A piece begins where the ids of the text before it, encoded alone, stop being those of the whole
    text. So a token that reaches over a border belongs to the piece after it, as it does in trl.
    """
    if tokenizer.eos_id is None:
        raise ValueError("the tokenizer has no <|endoftext|> that could end a response")
    ids = tokenizer.encode("".join(text for _, text in pieces))
    before = ""
    starts: list[int] = []
    for _, text in pieces:
        starts.append(max([shared_start(tokenizer.encode(before), ids), *starts]))  # never back
        before += text
    ids.append(tokenizer.eos_id)
    stops = [*starts[1:], len(ids)]
    spans = [Span(kind, i, j) for (kind, _), i, j in zip(pieces, starts, stops, strict=True)]
    return Example(ids, spans)


def entry_pieces(entry: Entry) -> Pieces:
    """The pieces of the whole text of an entry: its prompt, and the response behind a space."""
    check_entry(entry)
    return [*prompt_pieces(entry), ("response", " " + entry["output"].strip())]


def encode_example(entry: Entry, tokenizer: BPETokenizer) -> Example:
    """Encode prompt, output and end-of-text of an entry; return an `Example`."""
    return encode_pieces(entry_pieces(entry), tokenizer)


def encode_pair(prompt: str, completion: str, tokenizer: BPETokenizer) -> Example:
    """The same for any prompt and completion: spans "instruction" and "response"."""
    return encode_pieces([("instruction", prompt), ("response", completion)], tokenizer)


def make_labels(example: Example, mask: str = "instruction") -> list[int]:
    """Return a label for each id: the id itself, or `IGNORE_INDEX` where it does not count.

    `mask` names what is left out: "none"; "role", the headers; "boilerplate", all of the template;
    "instruction", everything but the response. Not shifted yet. The end of text always counts.
    """
    if mask not in MASKS:
        raise ValueError(f"mask={mask!r} is not one of {list(MASKS)}")
    labels = list(example.ids)
    for span in example.spans:
        if span.kind not in {"response", *MASKS["instruction"]}:
            raise ValueError(f"{span} is of no kind that a mask knows")
        if span.kind in MASKS[mask]:
            labels[span.start : span.stop] = [IGNORE_INDEX] * (span.stop - span.start)
    return labels


def collate(
    examples: Sequence[Example],
    mask: str = "instruction",
    pad_id: int = 0,
    max_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return inputs (B, T) and targets (B, T), shifted by one, of examples of any length.

    Short ones are filled up with `pad_id`, whose positions never count, whatever that id is
    elsewhere. Of more than `max_length` ids, at least 2, the first are kept.
    """
    if max_length is not None and max_length < 2:
        raise ValueError(f"max_length={max_length} leaves no input with a target")
    rows = [torch.tensor(example.ids[:max_length]) for example in examples]
    labels = [torch.tensor(make_labels(example, mask)[:max_length]) for example in examples]
    pad = torch.nn.utils.rnn.pad_sequence
    inputs = pad([row[:-1] for row in rows], batch_first=True, padding_value=pad_id)
    targets = pad([row[1:] for row in labels], batch_first=True, padding_value=IGNORE_INDEX)
    return inputs, targets


def make_instruction_loader(
    examples: Sequence[Example],
    batch_size: int,
    mask: str = "instruction",
    pad_id: int = 0,
    shuffle: bool = False,
    seed: int = 0,
    max_length: int | None = None,
) -> DataLoader:
    """Return a DataLoader of collated batches; with `shuffle`, in an order that follows `seed`.

    Raises ValueError for examples of whose response `max_length` leaves nothing.
    """
    without = [
        i
        for i, example in enumerate(examples)
        if set(make_labels(example, mask)[1:max_length]) <= {IGNORE_INDEX}
    ]
    if without:
        raise ValueError(
            f"{len(without)} of {len(examples)} examples, {first_of(without)}, have no target "
            f"within max_length={max_length}; leave them out, or allow more tokens"
        )
    return DataLoader(
        cast(Dataset, examples),  # a list will do
        batch_size,
        shuffle,
        collate_fn=lambda batch: collate(batch, mask, pad_id, max_length),
        generator=torch.Generator().manual_seed(seed),
    )


def respond(
    model: GPT,
    tokenizer: BPETokenizer,
    entries: Sequence[Mapping[str, Any]],
    max_new_tokens: int = 60,
    batch_size: int = 64,
) -> list[str]:
    """Return the model's response to each entry, a str, written greedily, in batches."""
    prompts = [tokenizer.encode(format_prompt(entry)) for entry in entries]
    return write_responses(model, tokenizer, prompts, max_new_tokens, batch_size)


def write_responses(
    model: GPT,
    tokenizer: BPETokenizer,
    prompts: Sequence[list[int]],
    max_new_tokens: int = 60,
    batch_size: int = 64,
) -> list[str]:
    """The same for prompts that are ids. Ids that stand for no token are never chosen."""
    responses: list[str] = []
    rows = range(unwrapped(model).config.vocab_size)
    with never_choosing(unwrapped(model), [i for i in rows if i not in tokenizer.token_bytes]):
        for first in range(0, len(prompts), batch_size):
            part = list(prompts[first : first + batch_size])
            texts = generate(model, part, max_new_tokens, eos_id=tokenizer.eos_id)
            for text, prompt in zip(texts, part, strict=True):
                ids = [id for id in text[len(prompt) :].tolist() if id != tokenizer.eos_id]
                responses.append(tokenizer.decode(ids).strip())
    return responses


def right_answers(model: nn.Module, examples: Sequence[Example]) -> list[bool]:
    """For each example, True if greedy generation would write its response, end included.

    Raises ValueError for one that has not exactly one response, behind a prompt.
    """
    starts: list[int] = []
    for i, example in enumerate(examples):
        found = [span.start for span in example.spans if span.kind == "response"]
        if len(found) != 1 or found[0] == 0:
            raise ValueError(f"example {i} must have one response behind a prompt, not {found}")
        starts += found
    return greedy_matches(model, [example.ids for example in examples], starts)
