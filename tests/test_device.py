"""Which device is picked, and seeds."""

import random

import numpy as np
import pytest
import torch

from gptbook.device import available_devices, pick_device, seed_everything


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_is_picked_where_it_is(monkeypatch):
    monkeypatch.delenv("GPTBOOK_DEVICE", raising=False)
    assert pick_device().type == "cuda"
