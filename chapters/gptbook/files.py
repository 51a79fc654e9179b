"""Files that are written whole or not at all, and that are checked when they are read."""

import glob
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

ASSETS = Path(__file__).parent / "assets"  # what comes with the book: words, tokenizer, base model
MAPPED = os.name != "nt"  # whether files of tensors are mapped into memory, and not read


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yield the path of a file beside `path`; at the end that file replaces `path`.

    So `path` never holds half of something, whenever the program dies and also when several
    processes write it at once. If the code inside raises an error, `path` stays as it was.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        part.touch()
        mode = (path if path.exists() else part).stat().st_mode  # the old file's, or umask's
        yield part
        part.chmod(mode)  # safetensors would leave it to the owner alone
        with part.open("rb+") as file:
            os.fsync(file.fileno())  # on the disk first, so that not even a power cut leaves half
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def remove_parts(path: str | Path) -> None:
    """Remove what a killed program has left beside `path`, which nobody may be writing now."""
    path = Path(path)
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        part.unlink(missing_ok=True)


def write_checked(path: str | Path, kind: str, content: dict[str, Any]) -> None:
    """Write the dict `content` as JSON with the name of its `kind` and a SHA-256 digest."""
    text = json.dumps(content | {"format": kind, "sha256": digest(content)})
    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")


def read_checked(path: str | Path, kind: str) -> dict[str, Any]:
    """Read what `write_checked` wrote; ValueError if it is truncated, altered or foreign."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # bad JSON or bad UTF-8
        raise ValueError(f"{path} is not a whole {kind} file: {error}") from None
    if not isinstance(content, dict) or content.pop("format", None) != kind:
        raise ValueError(f"{path} is not a file of the format {kind!r}")
    if content.pop("sha256", None) != digest(content):
        raise ValueError(f"{path} was altered after it was saved: its digest does not match")
    return content


def read_tensors(path: str | Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return (metadata, {name: tensor}) of a safetensors file; ValueError if it is not whole.

    The tensors are mapped: their memory is the file's until they are written to, and then their
    own. The file never changes. On Windows, where a mapped file cannot be replaced, they are read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if not MAPPED:
                tensors = {name: tensor.clone() for name, tensor in tensors.items()}
            return file.metadata() or {}, tensors
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file: {what_else(path, error)}"
        ) from None


def refuse_nan(tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError if a tensor that is to be saved holds NaN or infinity."""
    if odd := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise ValueError(
            f"nothing is saved: {odd[0]} holds NaN or infinity, and so do {len(odd) - 1} more of "
            f"{len(tensors)} tensors; what was saved before is left as it is"
        )


def what_else(path: str | Path, error: Exception) -> str:
    """What a file is that cannot be read, and what would do, where its first bytes tell."""
    with Path(path).open("rb") as file:
        start = file.read(200).lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; fetch the file itself with `git lfs pull`"
    if start.startswith((b"<!doctype html", b"<html")):
        return "it is a web page, perhaps of a failed download; download the file itself"
    return str(error)


def digest(content: Any) -> str:
    """The SHA-256 digest, in hexadecimal, of a JSON value."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8")).hexdigest()
