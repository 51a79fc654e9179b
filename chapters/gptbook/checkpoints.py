"""Checkpoints: one safetensors file from which a training run goes on as if never interrupted."""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from gptbook.device import random_state, set_random_state
from gptbook.files import read_tensors, remove_parts, written_whole
from gptbook.modes import unwrapped

FILE_FORMAT = "gptbook-checkpoint-1"
Batch = tuple[Tensor, Tensor]  # inputs and targets


def save_checkpoint(
    path: str | Path, model: nn.Module, optimizer: Optimizer, step: int, notes: Any = None
) -> None:
    """Write all that the next step depends on to the file `path`, whole or not at all.

    That is the parameters (tied ones once) and buffers of `model`, the state and learning rates of
    `optimizer`, the states of torch's random generators and the number of steps done. `notes` is
    anything that JSON can hold, such as {"losses": [2.5, 2.25]}.
    """
    model = unwrapped(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    tensors = {f"model.{name}": value for name, value in _tensors(model).items()}
    for parameter, state in optimizer.state.items():
        if id(parameter) not in names:
            raise ValueError("the optimizer trains a parameter that is not the model's")
        tensors |= {f"optimizer.{names[id(parameter)]}.{key}": v for key, v in state.items()}
    states = random_state(_device(model))
    tensors |= {f"random.{name}": state for name, state in states.items()}
    rates = [group["lr"] for group in optimizer.param_groups]
    content = {"step": step, "learning_rates": rates, "notes": notes}
    with written_whole(path) as part:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            part,
            metadata={"format": FILE_FORMAT, "content": json.dumps(content)},
        )


def load_checkpoint(path: str | Path, model: nn.Module, optimizer: Optimizer) -> int:
    """Put `model`, `optimizer` and torch's random generators where they were; return the step.

    `model` and `optimizer` must be built as for `save_checkpoint`; options of the optimizer other
    than the learning rates stay as they are. Raises ValueError, and changes nothing, if the file is
    truncated or no checkpoint, or if the model has other parameters. On the CPU the next step gives
    the same bits as without a break.
    """
    model, (content, saved) = unwrapped(model), _read(path)
    parameters, wanted = dict(model.named_parameters()), _tensors(model)
    found = {name.removeprefix("model."): t for name, t in saved.items() if name[:6] == "model."}
    if differ := sorted(wanted.keys() ^ found.keys()):
        raise ValueError(f"{path} is of another model; only one of the two has {differ[:5]}")
    for name, tensor in wanted.items():
        ours, theirs = (f"{tuple(t.shape)} {t.dtype}" for t in (tensor, found[name]))
        if ours != theirs:
            raise ValueError(f"{path} is of another model: {name} is {theirs} there, {ours} here")

    trained = [p for group in optimizer.param_groups for p in group["params"]]
    indices = {id(parameter): index for index, parameter in enumerate(trained)}
    index_of = {name: indices.get(id(parameter)) for name, parameter in parameters.items()}
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in saved.items():
        if name.startswith("optimizer."):
            name, key = name.removeprefix("optimizer.").rsplit(".", 1)
            if (index := index_of.get(name)) is None:
                raise ValueError(f"{path} is of an optimizer that trains {name}; this one does not")
            states.setdefault(index, {})[key] = _laid_out_as(parameters[name], tensor)
    if len(content["learning_rates"]) != len(optimizer.param_groups):
        raise ValueError(f"{path} is of an optimizer with other groups of parameters")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(found[name])
    optimizer.load_state_dict(
        {"state": states, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    for group, rate in zip(optimizer.param_groups, content["learning_rates"], strict=True):
        group["lr"] = rate
    random = {name.removeprefix("random."): t for name, t in saved.items() if name[:7] == "random."}
    set_random_state(_device(model), random)
    return content["step"]


def read_notes(path: str | Path) -> tuple[int, Any]:
    """Return (step, notes) of a checkpoint; ValueError if it is truncated or none."""
    content, _ = _read(path)
    return content["step"], content["notes"]


class CountedBatches:
    """An iterator over batches that keeps a check sum of all it has given out.

    Two of the same sum have, as good as surely, given the same batches in the same order.
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.batches, self.checksum = iter(batches), 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch = next(self.batches)
        for part in batch:
            bytes_ = part.cpu().contiguous().flatten().view(torch.uint8).numpy()
            self.checksum = zlib.crc32(bytes_.data, self.checksum)
        return batch

    def skip(self, count: int) -> None:
        """Give out `count` batches to nobody."""
        for _ in range(count):
            next(self)


class SavedRun:
    """A training run that is kept in the file `path`, with all that its next step depends on.

    If the file exists, the run goes on from there: `losses` are those so far, `batches` gives out
    the next one. `options` is what must be the same then, {name: value that JSON can hold}.

    Raises ValueError, and leaves the model as it was, if the file is of a run with other options or
    on other data.
    """

    def __init__(
        self,
        path: str | Path,
        model: nn.Module,
        optimizer: Optimizer,
        batches: Iterable[Batch],
        options: dict[str, Any],
    ) -> None:
        self.path, self.model, self.optimizer, self.options = path, model, optimizer, options
        self.batches = CountedBatches(batches)
        self.losses: list[float] = []
        Path(path).parent.mkdir(parents=True, exist_ok=True)  # now, not at the first save
        remove_parts(path)
        if Path(path).exists():
            self._resume()

    def _resume(self) -> None:
        step, notes = read_notes(self.path)
        if not isinstance(notes, dict) or not {"options", "losses", "data"} <= notes.keys():
            raise ValueError(f"{self.path} was not written by train; go on with load_checkpoint")
        saved = notes["options"]
        if other := [name for name in self.options if saved[name] != self.options[name]]:
            there, here = ({name: o[name] for name in other} for o in (saved, self.options))
            raise ValueError(
                f"{self.path} is of a run with {there}, not {here}; use its options or another path"
            )
        self.batches.skip(step * self.options["accumulate"])
        if self.batches.checksum != notes["data"]:
            raise ValueError(
                f"{self.path} is of a run on other batches; make the loader as for that run, with "
                "the same seed and, if it shuffles, a generator of its own, as make_loader does"
            )
        load_checkpoint(self.path, self.model, self.optimizer)
        self.losses = notes["losses"]

    def save(self, step: int) -> None:
        """Write the file, whole or not at all, after so many steps."""
        notes = {"options": self.options, "losses": self.losses, "data": self.batches.checksum}
        save_checkpoint(self.path, self.model, self.optimizer, step, notes)


def options_of(
    model: nn.Module, optimizer: Optimizer, loss_fn: Callable[..., Any]
) -> dict[str, Any]:
    """What a `SavedRun` compares of a model, an optimizer and a loss function."""
    model = unwrapped(model)
    trained = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    return {
        "config": str(getattr(model, "config", None)),
        "trained": trained,
        "layers": sorted({f"{type(m).__name__}({m.extra_repr()})" for m in model.modules()}),
        "loss_fn": getattr(loss_fn, "__qualname__", type(loss_fn).__qualname__),
    }


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """All parameters, tied ones once, and all buffers that belong into a file, by name."""
    kept = model.state_dict().keys()
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in kept}
    return dict(model.named_parameters()) | buffers


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """`tensor` with the strides of `parameter`, which the fused optimizer takes for granted."""
    if tensor.shape != parameter.shape:
        return tensor.clone()
    return torch.empty_like(parameter, requires_grad=False).copy_(tensor)


def _read(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The JSON content of a checkpoint and its tensors, on the CPU."""
    metadata, tensors = read_tensors(path)
    if metadata.get("format") != FILE_FORMAT:
        raise ValueError(f"{path} is not a checkpoint of the format {FILE_FORMAT!r}")
    return json.loads(metadata["content"]), tensors
