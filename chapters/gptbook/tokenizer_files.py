"""A tokenizer's parts in files and in tiktoken; `BPETokenizer` calls these; chapter 2."""

import base64
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import chain, permutations
from pathlib import Path
from typing import Any

import regex
import tiktoken

from gptbook.files import read_checked, write_checked

FILE_FORMAT = "gptbook-bpe-1"
Parts = tuple[dict[bytes, int], dict[str, int], str]  # ranks, special tokens, pattern


def write_tokenizer(
    path: str | Path, ranks: Mapping[bytes, int], special_tokens: dict[str, int], pattern: str
) -> None:
    """Write the parts of a tokenizer as JSON with a digest; the file appears whole or not."""
    tokens = [base64.b64encode(token).decode() for token in sorted(ranks, key=ranks.__getitem__)]
    content: dict[str, Any] = {
        "pattern": pattern,
        "special_tokens": special_tokens,
        "tokens": tokens,
    }
    if (ids := sorted(ranks.values())) != list(range(len(ids))):
        content["ids"] = ids  # where some ids stand for no token
    write_checked(path, FILE_FORMAT, content)


def read_tokenizer(path: str | Path) -> Parts:
    """Read what `write_tokenizer` wrote; ValueError if it is truncated, altered or foreign."""
    content = read_checked(path, FILE_FORMAT)
    ids = content.get("ids", range(len(content["tokens"])))
    ranks = {base64.b64decode(t): id for t, id in zip(content["tokens"], ids, strict=True)}
    return ranks, content["special_tokens"], content["pattern"]


def is_ours(path: Path) -> bool:
    """Whether a tokenizer.json was written here, and not by others, whose files have a "model"."""
    return not path.is_file() or b'"model"' not in path.read_bytes()


def make_encoding(
    ranks: Mapping[bytes, int], special_tokens: dict[str, int], pattern: str
) -> tiktoken.Encoding:
    """Return a `tiktoken.Encoding` with the same parts: the same ids, but faster.

    Raises ValueError where one special token begins another.
    """
    for short, long in permutations(special_tokens, 2):
        if long.startswith(short):
            raise ValueError(f"{short!r} begins {long!r}: tiktoken leaves open which one wins")
    return tiktoken.Encoding(
        "gptbook",
        pat_str=explicit_pattern(pattern),
        mergeable_ranks=dict(ranks),
        special_tokens=special_tokens,
    )


@lru_cache
def explicit_pattern(pattern: str) -> str:
    r"""Spell out \p{L}, \w and their like as ranges of characters.

    tiktoken and `regex` follow different editions of Unicode and would not cut alike.
    """
    characters = "".join(map(chr, chain(range(0xD800), range(0xE000, sys.maxunicode + 1))))
    kind = r"\\[pP](?:\{[^}]*\}|\w)|\\[wWdD]"

    def ranges(match: regex.Match) -> str:
        runs = regex.findall(match[0] + "+", characters)
        return "".join(rf"\U{ord(run[0]):08x}-\U{ord(run[-1]):08x}" for run in runs)

    def spell_out(match: regex.Match) -> str:
        # A class in brackets, or a single \p{L} that becomes one.
        inside = match[0].startswith("[")
        return regex.sub(kind, ranges, match[0]) if inside else f"[{ranges(match)}]"

    return regex.sub(rf"\[(?:\\.|[^\]\\])*\]|{kind}", spell_out, pattern)


def check_vocabulary(ranks: Mapping[bytes, int], special_tokens: Mapping[str, int]) -> None:
    """Raise ValueError unless each token has an id of its own, and all bytes are there."""
    ids = [*ranks.values(), *special_tokens.values()]
    if len(set(ids)) < len(ids) or min(ids, default=0) < 0:
        raise ValueError(f"{len(ids)} tokens need as many ids, from 0 on and each used once")
    if "" in special_tokens:
        raise ValueError("a special token cannot be the empty string")
    if missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        raise ValueError(f"ranks must hold all 256 single bytes; missing: {missing}")


def check_special_tokens(names: str | Iterable[str], vocab_size: int) -> list[str]:
    """Return the names, each once, a set in alphabetical order.

    Raises ValueError if `vocab_size` leaves no room for them and 256 bytes.
    """
    names = [names] if isinstance(names, str) else names
    distinct = list(dict.fromkeys(sorted(names) if isinstance(names, set) else names))
    if vocab_size < 256 + len(distinct):
        raise ValueError(
            f"vocab_size={vocab_size} leaves no room for 256 bytes and {len(distinct)} "
            f"special tokens; ask for at least {256 + len(distinct)}"
        )
    return distinct
