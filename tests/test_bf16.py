"""bf16 must never cost the reader the process."""

import faulthandler
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import pytest
import torch

import gptbook.bf16
from gptbook.device import (
    autocast,
    bf16_works,
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


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
import gptbook.bf16
print(bf16_works("cpu"), y.dtype, gptbook.bf16._survives(gptbook.bf16._bf16_products))
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
    found, dtype, survives = run.stdout.split()
    assert (found, dtype) in (("True", "torch.bfloat16"), ("False", "torch.float32"))
    if isa == "AVX512_CORE_BF16" and torch.cpu.get_capabilities().get("avx512_bf16"):
        assert survives == "True"  # the fork did not hang on the threads that it has not got


@pytest.fixture
def forgotten():
    """What was found before is not known inside, nor what is found inside afterwards."""
    gptbook.bf16.cpu_multiplies_bf16.cache_clear()
    yield
    gptbook.bf16.cpu_multiplies_bf16.cache_clear()


@pytest.mark.skipif(
    sys.platform != "linux" or not torch.cpu.get_capabilities().get("avx512_bf16"),
    reason="needs a processor with bf16",
)
@pytest.mark.parametrize("faster", [True, False])
def test_bf16_is_used_where_the_processor_has_it_and_it_pays(monkeypatch, forgotten, faster):
    monkeypatch.setattr("gptbook.bf16._is_faster", lambda: faster)
    assert bf16_works("cpu") is faster
    wanted = torch.bfloat16 if faster else torch.float32
    layer = torch.nn.Linear(64, 64)
    with autocast("cpu"):
        assert layer(torch.ones(64, 64)).dtype == wanted
    with autocast(torch.device("cpu"), enabled=False):
        assert layer(torch.ones(64, 64)).dtype == torch.float32


@pytest.fixture
def announce(monkeypatch, forgotten):
    """Pretend that the processor announces these instructions."""
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)

    monkeypatch.setattr("gptbook.bf16._is_faster", lambda: True)

    def pretend(**instructions):
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda: instructions)

    return pretend


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
    monkeypatch.setattr("gptbook.bf16._survives", lambda task: [True, False][not survives])
    if survives is None:
        monkeypatch.delattr("gptbook.bf16._survives")  # nothing is forked there
    assert bf16_works("cpu") is wanted
    assert isinstance(autocast("cpu"), nullcontext) is not wanted


@linux
@pytest.mark.parametrize(
    ("amx", "survives", "wanted"),
    [(True, False, "AVX512_CORE_BF16"), (True, True, None), (False, None, None)],
)
def test_only_broken_amx_is_avoided(announce, monkeypatch, amx, survives, wanted):
    announce(avx512_bf16=True, amx_tile=amx)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "x")  # so that the variable is put back afterwards
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    monkeypatch.setattr("gptbook.bf16._survives", lambda task: survives)
    bf16_works("cpu")
    assert os.environ.get("ONEDNN_MAX_CPU_ISA") == wanted
    os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    gptbook.bf16.cpu_multiplies_bf16.cache_clear()
    bf16_works("cpu")
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2"  # the reader's choice stands


@pytest.mark.parametrize(
    ("ratio", "wanted"), [(0.5, True), (0.85, True), (0.95, False), (2, False)]
)
def test_a_product_is_timed(monkeypatch, ratio, wanted):
    clock = {"now": 0.0}

    def product(x, weight):
        clock["now"] += 1.0 if x.dtype == torch.float32 else ratio

    monkeypatch.setattr("gptbook.bf16.F.linear", product)
    monkeypatch.setattr("gptbook.bf16.time.perf_counter", lambda: clock["now"])
    assert gptbook.bf16._is_faster() is wanted


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
            assert gptbook.bf16._survives(task) is wanted
        finally:
            faulthandler.enable(sys.__stderr__)
    assert (tmp_path / "trace").read_text() == ""
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ChildProcessError):
        os.waitpid(forks[0], os.WNOHANG)  # it is gone


@linux
def test_a_fork_that_hangs_is_ended(forks):
    start = time.monotonic()
    assert not gptbook.bf16._survives(lambda: time.sleep(60), seconds=0.05)
    assert time.monotonic() - start < 10
    with pytest.raises(ChildProcessError):
        os.waitpid(forks[0], os.WNOHANG)


@linux
@pytest.mark.parametrize("works", [True, False])
def test_where_amx_kills_the_other_instructions_are_tried(announce, monkeypatch, works):
    announce(avx512_bf16=True, amx_tile=True)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "x")  # so that the variable is put back afterwards
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    seen = []

    def survives(task):
        seen.append(os.environ.get("ONEDNN_MAX_CPU_ISA"))
        return works and seen[-1] is not None

    monkeypatch.setattr("gptbook.bf16._survives", survives)
    assert bf16_works("cpu") is works
    assert seen == [None, "AVX512_CORE_BF16"]


def test_the_import_of_a_model_starts_no_process():
    code = """
import os
def refuse(*arguments): raise AssertionError("a process was started")
os.fork = os.posix_spawn = refuse
import gptbook.device, gptbook.model, gptbook.training, gptbook.adapters, gptbook.world
"""
    subprocess.run([sys.executable, "-c", code], check=True)
