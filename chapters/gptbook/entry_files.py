"""Files of instructions, read and checked: in the Alpaca form, or as chats; chapter 8."""

import json
from pathlib import Path
from typing import Any

# "instruction", "output" and perhaps "input" and "system"; or "messages", a chat of several turns.
# Other fields are left aside.
Entry = dict[str, Any]
ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}


def load_entries(path: str | Path, skip_bad: bool = False) -> list[Entry]:
    """Read entries from a JSON list, or from JSON lines, one entry a line.

    An entry is in the Alpaca form, or a chat: {"messages": [{"role", "content"}, …]}, or ShareGPT's
    {"conversations": [{"from", "value"}, …]}. A chat of one question and one answer becomes an
    instruction with its output; what the system says first is kept as "system". Raises ValueError
    that names the file and every bad entry; with `skip_bad`, those are left out, and it is printed
    how many.
    """
    entries, problems = [], []
    for i, found in enumerate(_read(Path(path))):
        try:
            entry = as_entry(found)
            chat = isinstance(entry, dict) and "messages" in entry
            check_chat(entry) if chat else check_entry(entry)
            entries.append(entry)
        except ValueError as error:
            problems.append(f"entry {i}: {error}")
    listed = "\n".join(problems[:20]) + "\n…" * (len(problems) > 20)
    if problems and not skip_bad:
        raise ValueError(
            f"{path} has {len(problems)} bad entries of {len(problems) + len(entries)}; "
            f"skip_bad=True leaves them out\n{listed}"
        )
    if problems:
        print(f"{path}: {len(problems)} entries left out\n{listed}")
    if not entries:
        raise ValueError(f"{path} has no entry that can be used")
    return entries


def _read(path: Path) -> list[Any]:
    """The list in a file of JSON or of JSON lines; ValueError if it is neither, or empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # with or without BOM
    except ValueError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from None
    try:
        found = json.loads(text)
    except ValueError as error:
        lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        if not lines or not lines[0][1].lstrip().startswith("{"):
            raise ValueError(f"{path} is not JSON, nor JSON lines: {error}") from None
        found = [_read_line(path, n, line) for n, line in lines]
    if isinstance(found, dict) and ("output" in found or "messages" in found):
        found = [found]  # JSON lines, of which there is only one
    if not isinstance(found, list) or not found:
        kind = "an empty one" if found == [] else type(found).__name__
        raise ValueError(f"{path} must hold a list of entries, not {kind}")
    return found


def _read_line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path}, line {number}, is not JSON: {error}") from None


def as_entry(found: Any) -> Any:
    """An entry in the book's form, whatever form it has; ValueError for a chat that is none."""
    if not isinstance(found, dict):
        return found
    turns = found.get("messages", found.get("conversations"))
    if turns is None:
        return found
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise ValueError("a chat must be a list of turns")
    chat = [(t.get("role", t.get("from")), t.get("content", t.get("value"))) for t in turns]
    entry: Entry = {}
    if chat and chat[0][0] == "system":
        entry["system"] = chat.pop(0)[1]
    messages = [{"role": ROLES.get(str(role)), "content": text} for role, text in chat]
    wanted = ["user", "assistant"] * (len(chat) // 2)
    if not chat or [message["role"] for message in messages] != wanted:
        roles = [role for role, _ in chat]
        raise ValueError(f"user and assistant must take turns, and the assistant end; got {roles}")
    if len(messages) == 2:
        return entry | {"instruction": messages[0]["content"], "output": messages[1]["content"]}
    return entry | {"messages": messages}


def check_entry(entry: Any) -> None:
    """Raise ValueError unless an entry has an instruction and an output, and all are strings."""
    if not isinstance(entry, dict):
        raise ValueError(f"must be an object with fields, not {type(entry).__name__}")
    if "messages" in entry:
        raise ValueError("is a chat of several turns; gptbook.chats.encode_entry encodes it")
    for field in ("instruction", "output"):
        if field not in entry:
            raise ValueError(f"has no {field!r}; its fields are {sorted(entry)}")
        _check_text(field, entry[field])
    for field in ("input", "system"):
        _check_text(field, entry.get(field), may_be_empty=True)


def check_chat(entry: Entry) -> None:
    """Raise ValueError unless every turn of a chat, and what the system says, is text."""
    for i, turn in enumerate(entry["messages"]):
        _check_text(f"turn {i}", turn["content"])
    _check_text("system", entry.get("system"), may_be_empty=True)


def _check_text(field: str, value: Any, may_be_empty: bool = False) -> None:
    if value is None and may_be_empty:
        return  # as good as missing
    if not isinstance(value, str):
        raise ValueError(f"{field!r} must be a string, not {type(value).__name__}")
    if not value.strip() and not may_be_empty:
        raise ValueError(f"{field!r} is empty")
