"""The byte-level BPE tokenizer; chapter 2 builds it."""

import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Self

import regex
import tiktoken

from gptbook.bpe import GPT2_PATTERN, WordCache, count_words, learn_merges, refuse_lost_text
from gptbook.files import ASSETS
from gptbook.streams import cut_stream
from gptbook.tokenizer_files import (
    check_special_tokens,
    check_vocabulary,
    is_ours,
    make_encoding,
    read_tokenizer,
    write_tokenizer,
)
from gptbook.tokenizer_formats import (
    read_gpt2_files,
    read_tiktoken_file,
    read_tokenizer_json,
    write_for_transformers,
)

END_OF_TEXT = "<|endoftext|>"


class BPETokenizer:
    """A byte-level BPE tokenizer: ranks (bytes -> id), special tokens (text -> id), word pattern.

    The ranks must include all 256 single bytes, so that any text can be encoded; no id stands for
    two tokens, but some may stand for none. Raises ValueError otherwise.
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
        self.vocab_size = max(self.token_bytes) + 1  # rows of an embedding
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
        counts: Counter[bytes] = Counter()
        special = "|".join(map(regex.escape, sorted(names, key=len, reverse=True)))
        for piece in regex.split(special, text) if names else [text]:  # they are not counted
            counts.update(count_words(piece, pattern))
        for left, right in learn_merges(counts, vocab_size - 256 - len(names)):
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

    def encode_iterable(
        self, chunks: Iterable[str], allowed_special: str | Collection[str] = ()
    ) -> Iterator[int]:
        """Yield the ids of a text that comes in chunks, an open file for example; see `encode`.

        They are those of the whole text, wherever it is cut; only a piece of it is in memory.
        """
        allowed = self._allowed(allowed_special)
        for piece in cut_stream(chunks, self._find_words, allowed):
            yield from self.encode(piece, allowed)

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
        r"""Return a `tiktoken.Encoding` with the same ranks: the same ids, but faster.

        Its pattern has ranges of characters in place of \p{L}, since tiktoken knows the letters of
        another edition of Unicode than `regex`. Other tools may fail to read such a pattern; for
        transformers there is `save_for_transformers`. Raises ValueError where one special token
        begins another.
        """
        return make_encoding(self.ranks, self.special_tokens, self.pattern)

    @classmethod
    def from_tiktoken(cls, encoding: tiktoken.Encoding) -> Self:
        """Return the tokenizer with the ranks, special tokens and pattern of an `Encoding`."""
        return cls(encoding._mergeable_ranks, encoding._special_tokens, encoding._pat_str)

    # What others have made, and what they can read; `tokenizer_formats` does it.

    def save_for_transformers(self, folder: str | Path, chat_template: str | None = None) -> None:
        """Write tokenizer.json and its config, so that AutoTokenizer gives the same ids.

        Special tokens in a text are special there. ValueError where an id stands for no token.
        """
        parts = self.ranks, self.special_tokens, self.pattern
        write_for_transformers(folder, *parts, chat_template)

    @classmethod
    def from_gpt2_files(cls, vocab_json: str | Path, merges_txt: str | Path) -> Self:
        """Read GPT-2's vocab.json (encoder.json) and merges.txt (vocab.bpe), or their like."""
        return cls(*read_gpt2_files(vocab_json, merges_txt))

    @classmethod
    def from_tiktoken_file(
        cls,
        path: str | Path,
        pattern: str = GPT2_PATTERN,
        special_tokens: Mapping[str, int] | None = None,
    ) -> Self:
        """Read a .tiktoken file; it holds neither pattern nor special tokens {text: id}."""
        return cls(read_tiktoken_file(path), special_tokens, pattern)

    @classmethod
    def from_tokenizer_json(cls, path: str | Path) -> Self:
        """Read a tokenizer.json of Hugging Face's; ValueError unless it is a byte-level BPE."""
        return cls(*read_tokenizer_json(path))


def load_tokenizer(source: str | Path) -> BPETokenizer:
    """Return the book's tokenizer for "book", GPT-2's for "gpt2", or the one at a path.

    The book's comes with the book; GPT-2's is downloaded by tiktoken. A path is that of a file
    which `save` wrote, of a tokenizer.json, of a .tiktoken file (with GPT-2's pattern), or of a
    folder that holds one of these or the two files of a GPT-2.
    """
    if source != "gpt2":
        path = ASSETS / "tokenizer.json" if source == "book" else Path(source)
        if path.is_dir():
            for two in (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")):
                if all((path / name).is_file() for name in two):
                    return BPETokenizer.from_gpt2_files(path / two[0], path / two[1])
            path /= "tokenizer.json"
        if path.suffix == ".tiktoken":
            return BPETokenizer.from_tiktoken_file(path)
        if is_ours(path):
            return BPETokenizer.load(path)
        return BPETokenizer.from_tokenizer_json(path)
    try:
        return BPETokenizer.from_tiktoken(tiktoken.get_encoding("gpt2"))
    except OSError as error:  # what requests raises for every kind of failed connection
        raise OSError(f"GPT-2's vocabulary could not be downloaded: {error}") from error


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
