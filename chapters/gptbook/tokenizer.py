"""The byte-level BPE tokenizer; chapter 2 builds it."""

import warnings
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Self

import regex
import tiktoken

from gptbook.bpe import GPT2_PATTERN, count_words, learn_merges, merge_word, refuse_lost_text
from gptbook.files import ASSETS
from gptbook.tokenizer_files import make_encoding, read_tokenizer, write_tokenizer

END_OF_TEXT = "<|endoftext|>"


class BPETokenizer:
    """A byte-level BPE tokenizer: ranks (bytes -> id), special tokens (text -> id), word pattern.

    The ranks must include all 256 single bytes, so that any text can be encoded; the ids are
    0, 1, 2 …, those of special tokens the last. Raises ValueError otherwise.
    """

    def __init__(
        self,
        ranks: Mapping[bytes, int],
        special_tokens: Mapping[str, int] | None = None,
        pattern: str = GPT2_PATTERN,
    ) -> None:
        self.ranks, self.pattern = dict(ranks), pattern
        self.special_tokens = dict(special_tokens or {})
        check_vocabulary(self.ranks, self.special_tokens)
        self.token_bytes = {id: token for token, id in self.ranks.items()}
        self.token_bytes |= {id: text.encode("utf-8") for text, id in self.special_tokens.items()}
        self.vocab_size = len(self.token_bytes)
        self._find_words = regex.compile(pattern).findall
        self._word_ids = WordCache(self.ranks)

    @classmethod
    def train(
        cls,
        text: str,
        vocab_size: int,
        special_tokens: str | Collection[str] = (),
        pattern: str = GPT2_PATTERN,
    ) -> Self:
        """Learn `vocab_size` tokens from `text`: 256 bytes, then merges, then `special_tokens`.

        Raises ValueError if `vocab_size` is below 256 + the number of special tokens; warns if the
        text is too small for it.
        """
        refuse_bad_text(text)
        names = check_special_tokens(special_tokens, vocab_size)
        tokens = [bytes([byte]) for byte in range(256)]
        for left, right in learn_merges(count_words(text, pattern), vocab_size - 256 - len(names)):
            tokens.append(tokens[left] + tokens[right])
        if len(tokens) + len(names) < vocab_size:
            warnings.warn(
                f"asked for {vocab_size} tokens, but this text has only "
                f"{len(tokens) + len(names)} to learn",
                stacklevel=2,
            )
        ranks = {token: id for id, token in enumerate(tokens)}
        return cls(ranks, {name: len(tokens) + i for i, name in enumerate(names)}, pattern)

    def encode(self, text: str, allowed_special: str | Collection[str] = ()) -> list[int]:
        """Return the ids of `text`; special tokens in it are plain text unless they are allowed.

        `allowed_special` is a set of special tokens, or "all". Raises TypeError for anything but a
        str, ValueError for a lone surrogate or an unknown special token.
        """
        refuse_bad_text(text)
        if not (allowed := self._allowed(allowed_special)):
            return self._encode_ordinary(text)
        ids = []
        # Longest first: a special token may begin with another one. Odd pieces are special tokens.
        names = "|".join(map(regex.escape, sorted(allowed, key=len, reverse=True)))
        pieces = regex.split(f"({names})", text)
        for i, piece in enumerate(pieces):
            ids += [self.special_tokens[piece]] if i % 2 else self._encode_ordinary(piece)
        return ids

    def _encode_ordinary(self, text: str) -> list[int]:
        words = self._find_words(text)
        refuse_lost_text(words, text, self.pattern)
        return list(chain.from_iterable(map(self._word_ids.__getitem__, words)))

    def _allowed(self, allowed_special: str | Collection[str]) -> set[str]:
        if allowed_special == "all":
            return set(self.special_tokens)
        allowed = {allowed_special} if isinstance(allowed_special, str) else set(allowed_special)
        if unknown := allowed - set(self.special_tokens):
            raise ValueError(
                f"unknown special tokens {sorted(unknown)}; there are {sorted(self.special_tokens)}"
            )
        return allowed

    def decode_bytes(self, ids: Any) -> bytes:
        """Return the bytes of `ids`, a list, array or tensor; ValueError for an unknown id."""
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        try:
            return b"".join([self.token_bytes[id] for id in ids])
        except KeyError as error:
            raise ValueError(
                f"no token has the id {error}; ids run from 0 to {self.vocab_size - 1}"
            ) from None
        except TypeError:
            raise TypeError(f"decode one row of ids, for example ids[0], not {ids!r}") from None

    def decode(self, ids: Any) -> str:
        """Return the text of `ids`; bytes that are not valid UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    @property
    def eos_id(self) -> int | None:
        """The id of `<|endoftext|>`, or None."""
        return self.special_tokens.get(END_OF_TEXT)

    # Files and tiktoken; `tokenizer_files` does it.

    def save(self, path: str | Path) -> None:
        """Write the tokenizer as JSON with a digest; the file appears whole or not at all."""
        write_tokenizer(path, self.ranks, self.special_tokens, self.pattern)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a file that `save` wrote; ValueError if it is truncated, altered or foreign."""
        return cls(*read_tokenizer(path))

    def to_tiktoken(self) -> tiktoken.Encoding:
        """Return a `tiktoken.Encoding` with the same ranks: the same ids, but faster.

        Raises ValueError where one special token begins another.
        """
        return make_encoding(self.ranks, self.special_tokens, self.pattern)

    @classmethod
    def from_tiktoken(cls, encoding: tiktoken.Encoding) -> Self:
        """Return the tokenizer with the ranks, special tokens and pattern of an `Encoding`."""
        return cls(encoding._mergeable_ranks, encoding._special_tokens, encoding._pat_str)


class WordCache(dict):
    """word -> its ids, worked out at the first look-up; emptied when `limit` words are in it."""

    def __init__(self, ranks: Mapping[bytes, int], limit: int = 2**17) -> None:
        self.ranks, self.limit = ranks, limit

    def __missing__(self, word: str) -> list[int]:
        if len(self) >= self.limit:
            self.clear()
        ids = merge_word(word.encode("utf-8"), self.ranks)
        if len(word) <= 100:  # long words hardly ever come again, and fill the memory
            self[word] = ids
        return ids


def load_tokenizer(source: str | Path) -> BPETokenizer:
    """Return the book's tokenizer for "book", GPT-2's for "gpt2", or the one saved at a path.

    The book's comes with the book; GPT-2's is downloaded by tiktoken.
    """
    if source != "gpt2":
        return BPETokenizer.load(ASSETS / "tokenizer.json" if source == "book" else source)
    try:
        return BPETokenizer.from_tiktoken(tiktoken.get_encoding("gpt2"))
    except OSError as error:  # what requests raises for every kind of failed connection
        raise OSError(f"GPT-2's vocabulary could not be downloaded: {error}") from error


def check_vocabulary(ranks: Mapping[bytes, int], special_tokens: Mapping[str, int]) -> None:
    """Raise ValueError unless ids are 0, 1, 2 …, special tokens last, and all bytes are there."""
    ids, size = sorted(ranks.values()), len(ranks) + len(special_tokens)
    if [*ids, *sorted(special_tokens.values())] != list(range(size)):
        raise ValueError(
            f"{size} tokens need the ids 0 … {size - 1}, each used once, "
            "and special tokens the last of them"
        )
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


def refuse_bad_text(text: Any) -> None:
    """Raise TypeError for anything but a str, ValueError for a str with a lone surrogate."""
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, not {type(text).__name__}; decode bytes first")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text holds the lone surrogate {text[error.start]!r} at index {error.start}, which "
            "UTF-8 cannot write; mend it with "
            "text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')"
        ) from None
