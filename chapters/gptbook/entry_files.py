"""Files of instructions: a JSON list of entries in the Alpaca form, read and checked; chapter 8."""

import json
from pathlib import Path
from typing import Any

Entry = dict[str, Any]  # "instruction", "output" and perhaps "input"; other fields are left aside


def load_entries(path: str | Path) -> list[Entry]:
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


def check_entry(entry: Any) -> None:
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
