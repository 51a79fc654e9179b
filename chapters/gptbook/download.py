"""Downloads for those who are online: checked by SHA-256, kept whole or not at all."""

import hashlib
import ipaddress
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

from tqdm import tqdm

from gptbook.files import written_whole

CHUNK = 2**20  # bytes read at a time


def cache_folder() -> Path:
    """Return where downloads are kept: $GPTBOOK_CACHE, else ~/.cache/gptbook."""
    return Path(os.environ.get("GPTBOOK_CACHE") or Path.home() / ".cache" / "gptbook")


def download(url: str, sha256: str, folder: str | Path | None = None) -> Path:
    """Return the path of the file at `url`, which must have the digest `sha256`, 64 hex digits.

    The file keeps the name that it has in the URL. It is downloaded into `folder` (default: one of
    its own below `cache_folder()`) unless it is there already with that digest. Addresses begin
    with https://; http:// is for this machine only.

    Raises OSError if there is no way to the file or no room for it, and ValueError if what came
    has another digest. Then nothing new is kept.
    """
    refuse_open_wire(url)
    name = Path(unquote(urlsplit(url).path)).name
    if name in ("", "..") or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(
            f"need the URL of a file and a SHA-256 of 64 hex digits; got {url!r} and {sha256!r}"
        )
    folder = cache_folder() / sha256[:16] if folder is None else Path(folder)
    path = folder / name
    if path.is_file():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                return path
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as part:
        found, received, size = _fetch(url, part, name)
        if size is not None and received != size:
            raise OSError(f"{url} broke off after {received:,} of {size:,} bytes; try again")
        if found != sha256:
            raise ValueError(
                f"{url} has the SHA-256 {found}, not {sha256}: it has been changed, or what came "
                "is a page of a proxy; nothing was kept"
            )
    return path


def refuse_open_wire(url: str) -> None:
    """Raise ValueError for a URL that is not https://, unless it is http:// on this machine."""
    parts = urlsplit(url)
    try:
        loopback = ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = parts.hostname == "localhost"
    if not parts.hostname or parts.scheme not in (("https", "http") if loopback else ("https",)):
        raise ValueError(f"{url!r} must begin with https://")


class _SafeRedirects(HTTPRedirectHandler):
    """Follow the server to another address only if that is an encrypted one, too."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        refuse_open_wire(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str, part: Path, name: str) -> tuple[str, int, int | None]:
    """Write what is at `url` into the file `part`; return (SHA-256, bytes received, bytes said)."""
    try:
        response = build_opener(_SafeRedirects).open(url, timeout=30)
    except HTTPError as error:
        reason = f"the server answered {error.code} {error.reason}"
        error.close()
        raise OSError(f"{url} could not be downloaded: {reason}") from None
    except OSError as error:
        raise OSError(f"{url} could not be downloaded: {error}; are you online?") from error
    said = response.headers.get("Content-Length")
    size = int(said) if said and said.isdigit() else None
    free = shutil.disk_usage(part.parent).free
    if size is not None and size > free:
        response.close()
        raise OSError(f"{url} has {size:,} bytes, but {part.parent} has room for {free:,} only")
    digest, received = hashlib.sha256(), 0
    bar = tqdm(
        total=size,
        desc=name,
        file=sys.stdout,
        unit="B",
        unit_scale=True,
        mininterval=1.0,
        ascii=True,
    )
    with response, bar, part.open("wb") as file:
        while True:
            try:
                chunk = response.read(CHUNK)
            except OSError as error:
                raise OSError(
                    f"{url} broke off after {received:,} bytes: {error}; try again"
                ) from error
            if not chunk:
                return digest.hexdigest(), received, size
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            bar.update(len(chunk))
