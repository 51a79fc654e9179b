"""Makes library functions unusable while a reader's function runs, under whatever name."""

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# What computes gradients, for exercises that ask for the formula.
AUTOGRAD = (
    Tensor.backward,
    torch.autograd.backward,
    torch.autograd.grad,
    torch.func.jvp,
    torch.autograd.forward_ad.make_dual,
)


class Forbidden(BaseException):
    """Raised where a reader's function calls what it should not; no `except Exception` stops it."""


def own_name(function: Any) -> str:
    """The full name of `function` if it is the book's own, whatever it is wrapped in; else "".

    >>> from gptbook.bpe import merge_pair
    >>> own_name(functools.partial(merge_pair, new_id=256))
    'gptbook.bpe.merge_pair'
    """
    for _ in range(10):
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__") or hasattr(function, "__func__"):
            function = getattr(function, "__wrapped__", None) or function.__func__
    for thing in (function, type(function)):
        module = getattr(thing, "__module__", None)
        if isinstance(module, str) and _within(module, "gptbook"):
            return f"{module}.{getattr(thing, '__qualname__', '')}"
    return ""


def _within(module: str, package: str) -> bool:
    inside = module == package or module.startswith(f"{package}.")
    return inside and not _is_exercise(module)


def _is_exercise(module: str) -> bool:
    return module == "gptbook.exercises" or module.startswith("gptbook.exercises.")


def _bare(name: str) -> str:
    """What torch's variants of a function have in common: _log_softmax, special_log_softmax."""
    return name.split(".")[0].removeprefix("special_").strip("_")


def name_of(thing: Any) -> str:
    """How a message names what is forbidden: 'F.cross_entropy', 'Tensor.logsumexp'."""
    if isinstance(thing, (str, torch.dtype)):
        return str(thing)
    name = getattr(thing, "__qualname__", str(thing)).replace("TensorBase.", "Tensor.")
    module = getattr(thing, "__module__", None) or ""
    if name.startswith("Tensor."):
        return name
    if module in ("torch.nn.functional", "torch._C._nn"):
        return f"F.{name}"
    if module.startswith("torch.nn."):
        return f"nn.{name}"
    if not module or module.startswith("torch._") or "_VariableFunctions" in name:  # built in
        return f"torch.{name.rpartition('.')[2]}"
    return f"{module}.{name}"


def _importing(frame: Any) -> bool:
    """True while a module is imported: what it runs then is not the reader's doing."""
    while frame and frame.f_globals.get("__name__") != "importlib._bootstrap":
        frame = frame.f_back
    return frame is not None


class _Functions(TorchFunctionMode):
    """Sees each call of torch, whether of a function, a method or an alias of either."""

    def __init__(self, owner: "Forbidding") -> None:
        super().__init__()
        self.owner = owner

    def __torch_function__(
        self, function: Callable, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.owner.look_at(_bare(getattr(function, "__name__", "")))
        self.owner.calling = getattr(function, "__name__", "")
        try:
            return function(*args, **(kwargs or {}))
        finally:
            self.owner.calling = ""


class _Operations(TorchDispatchMode):
    """Sees each operation that a call consists of, and the dtypes of what comes out."""

    def __init__(self, owner: "Forbidding") -> None:
        super().__init__()
        self.owner = owner

    def __torch_dispatch__(
        self, function: Callable, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.owner.look_at(_bare(function.__name__))
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (list, tuple)) else (made,):
            if isinstance(tensor, Tensor) and tensor.dtype in self.owner.dtypes:
                self.owner.stop(str(tensor.dtype))
        return made


class Forbidding:
    """A context in which none of `things` can be used; `found` names the first that was tried.

    Each thing is a function (torch's or anybody's), a class, whose objects can then neither be made
    nor called, a dtype, which no tensor may take, or the name of a package, as "gptbook".
    Functions of torch are recognized by name, so that F.log_softmax also stands for
    torch.log_softmax, Tensor.log_softmax and torch.special.log_softmax, and for F.cross_entropy,
    which computes it. Everything is restored at the end, also after an error.
    """

    def __init__(self, *things: Any) -> None:
        self.names: dict[str, str] = {}  # bare names of torch's functions, and how to print them
        self.codes: dict[Any, str] = {}  # the code of Python functions
        self.built_in: list[Any] = []
        self.classes: tuple[type, ...] = tuple(t for t in things if isinstance(t, type))
        self.dtypes = {thing for thing in things if isinstance(thing, torch.dtype)}
        self.packages = [thing for thing in things if isinstance(thing, str)]
        self.found = self.calling = ""
        for thing in things:
            if isinstance(thing, (str, torch.dtype, type)):
                continue
            module = getattr(thing, "__module__", None) or "torch"
            if hasattr(thing, "__code__"):
                self.codes[thing.__code__] = name_of(thing)
            if module.split(".")[0] == "torch" and thing is not torch.autograd.backward:
                self.names[_bare(thing.__name__)] = name_of(thing)
            elif not hasattr(thing, "__code__"):
                self.built_in.append(thing)

    def stop(self, name: str) -> None:
        """Note what was tried, and leave the reader's function."""
        self.found = self.found or name
        raise Forbidden(name)

    def look_at(self, name: str) -> None:
        """Stop if a function of torch with this bare name is forbidden."""
        if name in self.names:
            caller = self.calling if _bare(self.calling) != name else ""
            self.stop(f"{self.names[name]} (inside {caller})" if caller else self.names[name])

    def _profile(self, frame: Any, event: str, argument: Any) -> None:
        if event == "c_call" and any(argument is thing for thing in self.built_in):
            self.stop(name_of(argument))
        if event != "call":
            return
        code = frame.f_code
        if code in self.codes:
            self.stop(self.codes[code])
        if code.co_name in ("__init__", "forward") and self.classes:
            for cls in self.classes:
                if isinstance(frame.f_locals.get("self"), cls):
                    self.stop(name_of(cls))
        module = str(frame.f_globals.get("__name__"))
        if any(_within(module, package) for package in self.packages) and not _importing(frame):
            self.stop(f"{module}.{code.co_qualname}")

    def __enter__(self) -> "Forbidding":
        self.found = self.calling = ""
        self._modes: list[Any] = []
        if self.names or self.dtypes:
            self._modes = [_Functions(self), _Operations(self)]
        for mode in self._modes:
            mode.__enter__()
        self._before = sys.getprofile()
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *error: Any) -> None:
        sys.setprofile(self._before)
        for mode in reversed(self._modes):
            mode.__exit__(*error)
