"""Tokenizers that others have made: files of GPT-2, of tiktoken and of Hugging Face's tokenizers.

Each is read into the parts of a `BPETokenizer`: ranks, special tokens, pattern. In the first and
the last kind a byte is written as a character: printable ones as themselves, the others as the
characters from 256 on (GPT-2's encoder.py), so that a space is Ġ.
"""

import base64
import json
from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import regex

from gptbook.bpe import GPT2_PATTERN, merge_word
from gptbook.files import written_whole
from gptbook.tokenizer_files import Parts, explicit_pattern

PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
HIDDEN = [byte for byte in range(256) if byte not in PRINTABLE]
CHARACTER = {byte: chr(byte) for byte in PRINTABLE} | {
    b: chr(256 + i) for i, b in enumerate(HIDDEN)
}
BYTE = {character: byte for byte, character in CHARACTER.items()}


def to_bytes(token: str) -> bytes:
    """The bytes of a token that is written in characters; ValueError for other characters."""
    try:
        return bytes(BYTE[character] for character in token)
    except KeyError as error:
        raise ValueError(f"{error} in the token {token!r} stands for no byte") from None


def to_characters(token: bytes) -> str:
    """A token written in characters.

    >>> to_characters(b" hen")
    'Ġhen'
    """
    return "".join(CHARACTER[byte] for byte in token)


def read_gpt2_files(vocab: str | Path, merges: str | Path) -> Parts:
    """Read vocab.json (or encoder.json) and merges.txt (or vocab.bpe).

    What is neither a byte nor made by a merge is a special token. Raises ValueError for other
    files, and where the order of the merges is not that of the ids.
    """
    ids = _read_json(vocab)
    if not isinstance(ids, dict) or not all(type(id) is int for id in ids.values()):
        raise ValueError(f"{vocab} must hold an object of tokens and their ids")
    lines = Path(merges).read_text(encoding="utf-8-sig").split("\n")
    pairs = [line.rstrip("\r").split(" ") for line in lines if line.strip()]
    if pairs and pairs[0][0].startswith("#version"):
        pairs = pairs[1:]
    ranks, special = ranks_of(ids, pairs, str(merges))
    return ranks, special, GPT2_PATTERN


def ranks_of(
    ids: Mapping[str, int], pairs: Collection[Any], where: str
) -> tuple[dict[bytes, int], dict[str, int]]:
    """Split {token: id} into the ranks of bytes and merged tokens, and special tokens."""
    made: list[str] = []
    for pair in pairs:
        if len(pair) != 2 or pair[0] + pair[1] not in ids:
            raise ValueError(
                f"{where} has the merge {pair}, which makes no token of the vocabulary"
            )
        made.append(pair[0] + pair[1])
    order = [ids[token] for token in made]
    if any(earlier >= later for earlier, later in pairwise(order)):
        raise ValueError(f"{where}: the order of its merges is not that of their ids")
    ordinary = {*made, *CHARACTER.values()} & ids.keys()
    ranks = {to_bytes(token): ids[token] for token in ordinary}
    return ranks, {token: id for token, id in ids.items() if token not in ordinary}


def read_tiktoken_file(path: str | Path) -> dict[bytes, int]:
    """The ranks in a .tiktoken file, one "base64 rank" a line; ValueError names a bad line."""
    ranks: dict[bytes, int] = {}
    for n, line in enumerate(Path(path).read_bytes().splitlines(), 1):
        if line.strip():
            try:
                token, rank = line.split()
                ranks[base64.b64decode(token, validate=True)] = int(rank)
            except ValueError as error:
                raise ValueError(
                    f"{path}, line {n}, is not a token and its rank: {error}"
                ) from None
    return ranks


def read_tokenizer_json(path: str | Path) -> Parts:
    """Read a tokenizer.json of a byte-level BPE; ValueError names what else it is."""
    told = _read_json(path)
    model = told.get("model") if isinstance(told, dict) else None
    if not isinstance(model, dict):
        raise ValueError(f"{path} is no tokenizer.json: it has no model")
    odd = {
        "model": model.get("type", "BPE") != "BPE" and model["type"],
        "normalizer": told.get("normalizer"),
        **{name: model.get(name) for name in ("byte_fallback", "dropout")},
        **{n: model.get(n) for n in ("continuing_subword_prefix", "end_of_word_suffix")},
    }
    if used := {name: value for name, value in odd.items() if value}:
        raise ValueError(f"{path} is not a byte-level BPE as this book knows it: it has {used}")
    pairs = [p.split(" ") if isinstance(p, str) else p for p in model["merges"]]
    ranks, special = ranks_of(model["vocab"], pairs, str(path))
    added = {token["content"]: token["id"] for token in told.get("added_tokens", [])}
    if plain := sorted(special.keys() - added.keys()):
        raise ValueError(f"{path} has tokens that no merge makes: {plain[:5]}")
    return ranks, special | added, _pattern(told.get("pre_tokenizer"), path)


def _pattern(told: Any, path: str | Path) -> str:
    """The pattern by which a pre_tokenizer cuts, as a regular expression."""
    steps = told["pretokenizers"] if told and told["type"] == "Sequence" else [told]
    kinds = [step["type"] if step else None for step in steps]
    last = steps[-1] or {}
    if kinds == ["ByteLevel"] and last.get("use_regex", True) and not last["add_prefix_space"]:
        return GPT2_PATTERN
    if kinds == ["Split", "ByteLevel"] and not last.get("use_regex", True):
        split = steps[0]
        whole = split["behavior"] == "Isolated" and not split["invert"]
        if whole and "Regex" in split["pattern"] and not last["add_prefix_space"]:
            code = r"\\x\{([0-9a-fA-F]+)\}"  # Python writes the character of a code in another way
            return regex.sub(code, lambda m: rf"\U{int(m[1], 16):08x}", split["pattern"]["Regex"])
    raise ValueError(f"{path} cuts text by {kinds} with options that this book does not know")


def merges_of(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The two tokens that each token of several bytes was made of, in the order of the ranks.

    >>> merges_of({b"a": 0, b"b": 1, b"ab": 2, b"abab": 3})
    [(b'a', b'b'), (b'ab', b'ab')]
    """
    merges, known = [], {token: id for token, id in ranks.items() if len(token) == 1}
    by_id = {id: token for token, id in ranks.items()}
    for token, id in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            parts = merge_word(token, known)
            if len(parts) != 2:
                raise ValueError(f"the token {token!r} is not made of two earlier ones")
            merges.append((by_id[parts[0]], by_id[parts[1]]))
            known[token] = id
    return merges


def write_for_transformers(
    folder: str | Path,
    ranks: Mapping[bytes, int],
    special_tokens: Mapping[str, int],
    pattern: str,
    chat_template: str | None = None,
) -> None:
    """Write tokenizer.json and tokenizer_config.json; each file whole or not at all."""
    ids = sorted([*ranks.values(), *special_tokens.values()])
    if ids != list(range(len(ids))):
        raise ValueError("some ids stand for no token, which tokenizer.json cannot say")
    split = regex.sub(r"\\U([0-9a-f]{8})", r"\\x{\1}", explicit_pattern(pattern))
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    by_bytes = {"add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    cuts = [
        {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", **by_bytes},
    ]
    vocab = {to_characters(token): id for token, id in ranks.items()} | dict(special_tokens)
    told = {
        "version": "1.0",
        "added_tokens": [
            {"id": id, "content": text, **flags, "special": True}
            for text, id in sorted(special_tokens.items(), key=lambda item: item[1])
        ],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": cuts},
        "decoder": {"type": "ByteLevel", **by_bytes},
        "model": {
            "type": "BPE",
            "vocab": vocab,
            "merges": [[*map(to_characters, pair)] for pair in merges_of(ranks)],
        },
    }
    end = "<|endoftext|>" if "<|endoftext|>" in special_tokens else None
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    config |= {f"{name}_token": end for name in ("bos", "eos", "pad")}
    config |= {"chat_template": chat_template} if chat_template else {}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("tokenizer.json", told), ("tokenizer_config.json", config)):
        with written_whole(folder / name) as part:
            part.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _read_json(path: str | Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON in UTF-8: {error}") from None
