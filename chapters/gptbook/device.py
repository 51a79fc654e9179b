"""Where tensors live, how randomness starts, and where bf16 works: only here are devices named."""

import os
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

import numpy as np
import torch
from torch import Tensor

from gptbook.bf16 import cpu_multiplies_bf16


def available_devices() -> list[str]:
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


def pick_device(name: str | None = None) -> torch.device:
    """Return the device called `name`, else the one in $GPTBOOK_DEVICE, else CUDA, MPS or CPU.

    Raises ValueError, with the devices that are there, if the one asked for is not.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    devices = available_devices()
    name = name or os.environ.get("GPTBOOK_DEVICE") or devices[0]
    device = None
    with suppress(RuntimeError, TypeError):
        device = torch.device(name)
    absent = device is None or device.type not in devices
    if absent or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise ValueError(
            f"device {name!r} is not available here; choose one of {devices}, "
            "by argument or with the environment variable GPTBOOK_DEVICE"
        )
    return device


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch, on every device, so that runs repeat."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_state(device: torch.device | str) -> dict[str, Tensor]:
    """Return the states of torch's generators of the CPU and of `device`: {name: (N,) uint8}."""
    device = torch.device(device)
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_state(device: torch.device | str, states: dict[str, Tensor]) -> None:
    """Put back what `random_state` gave; states of other kinds of device are left aside."""
    device = torch.device(device)
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])


@contextmanager
def same_randomness(device: torch.device | str) -> Iterator[None]:
    """Let the code inside draw random numbers without changing those that are drawn after it."""
    states = random_state(device)
    try:
        yield
    finally:
        set_random_state(device, states)


def autocast(device: torch.device | str, enabled: bool = True) -> AbstractContextManager:
    """Return a context in which matrix products on `device` run in bf16, where that works.

    Where it does not, or without `enabled`, the context changes nothing: float32 throughout.
    """
    device = torch.device(device)
    if enabled and bf16_works(device):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def bf16_works(device: torch.device | str) -> bool:
    """Say whether `device` multiplies bf16 matrices itself, and survives it.

    That is CUDA from compute capability 8 (2020) on, MPS from macOS 14 on, and CPUs with bf16
    instructions that work; see `cpu_multiplies_bf16`.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "mps":
        return torch.backends.mps.is_available() and torch.backends.mps.is_macos_or_newer(14, 0)
    return device.type == "cpu" and cpu_multiplies_bf16()
