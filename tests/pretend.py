"""CUDA and MPS for a machine that has neither: what Python calls there, with the CPU's numbers."""

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CPU = torch.device("cpu")
MOVES = {Tensor.to, Tensor.cpu, torch.as_tensor}


def where(tensor):
    """The device that a tensor's memory says it is on."""
    return tensor.untyped_storage().__dict__.get("pretended", CPU)


class PretendedDevices(TorchFunctionMode):
    """The memory of each tensor carries a device's name; a call with tensors of two devices fails.

    The numbers are the CPU's. What is called from Python is seen, not what is called inside
    PyTorch. As with real devices, a tensor without a dimension may come from the CPU, `copy_` and
    `x[1:3] = y` go from one device to another, and only tensors of the CPU become NumPy's.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if func == Tensor.device.__get__:
            return where(args[0])
        if func in {Tensor.data.__set__, torch._has_compatible_shallow_copy_type}:
            return func(*args)  # what Module.to calls with a parameter and its copy elsewhere
        device = kwargs.pop("device", CPU if func == Tensor.cpu else None)
        if func == Tensor.to:
            device, args = take_device(device, args)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        devices = {where(t) for t in tensors if t.dim() or where(t) != CPU}
        if name in {"numpy", "__array__"} and devices - {CPU}:
            raise TypeError(f"can't convert a tensor on {devices} to NumPy; use Tensor.cpu()")
        filled = func == Tensor.copy_ or (func == Tensor.__setitem__ and len(tensors) == 2)
        if len(devices) > 1 and not filled:
            raise RuntimeError(f"{name}: tensors on different devices, {devices}")
        home = next(iter(devices), CPU) if device is None else torch.device(device)
        if (generator := kwargs.get("generator")) and generator.device.type != home.type:
            raise RuntimeError(f"{name}: a generator of {generator.device} for {home}")
        if func in MOVES and devices - {home}:
            args = (args[0].clone(), *args[1:])
        result = func(*args, **kwargs)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and not filled:
                leaf.untyped_storage().__dict__["pretended"] = home
        return result


def take_device(device, args):
    """The device among the arguments of Tensor.to, and the arguments without it."""
    tensor, *rest = args
    kept = []
    for arg in rest:
        if isinstance(arg, str | torch.device):
            device = arg
        elif isinstance(arg, Tensor):
            device = where(arg)
            kept.append(arg.dtype)
        elif isinstance(arg, torch.dtype):
            kept.append(arg)
    return device, (tensor, *kept)


class NoFloat64(TorchDispatchMode):
    """Refuses every operation, also inside PyTorch, that makes a tensor of float64, as MPS does."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.dtype in {torch.float64, torch.complex128}:
                raise TypeError(f"{func} makes float64, which MPS has not")
        return result
