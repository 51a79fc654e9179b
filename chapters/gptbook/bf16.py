"""Does this processor multiply bf16 matrices, does the program survive it, and does it pay?

Some virtual machines announce instructions for bf16, and a program that uses them is killed. So on
Linux a copy of this process tries them when bf16 is first asked for. Others have instructions that
take longer than those for float32: a product is timed.
"""

import faulthandler
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F

ISA = "ONEDNN_MAX_CPU_ISA"  # the environment variable that limits what oneDNN uses


@lru_cache
def cpu_multiplies_bf16() -> bool:
    """True if the processor has instructions for bf16, they work, and a product takes less time.

    Where AMX instructions are announced and kill, oneDNN is told to use AVX-512's instead. It looks
    only once, at its first matrix product; if that is past, the answer is no.
    """
    can = torch.cpu.get_capabilities()
    if sys.platform != "linux":
        return bool(can.get("avx512_bf16")) and _is_faster()
    if not (can.get("avx512_bf16") or can.get("bf16")):
        return False
    if _survives(_bf16_products):
        return _is_faster()
    if not can.get("amx_tile") or ISA in os.environ:
        return False
    os.environ[ISA] = "AVX512_CORE_BF16"
    return _survives(_bf16_products) and _is_faster()


def _is_faster() -> bool:
    """Whether a product in bf16, with inputs that are float32 at first, is faster by a tenth."""
    x, weight = torch.ones(512, 256), torch.ones(1024, 256)
    times: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    for _ in range(8):  # in turn, so that another program slows both
        for dtype, taken in times.items():
            start = time.perf_counter()
            F.linear(x.to(dtype), weight.to(dtype))
            taken.append(time.perf_counter() - start)
    return min(times[torch.bfloat16]) < 0.9 * min(times[torch.float32])


def _bf16_products() -> None:
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


def _survives(task: Callable[[], object], seconds: float = 20) -> bool:
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
