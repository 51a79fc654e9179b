"""Chats of several turns, and what the system says to the model first; beside chapter 8."""

from collections.abc import Mapping, Sequence
from typing import Any

from gptbook.entry_files import Entry, check_chat
from gptbook.instructions import (
    HEADERS,
    PREAMBLE,
    Example,
    Span,
    encode_example,
    encode_pieces,
)
from gptbook.tokenizer import BPETokenizer

# The same for transformers' `apply_chat_template`, in the language of Jinja.
CHAT_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}"
    "{{ messages[0]['content'] | trim + '\\n\\n' }}{% set messages = messages[1:] %}"
    "{% else %}{{ '" + PREAMBLE.replace("\n", "\\n") + "' }}{% endif %}"
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '" + HEADERS["instruction"] + " ' + message['content'] | trim + '\\n\\n' }}{% else %}"
    "{{ '" + HEADERS["response"] + " ' + message['content'] | trim + eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '" + HEADERS["response"] + "' }}{% endif %}"
)


def encode_dialogue(
    turns: Sequence[Mapping[str, Any]], tokenizer: BPETokenizer, preamble: str = PREAMBLE
) -> Example:
    """Encode [{"role": "user" or "assistant", "content": …}, …], each answer with end-of-text.

    Raises ValueError unless user and assistant take turns and both say something.
    """
    ids: list[int] = []
    spans: list[Span] = []
    pieces = [("boilerplate", preamble)]
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


def encode_entry(entry: Entry, tokenizer: BPETokenizer) -> Example:
    """Encode any entry of `load_entries`, a chat or an instruction; return an `Example`.

    What the system says stands in place of the usual preamble.
    """
    if "messages" not in entry:
        return encode_example(entry, tokenizer)
    check_chat(entry)
    system = (entry.get("system") or "").strip()
    return encode_dialogue(entry["messages"], tokenizer, f"{system}\n\n" if system else PREAMBLE)


def prompt_of(example: Example) -> list[int]:
    """The ids before the last response: what a model is given to answer."""
    return example.ids[: [span.start for span in example.spans if span.kind == "response"][-1]]
