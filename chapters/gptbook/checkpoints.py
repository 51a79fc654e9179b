"""Checkpoints: one safetensors file from which a training run goes on as if never interrupted."""

import json
import zlib

import torch
from safetensors.torch import save_file

from gptbook.device import random_state, set_random_state
from gptbook.files import read_tensors, written_whole

FILE_FORMAT = "gptbook-checkpoint-1"


def save_checkpoint(path, model, optimizer, step, notes=None):
    """Write all that the next step depends on to the file `path`, whole or not at all.

    That is the parameters (tied ones once) and buffers of `model`, the state and learning rates of
    `optimizer`, the states of torch's random generators and the number of steps done. `notes` is
    anything that JSON can hold, such as {"losses": [2.5, 2.25]}.
    """
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


def load_checkpoint(path, model, optimizer):
    """Put `model`, `optimizer` and torch's random generators where they were; return the step.

    `model` and `optimizer` must be built as for `save_checkpoint`; options of the optimizer other
    than the learning rates stay as they are. Raises ValueError, and changes nothing, if the file is
    truncated or no checkpoint, or if the model has other parameters. On the CPU the next step gives
    the same bits as without a break.
    """
    content, saved = _read(path)
    parameters, wanted = dict(model.named_parameters()), _tensors(model)
    found = {name.removeprefix("model."): t for name, t in saved.items() if name[:6] == "model."}
    if differ := sorted(wanted.keys() ^ found.keys()):
        raise ValueError(f"{path} is of another model; only one of the two has {differ[:5]}")
    for name, tensor in wanted.items():
        ours, theirs = (f"{tuple(t.shape)} {t.dtype}" for t in (tensor, found[name]))
        if ours != theirs:
            raise ValueError(f"{path} is of another model: {name} is {theirs} there, {ours} here")

    trained = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = {id(parameter): number for number, parameter in enumerate(trained)}
    numbers = {name: numbers.get(id(parameter)) for name, parameter in parameters.items()}
    states = {}
    for name, tensor in saved.items():
        if name.startswith("optimizer."):
            name, key = name.removeprefix("optimizer.").rsplit(".", 1)
            if numbers.get(name) is None:
                raise ValueError(f"{path} is of an optimizer that trains {name}; this one does not")
            states.setdefault(numbers[name], {})[key] = _laid_out_as(parameters[name], tensor)
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


def read_notes(path):
    """Return (step, notes) of a checkpoint; ValueError if it is truncated or none."""
    content, _ = _read(path)
    return content["step"], content["notes"]


class CountedBatches:
    """An iterator over batches that keeps a check sum of all it has given out.

    Two of the same sum have, as good as surely, given the same batches in the same order.
    """

    def __init__(self, batches):
        self.batches, self.checksum = iter(batches), 0

    def __iter__(self):
        return self

    def __next__(self):
        batch = next(self.batches)
        for part in batch:
            bytes_ = part.cpu().contiguous().flatten().view(torch.uint8).numpy()
            self.checksum = zlib.crc32(bytes_, self.checksum)
        return batch

    def skip(self, count):
        """Give out `count` batches to nobody."""
        for _ in range(count):
            next(self)


def _device(model):
    return next(model.parameters()).device


def _tensors(model):
    """All parameters, tied ones once, and all buffers that belong into a file, by name."""
    kept = model.state_dict().keys()
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in kept}
    return dict(model.named_parameters()) | buffers


def _laid_out_as(parameter, tensor):
    """`tensor` with the strides of `parameter`, which the fused optimizer takes for granted."""
    if tensor.shape != parameter.shape:
        return tensor.clone()
    return torch.empty_like(parameter, requires_grad=False).copy_(tensor)


def _read(path):
    """The JSON content of a checkpoint and its tensors, on the CPU."""
    metadata, tensors = read_tensors(path)
    if metadata.get("format") != FILE_FORMAT:
        raise ValueError(f"{path} is not a checkpoint of the format {FILE_FORMAT!r}")
    return json.loads(metadata["content"]), tensors
