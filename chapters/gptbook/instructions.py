"""From an instruction to ids and targets: the prompt, its spans, and what counts in the loss.

Chapter 6 builds it. An entry is a dict in the Alpaca form: "instruction", "output", and an "input"
that may be empty or missing.
"""

import json
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import torch

from gptbook.generate import generate
from gptbook.scoring import greedy_matches

IGNORE_INDEX = -100  # a target with this id does not count in the loss
PREAMBLE = "Do what is asked.\n\n"
PREAMBLE_WITH_INPUT = "Do what is asked of the text.\n\n"
HEADERS = {
    "instruction": "### Instruction:",
    "input": "### Input:",
    "response": "### Response:",
}
# What each mask leaves out of the loss, by kind of span. Each leaves out what those before it do.
MASKS = {
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

    ids: list
    spans: list

    def text_of(self, tokenizer, kind):
        """The text of all spans of a kind, one after another."""
        kept = [id for s in self.spans if s.kind == kind for id in self.ids[s.start : s.stop]]
        return tokenizer.decode(kept)


def load_entries(path):
    """Read a JSON list of entries; ValueError names the file, the entry and what is wrong."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8-sig"))  # with or without BOM
    except ValueError as error:  # not UTF-8, or not JSON
        raise ValueError(f"{path} is not one JSON list in UTF-8: {error}") from None
    if not isinstance(entries, list) or not entries:
        kind = "an empty one" if entries == [] else type(entries).__name__
        raise ValueError(f"{path} must hold a list of entries, not {kind}")
    for i, entry in enumerate(entries):
        try:
            check_entry(entry)
        except ValueError as error:
            raise ValueError(f"{path}, entry {i}: {error}") from None
    return entries


def check_entry(entry):
    """Raise ValueError unless an entry has an instruction and an output, and all are strings."""
    if not isinstance(entry, dict):
        raise ValueError(f"must be an object with fields, not {type(entry).__name__}")
    for field in ("instruction", "output"):
        if field not in entry:
            raise ValueError(f"has no {field!r}; its fields are {sorted(entry)}")
    for field in ("instruction", "input", "output"):
        value = entry.get(field, "")
        if field == "input" and value is None:
            continue  # as good as missing
        if not isinstance(value, str):
            raise ValueError(f"{field!r} must be a string, not {type(value).__name__}")
        if field != "input" and not value.strip():
            raise ValueError(f"{field!r} is empty")


def prompt_pieces(entry):
    """The prompt of an entry as (kind of span, text), one after another."""
    parts = [
        ("instruction", entry["instruction"].strip()),
        ("input", (entry.get("input") or "").strip()),
    ]
    pieces = [("boilerplate", PREAMBLE_WITH_INPUT if parts[1][1] else PREAMBLE)]
    for kind, text in parts:
        if text:
            pieces += [("role", HEADERS[kind]), (kind, " " + text), ("boilerplate", "\n\n")]
    return [*pieces, ("role", HEADERS["response"])]


def format_prompt(entry):
    """The text of an entry that the model is given; it goes on with a space and the response."""
    return "".join(text for _, text in prompt_pieces(entry))


def shared_start(a, b):
    """How many items two lists have in common, from the beginning on."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))
    return len(list(same))


def encode_pieces(pieces, tokenizer):
    """Encode (kind, text) pieces as one text that ends in end-of-text; return an `Example`.

    A piece begins where the ids of the text before it, encoded alone, stop being those of the whole
    text. So a token that reaches over a border belongs to the piece after it, as it does in trl.
    """
    if tokenizer.eos_id is None:
        raise ValueError("the tokenizer has no <|endoftext|> that could end a response")
    ids = tokenizer.encode("".join(text for _, text in pieces))
    before, starts = "", []
    for _, text in pieces:
        starts.append(max([shared_start(tokenizer.encode(before), ids), *starts]))  # never back
        before += text
    ids.append(tokenizer.eos_id)
    stops = [*starts[1:], len(ids)]
    spans = [Span(kind, i, j) for (kind, _), i, j in zip(pieces, starts, stops, strict=True)]
    return Example(ids, spans)


def entry_pieces(entry):
    """The pieces of the whole text of an entry: its prompt, and the response behind a space."""
    check_entry(entry)
    return [*prompt_pieces(entry), ("response", " " + entry["output"].strip())]


def encode_example(entry, tokenizer):
    """Encode prompt, output and end-of-text of an entry; return an `Example`."""
    return encode_pieces(entry_pieces(entry), tokenizer)


def encode_pair(prompt, completion, tokenizer):
    """The same for any prompt and completion: spans "instruction" and "response"."""
    return encode_pieces([("instruction", prompt), ("response", completion)], tokenizer)


def encode_dialogue(turns, tokenizer):
    """Encode [{"role": "user" or "assistant", "content": …}, …], each answer with end-of-text.

    Raises ValueError unless user and assistant take turns and both say something.
    """
    ids, spans, pieces = [], [], [("boilerplate", PREAMBLE)]
    for i, turn in enumerate(turns):
        role, kind = [("user", "instruction"), ("assistant", "response")][i % 2]
        content = turn.get("content")
        if turn.get("role") != role or not isinstance(content, str) or not content.strip():
            raise ValueError(f"turn {i} must have the role {role!r} and a text; it is {turn}")
        pieces += [("role", HEADERS[kind]), (kind, " " + content.strip())]
        if kind == "instruction":
            pieces.append(("boilerplate", "\n\n"))
            continue
        part = encode_pieces(pieces, tokenizer)
        spans += [Span(s.kind, s.start + len(ids), s.stop + len(ids)) for s in part.spans]
        ids, pieces = ids + part.ids, []
    if pieces:
        raise ValueError("a dialogue must end with a turn of the assistant")
    return Example(ids, spans)


def make_labels(example, mask="instruction"):
    """Return a label for each id: the id itself, or `IGNORE_INDEX` where it shall not count.

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


def collate(examples, mask="instruction", pad_id=0, max_length=None):
    """Return inputs (B, T) and targets (B, T), shifted by one, of examples of any length.

    Short ones are filled up with `pad_id`, whose places never count, whatever that id is elsewhere.
    Of more than `max_length` ids, at least 2, the first are kept.
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
    examples, batch_size, mask="instruction", pad_id=0, shuffle=False, seed=0, max_length=None
):
    """Return a DataLoader of collated batches; with `shuffle`, in an order that follows `seed`."""
    return torch.utils.data.DataLoader(
        examples,
        batch_size,
        shuffle,
        collate_fn=lambda batch: collate(batch, mask, pad_id, max_length),
        generator=torch.Generator().manual_seed(seed),
    )


def respond(model, tokenizer, entries, max_new_tokens=60):
    """Return the model's response to each entry, a str, written greedily."""
    if not entries:
        return []
    prompts = [tokenizer.encode(format_prompt(entry)) for entry in entries]
    texts = generate(model, prompts, max_new_tokens, eos_id=tokenizer.eos_id)
    responses = [text[len(prompt) :].tolist() for text, prompt in zip(texts, prompts, strict=True)]
    return [
        tokenizer.decode([i for i in ids if i != tokenizer.eos_id]).strip() for ids in responses
    ]


def right_answers(model, examples):
    """For each example, True if greedy generation would write its response, end included.

    Raises ValueError for one that has not exactly one response, behind a prompt.
    """
    starts = []
    for i, example in enumerate(examples):
        found = [span.start for span in example.spans if span.kind == "response"]
        if len(found) != 1 or found[0] == 0:
            raise ValueError(f"example {i} must have one response behind a prompt, not {found}")
        starts += found
    return greedy_matches(model, [example.ids for example in examples], starts)
