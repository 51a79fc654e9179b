"""JSON files that are written whole or not at all, and that show when they were changed."""

import hashlib
import json
import os
import threading
from pathlib import Path


def write_checked(path, kind, content):
    """Write the dict `content` as JSON with the name of its `kind` and a SHA-256 digest.

    The text goes into a file of another name first, so that `path` never holds half of it, also
    when several processes write it at once.
    """
    text = json.dumps(content | {"format": kind, "sha256": digest(content)})
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_checked(path, kind):
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


def digest(content):
    """The SHA-256 digest, in hexadecimal, of a JSON value."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8")).hexdigest()
