"""Which device is picked, seeds, and where bf16 works."""

import random
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from gptbook.device import (
    autocast,
    available_devices,
    bf16_works,
    pick_device,
    random_state,
    same_randomness,
    seed_everything,
    set_random_state,
)


@pytest.fixture
def machine(monkeypatch):
    """Pretend that this machine has the devices that are named."""
    monkeypatch.delenv("GPTBOOK_DEVICE", raising=False)

    def pretend(*names):
        monkeypatch.setattr("torch.cuda.is_available", lambda: "cuda" in names)
        monkeypatch.setattr("torch.cuda.device_count", lambda: int("cuda" in names))
        monkeypatch.setattr("torch.backends.mps.is_available", lambda: "mps" in names)

    return pretend


@pytest.mark.parametrize(
    ("names", "wanted"),
    [((), "cpu"), (("mps",), "mps"), (("cuda",), "cuda"), (("mps", "cuda"), "cuda")],
)
def test_the_fastest_device_is_picked(machine, names, wanted):
    machine(*names)
    assert pick_device().type == wanted


def test_the_environment_overrides_and_the_argument_overrides_it(machine, monkeypatch):
    machine("cuda", "mps")
    monkeypatch.setenv("GPTBOOK_DEVICE", "mps")
    assert pick_device().type == "mps"
    assert pick_device("cpu").type == "cpu"
    assert pick_device("cuda:0") == torch.device("cuda:0")


@pytest.mark.parametrize("name", ["cuda", "mps", "tpu", "cuda:0", "CPU?", "gpu"])
def test_a_device_that_is_not_there_is_refused(machine, monkeypatch, name):
    machine()
    with pytest.raises(
        ValueError, match=rf"device '{name.replace('?', '.')}' .* choose one of \['cpu'\]"
    ):
        pick_device(name)
    monkeypatch.setenv("GPTBOOK_DEVICE", name)
    with pytest.raises(ValueError, match="GPTBOOK_DEVICE"):
        pick_device()


def test_the_second_card_of_one_is_refused(machine):
    machine("cuda")
    with pytest.raises(ValueError, match="'cuda:1' is not available"):
        pick_device("cuda:1")


def test_seeds():
    def draw():
        return random.random(), np.random.rand(), torch.rand(3).tolist()

    seed_everything(3)
    first = draw()
    assert draw() != first
    seed_everything(3)
    assert draw() == first


def test_this_machine_has_a_cpu():
    assert available_devices()[-1] == "cpu"


def test_random_states_come_back():
    state = random_state("cpu")
    first = torch.rand(3)
    assert not torch.equal(torch.rand(3), first)
    set_random_state("cpu", state | {"cuda": torch.zeros(1), "mps": torch.zeros(1)})
    assert torch.equal(torch.rand(3), first)


def test_same_randomness():
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    with same_randomness("cpu"):
        torch.rand(100)
    with pytest.raises(KeyError), same_randomness("cpu"):
        fail(KeyError, torch.rand(100))
    assert torch.equal(torch.rand(3), wanted)


def fail(error=RuntimeError, *_):
    raise error


def test_bf16_on_other_devices(machine, monkeypatch):
    machine("cuda", "mps")
    for modern in (True, False):
        monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation, m=modern: m)
        monkeypatch.setattr("torch.backends.mps.is_macos_or_newer", lambda *_, m=modern: m)
        assert bf16_works("cuda:0") is modern
        assert bf16_works("mps") is modern
    machine()
    assert not any(map(bf16_works, ("cuda", "mps", "meta")))
    assert isinstance(autocast("meta"), nullcontext)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_random_states_and_bf16_on_cuda():
    state = random_state("cuda")
    first = torch.rand(3, device="cuda")
    set_random_state("cuda", state)
    assert torch.equal(torch.rand(3, device="cuda"), first)
    x = torch.ones(16, 16, device="cuda")
    with autocast("cuda"):
        assert ((x @ x).dtype == torch.bfloat16) is bf16_works("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_is_picked_where_it_is(monkeypatch):
    monkeypatch.delenv("GPTBOOK_DEVICE", raising=False)
    assert pick_device().type == "cuda"
