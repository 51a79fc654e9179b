"""Where tensors live and how randomness starts: the only module that names a device."""

import os
import random

import numpy as np
import torch


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
