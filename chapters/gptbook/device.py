"""Where tensors live, how randomness starts, and where bf16 works: only here are devices named."""

import faulthandler
import os
import random
import signal
import sys
import time
import warnings
from contextlib import contextmanager, nullcontext
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F


def available_devices():
    """Return the names of the devices of this machine, the fastest first.

    >>> "cpu" in available_devices()
    True
    """
    found = [
        ("cuda", torch.cuda.is_available()),
        ("mps", torch.backends.mps.is_available()),
        ("cpu", True),
    ]
    return [name for name, present in found if present]


def pick_device(name=None):
    """Return the device called `name`, else the one in $GPTBOOK_DEVICE, else CUDA, MPS or CPU.

    Raises ValueError, with the devices that are there, if the one asked for is not.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    devices = available_devices()
    name = name or os.environ.get("GPTBOOK_DEVICE") or devices[0]
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    absent = device is None or device.type not in devices
    if absent or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(
            f"device {name!r} is not available here; choose one of {devices}, "
            "by argument or with the environment variable GPTBOOK_DEVICE"
        )
    return device


def seed_everything(seed):
    """Seed the generators of Python, NumPy and torch, on every device, so that runs repeat."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_state(device):
    """Return the states of torch's generators of the CPU and of `device`: {name: (N,) uint8}."""
    states, device = {"cpu": torch.get_rng_state()}, torch.device(device)
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_state(device, states):
    """Put back what `random_state` gave; states of other kinds of device are left aside."""
    device = torch.device(device)
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])


@contextmanager
def same_randomness(device):
    """Let the code inside draw random numbers without changing those that are drawn after it."""
    states = random_state(device)
    try:
        yield
    finally:
        set_random_state(device, states)


def autocast(device, enabled=True):
    """Return a context in which matrix products on `device` run in bf16, where that works.

    Where it does not, or without `enabled`, the context changes nothing: float32 throughout.
    """
    device = torch.device(device)
    if enabled and bf16_works(device):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def bf16_works(device):
    """Say whether `device` multiplies bf16 matrices itself, and survives it.

    That is CUDA from compute capability 8 (2020) on, MPS from macOS 14 on, and CPUs with bf16
    instructions. Some virtual machines announce such instructions, and a program that uses them is
    killed; so on Linux a copy of this process tries them first.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "mps":
        return torch.backends.mps.is_available() and torch.backends.mps.is_macos_or_newer(14, 0)
    return device.type == "cpu" and _cpu_does_bf16()


@lru_cache
def _cpu_does_bf16():
    can = torch.cpu.get_capabilities()
    if sys.platform == "linux":
        return bool(can.get("avx512_bf16") or can.get("bf16")) and _survives(_bf16_products)
    return bool(can.get("avx512_bf16"))


def _bf16_products():
    """The products of bf16 matrices in a GPT: forward, backward, for one token, in attention."""
    weight = torch.ones(512, 256, dtype=torch.bfloat16)
    for rows in (1, 16, 512):
        x = torch.ones(rows, 256, dtype=torch.bfloat16)
        y = F.linear(x, weight)
        for product in (y @ weight, y.T @ x):
            product.sum()
    q = torch.ones(2, 2, 128, 64, dtype=torch.bfloat16)
    (q @ q.mT) @ q
    F.scaled_dot_product_attention(q, q, q, is_causal=True)


def _survives(task, seconds=20):
    """Run `task` in a fork of this process, which may die of it; say whether it ended well.

    Only a fork shares what the libraries have already decided here: oneDNN looks just once at the
    instructions that it may use.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork of several threads
        child = os.fork()
    if child == 0:
        try:
            faulthandler.disable()
            torch.set_num_threads(1)  # torch's other threads were not forked
            task()
            os._exit(0)
        finally:
            os._exit(1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _avoid_broken_amx():
    """Where AMX instructions are announced and kill, have oneDNN use AVX-512's instead.

    oneDNN reads the variable at its first matrix product, so this runs when the module is imported.
    On machines without AMX, and where the variable is set, it does nothing.
    """
    announced = sys.platform == "linux" and torch.cpu.get_capabilities().get("amx_tile")
    if announced and "ONEDNN_MAX_CPU_ISA" not in os.environ and not _survives(_bf16_products):
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_BF16"


_avoid_broken_amx()
