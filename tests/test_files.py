"""Files that are written whole or not at all."""

import os
import threading

import pytest
import torch
from safetensors.torch import save_file

from gptbook.files import (
    read_checked,
    read_tensors,
    refuse_nan,
    remove_parts,
    write_checked,
    written_whole,
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a[1].txt"
    path.write_text("old")
    return path


def test_a_file_gets_its_name_at_the_end(path):
    with written_whole(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
        assert part.parent == path.parent  # a move within a folder cannot stop half-way
        assert part.name.endswith(".part")
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_a_file_has_the_mode_that_umask_gives_or_the_old_ones(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new.safetensors"
    old.touch()
    old.chmod(0o640)
    before = os.umask(0o022)
    try:
        with written_whole(new) as part:
            save_file({"x": torch.zeros(2)}, part)
        with written_whole(old) as part:
            save_file({"x": torch.zeros(2)}, part)
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (new, old)] == [0o644, 0o640]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html><title>404</title>", "web page"),
        (b"<html>", "web page"),
        (b"\0" * 50, "not a whole safetensors file"),
    ],
)
def test_what_stands_in_place_of_tensors_is_recognised(path, content, said):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        read_tensors(path)


@pytest.mark.parametrize("mapped", [True, False])
def test_tensors_are_mapped_where_a_mapped_file_can_be_replaced(path, monkeypatch, mapped):
    monkeypatch.setattr("gptbook.files.MAPPED", mapped)
    save_file({"x": torch.arange(10_000.0)}, path, metadata={"a": "b"})
    metadata, tensors = read_tensors(path)
    with path.open("rb+") as file:  # in place, which nobody should do
        file.seek(-40_000, os.SEEK_END)
        file.write(b"\0" * 40_000)
    assert metadata == {"a": "b"}
    assert (tensors["x"][-1] == 0) == mapped


def test_nan_is_not_saved():
    good = {"a": torch.zeros(2), "b": torch.ones(2, dtype=torch.int64)}
    refuse_nan(good)
    for odd in (torch.nan, torch.inf, -torch.inf):
        with pytest.raises(ValueError, match="b holds NaN or infinity"):
            refuse_nan(good | {"b": torch.tensor([0.0, odd])})


def broken(*_):
    raise OSError("the disk is full")


@pytest.mark.parametrize("function", ["os.replace", "os.fsync"])
def test_if_the_disk_fails_the_old_file_stays(path, monkeypatch, function):
    monkeypatch.setattr(function, broken)
    with pytest.raises(OSError, match="disk is full"), written_whole(path) as part:
        part.write_text("new")
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == [path.name]


def test_if_the_writer_fails_the_old_file_stays(path):
    with pytest.raises(OSError, match="disk is full"), written_whole(path) as part:
        broken(part.write_text("ne"))
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == [path.name]


def test_it_is_on_the_disk_before_it_gets_its_name(path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, real=real: calls.append(n) or real(*a))
    with written_whole(path) as part:
        part.write_text("new")
    assert calls == ["fsync", "replace"]


def test_threads_do_not_share_a_part(path):
    parts, both = [], threading.Barrier(2)

    def write(text):
        with written_whole(path) as part:
            parts.append(part)
            part.write_text(text)
            both.wait(10)

    threads = [threading.Thread(target=write, args=(text,)) for text in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(parts)) == 2
    assert path.read_text() in "ab"


def test_what_a_killed_program_left_is_removed(path):
    left = path.with_name(f".{path.name}.12.34.part")
    others = [path.with_name(name) for name in (f"{path.name}.12.34.part", ".a1.txt.1.2.part")]
    for file in (left, *others):
        file.write_text("half")
    remove_parts(path)
    assert sorted(path.parent.iterdir()) == sorted([path, *others])


def test_checked_files(tmp_path):
    path = tmp_path / "x.json"
    write_checked(path, "kind-1", {"a": [1, "é"]})
    assert read_checked(path, "kind-1") == {"a": [1, "é"]}
    whole = path.read_text()
    with pytest.raises(ValueError, match=r"x\.json is not a file of the format 'kind-2'"):
        read_checked(path, "kind-2")
    path.write_text(whole[:-3])
    with pytest.raises(ValueError, match=r"x\.json is not a whole kind-1 file"):
        read_checked(path, "kind-1")
    path.write_text(whole.replace("[1,", "[2,"))
    with pytest.raises(ValueError, match=r"x\.json was altered"):
        read_checked(path, "kind-1")
