"""Downloads from a server on this machine: what is kept, and what is refused."""

import hashlib
import os
import shutil
import socket
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import gptbook.download
from gptbook.download import cache_folder, download, refuse_open_wire

CONTENT = bytes(range(256)) * 10_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        path = self.path.split("?")[0]
        if path.startswith("/redirect"):
            self.send_response(302)
            self.send_header("Location", self.server.redirect)
            self.end_headers()
            return
        if path.startswith("/missing"):
            self.send_error(404)
            return
        self.send_response(200)
        if path.startswith("/large"):
            self.send_header("Content-Length", str(10**18))
        elif not path.startswith("/unsized"):
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        sent = CONTENT[: len(CONTENT) // 2] if path.startswith(("/broken", "/large")) else CONTENT
        self.wfile.write(sent)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.redirect = [], "/a/file.bin"
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTBOOK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_is_downloaded_once(server, cache, capsys):
    path = download(f"{server.url}/a/file.bin", DIGEST)
    assert path == cache / DIGEST[:16] / "file.bin"
    assert path.read_bytes() == CONTENT
    shown = capsys.readouterr()
    assert "file.bin: 100%" in shown.out
    assert shown.err == ""
    assert download(f"{server.url}/a/file.bin", DIGEST) == path
    server.shutdown()
    assert download("https://192.0.2.1/file.bin", DIGEST) == path  # no network is asked for
    assert server.asked == ["/a/file.bin"]
    assert files(cache) == [f"{DIGEST[:16]}/file.bin"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("address", "name"),
    [("/unsized/b.bin", "b.bin"), ("/c%20d.bin?x=/e.bin", "c d.bin"), ("/redirect/f", "f")],
)
def test_other_ways_to_a_file(server, tmp_path, address, name):
    path = download(server.url + address, DIGEST, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / name
    assert path.read_bytes() == CONTENT


def test_a_damaged_file_is_downloaded_again(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(CONTENT[:-1] + b"x")
    assert download(f"{server.url}/file.bin", DIGEST, tmp_path).read_bytes() == CONTENT
    assert server.asked == ["/file.bin"]


def test_a_wrong_digest_is_refused_and_nothing_kept(server, tmp_path):
    with pytest.raises(ValueError, match=rf"file.bin has the SHA-256 {DIGEST}, not {OTHER}"):
        download(f"{server.url}/file.bin", OTHER, tmp_path)
    assert files(tmp_path) == []
    (tmp_path / "file.bin").write_bytes(b"old")  # somebody else's file is not lost
    with pytest.raises(ValueError, match="nothing was kept"):
        download(f"{server.url}/file.bin", OTHER, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "/missing/file.bin",
            "file.bin could not be downloaded: the server answered 404 Not Found",
        ),
        ("/broken/file.bin", "file.bin broke off after 1,280,000 of 2,560,000 bytes; try again"),
        ("/large/file.bin", r"file.bin has 1,000,000,000,000,000,000 bytes, but .* has room for"),
    ],
)
def test_a_failed_download_says_why_and_keeps_nothing(server, tmp_path, address, message):
    with pytest.raises(OSError, match=message):
        download(server.url + address, DIGEST, tmp_path)
    assert files(tmp_path) == []


def test_without_a_network(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(OSError, match=r"file.bin could not be downloaded: .*are you online\?"):
        download(f"http://127.0.0.1:{port}/file.bin", DIGEST, tmp_path)
    assert files(tmp_path) == []


def test_a_connection_that_dies_half_way(server, tmp_path, monkeypatch):
    class Dying:
        headers = {"Content-Length": "100"}  # noqa: RUF012
        parts = (b"x" * 10,)

        def __enter__(self):
            self.parts = list(self.parts)
            return self

        def __exit__(self, *_):
            pass

        def read(self, _):
            if not self.parts:
                raise TimeoutError("timed out")
            return self.parts.pop()

    Opener = namedtuple("Opener", "open")
    monkeypatch.setattr(
        gptbook.download, "build_opener", lambda _: Opener(lambda url, timeout: Dying())
    )
    with pytest.raises(OSError, match="broke off after 10 bytes: timed out; try again"):
        download("https://example.org/file.bin", DIGEST, tmp_path)
    assert files(tmp_path) == []


def test_a_full_disk(server, tmp_path, monkeypatch):
    room = shutil.disk_usage(tmp_path)._replace(free=len(CONTENT) - 1)
    monkeypatch.setattr("shutil.disk_usage", lambda _: room)
    with pytest.raises(OSError, match=r"2,560,000 bytes, but .* has room for 2,559,999 only"):
        download(f"{server.url}/file.bin", DIGEST, tmp_path)
    assert files(tmp_path) == []
    monkeypatch.setattr("shutil.disk_usage", lambda _: room._replace(free=len(CONTENT)))
    assert download(f"{server.url}/file.bin", DIGEST, tmp_path).exists()


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/file.bin",
        "http://192.0.2.1/file.bin",
        "http://localhost.example.org/file.bin",
        "http://127.0.0.1@example.org/file.bin",
        "ftp://example.org/file.bin",
        "file:///etc/passwd",
        "example.org/file.bin",
        "https:///file.bin",
    ],
)
def test_only_encrypted_addresses(server, tmp_path, url):
    with pytest.raises(ValueError, match="must begin with https://"):
        download(url, DIGEST, tmp_path)
    server.redirect = url  # nor by way of another server
    if "://" in url and "///" not in url:
        with pytest.raises(ValueError, match="must begin with https://"):
            download(f"{server.url}/redirect/file.bin", DIGEST, tmp_path)
    assert files(tmp_path) == []


def test_encrypted_and_local_addresses_are_good():
    for url in ("https://example.org/a", "http://127.0.0.1:80/a", "http://[::1]/a"):
        refuse_open_wire(url)
    refuse_open_wire("http://localhost:8000/a")


@pytest.mark.parametrize(
    ("url", "digest"),
    [
        ("https://example.org/", DIGEST),
        ("https://example.org/a", DIGEST[:-1]),
        ("https://example.org/a", DIGEST.upper()),
        ("https://example.org/a", ""),
    ],
)
def test_addresses_without_a_name_and_bad_digests(url, digest):
    with pytest.raises(ValueError, match="need the URL of a file and a SHA-256 of 64 hex digits"):
        download(url, digest)


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("GPTBOOK_CACHE", "")
    assert cache_folder() == tmp_path / ".cache" / "gptbook"
    monkeypatch.setenv("GPTBOOK_CACHE", str(tmp_path / "there"))
    assert cache_folder() == tmp_path / "there"
    assert not os.listdir(tmp_path)  # asking makes nothing
