"""Which device is picked, seeds, and bf16, which must never cost the reader the process."""

import faulthandler
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import pytest
import torch

import gptbook.device
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

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


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


# -- bf16

PRODUCTS = """
import sys
import torch
import torch.nn.functional as F
if sys.argv[1] == "late":  # oneDNN has already looked at what the processor announces
    layer = torch.nn.Linear(300, 300)
    layer(torch.randn(64, 300)).sum().backward()
torch.set_num_threads(2)
(torch.randn(1000, 1000) @ torch.randn(1000, 1000)).relu_()  # there are threads now
from gptbook.device import autocast, bf16_works
layer = torch.nn.Linear(256, 512)
for rows in (1, 7, 128, 1000):
    with autocast("cpu"):
        q = torch.randn(2, 4, rows, 64, requires_grad=True)
        y = layer(torch.randn(rows, 256))
        z = F.scaled_dot_product_attention(q, q, q, is_causal=True) + (q @ q.mT) @ q
    (y.float().sum() + z.float().sum()).backward()
print(bf16_works("cpu"), y.dtype)
"""


@pytest.mark.parametrize(
    ("isa", "when"),
    [(None, "early"), (None, "late"), ("ALL", "early"), ("AVX512_CORE_BF16", "late")],
)
def test_autocast_never_kills_the_process(isa, when):
    environment = {k: v for k, v in os.environ.items() if k != "ONEDNN_MAX_CPU_ISA"}
    environment |= {} if isa is None else {"ONEDNN_MAX_CPU_ISA": isa}
    run = subprocess.run(
        [sys.executable, "-c", PRODUCTS, when], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    found, dtype = run.stdout.split()
    assert (found, dtype) in (("True", "torch.bfloat16"), ("False", "torch.float32"))
    if isa == "AVX512_CORE_BF16" and torch.cpu.get_capabilities().get("avx512_bf16"):
        assert found == "True"  # the fork did not hang on the threads that it has not got


@pytest.mark.skipif(
    sys.platform != "linux" or not torch.cpu.get_capabilities().get("avx512_bf16"),
    reason="needs a processor with bf16",
)
def test_bf16_is_used_where_the_processor_has_it():
    assert bf16_works("cpu")
    layer = torch.nn.Linear(64, 64)
    with autocast("cpu"):
        assert layer(torch.ones(64, 64)).dtype == torch.bfloat16
    with autocast(torch.device("cpu"), enabled=False):
        assert layer(torch.ones(64, 64)).dtype == torch.float32


@pytest.fixture
def announce(monkeypatch):
    """Pretend that the processor announces these instructions; forget what was found before."""
    gptbook.device._cpu_does_bf16.cache_clear()
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)

    def pretend(**instructions):
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda: instructions)

    yield pretend
    gptbook.device._cpu_does_bf16.cache_clear()


@pytest.mark.parametrize(
    ("platform", "instructions", "survives", "wanted"),
    [
        ("linux", {"avx512_bf16": True}, True, True),
        ("linux", {"avx512_bf16": True, "amx_tile": True}, False, False),
        ("linux", {"avx2": True, "avx512_bf16": False}, True, False),
        ("linux", {"neon": True, "bf16": True}, True, True),
        ("linux", {"neon": True}, True, False),
        ("darwin", {"neon": True, "bf16": True}, None, False),
        ("win32", {"avx512_bf16": True}, None, True),
        ("win32", {"avx2": True}, None, False),
    ],
)
def test_which_processors_do_bf16(announce, monkeypatch, platform, instructions, survives, wanted):
    announce(**instructions)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("gptbook.device._survives", lambda task: [True, False][not survives])
    if survives is None:
        monkeypatch.delattr("gptbook.device._survives")  # nothing is forked there
    assert bf16_works("cpu") is wanted
    assert isinstance(autocast("cpu"), nullcontext) is not wanted


@linux
@pytest.mark.parametrize(
    ("amx", "survives", "wanted"),
    [(True, False, "AVX512_CORE_BF16"), (True, True, None), (False, None, None)],
)
def test_only_broken_amx_is_avoided(announce, monkeypatch, amx, survives, wanted):
    announce(amx_tile=amx)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "x")  # so that the variable is put back afterwards
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    monkeypatch.setattr("gptbook.device._survives", lambda task: survives)
    gptbook.device._avoid_broken_amx()
    assert os.environ.get("ONEDNN_MAX_CPU_ISA") == wanted
    os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    gptbook.device._avoid_broken_amx()
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2"  # the reader's choice stands


def die():
    os.kill(os.getpid(), signal.SIGILL)


def fail(error=RuntimeError, *_):
    raise error


@pytest.fixture
def forks(monkeypatch):
    """The processes that were forked."""
    pids, fork = [], os.fork
    monkeypatch.setattr("os.fork", lambda: pids.append(fork()) or pids[-1])
    return pids


@linux
@pytest.mark.parametrize(
    ("task", "wanted"), [(lambda: None, True), (die, False), (fail, False), (sys.exit, False)]
)
def test_what_a_fork_survives(task, wanted, capfd, forks, tmp_path):
    with open(tmp_path / "trace", "w+") as trace:
        faulthandler.enable(trace)  # as in a notebook's kernel
        try:
            assert gptbook.device._survives(task) is wanted
        finally:
            faulthandler.enable(sys.__stderr__)
    assert (tmp_path / "trace").read_text() == ""
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ChildProcessError):
        os.waitpid(forks[0], os.WNOHANG)  # it is gone


@linux
def test_a_fork_that_hangs_is_ended(forks):
    start = time.monotonic()
    assert not gptbook.device._survives(lambda: time.sleep(60), seconds=0.05)
    assert time.monotonic() - start < 10
    with pytest.raises(ChildProcessError):
        os.waitpid(forks[0], os.WNOHANG)


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
