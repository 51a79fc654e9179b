"""The base class of all adapters: something small and trained beside a frozen linear layer."""

from typing import Any, Self

import torch
from torch import Tensor, nn


def in_type_of(x: Tensor, weight: Tensor) -> Tensor:
    """x in the type of `weight`: a base in bf16 may have adapters in float32.

    Inside autocast, which chooses types by itself, x stays as it is.
    """
    return x if torch.is_autocast_enabled(x.device.type) else x.to(weight.dtype)


class Adapter(nn.Module):
    """A frozen `nn.Linear` with something trained beside it.

    A kind of adapter implements `adapted`, the output that base and adapter give together, and
    `merged_weight`, the matrix (out, in) of a plain linear layer that does the same. It is meant
    for `nn.Linear` layers whose weight is their own. It computes in its own type, and its output
    has the base's.
    """

    OPTIONS: tuple[str, ...] = ()  # the attributes that make two adapters of a kind differ

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        if not isinstance(base, nn.Linear):
            raise TypeError(f"adapters go beside nn.Linear, not {type(base).__name__}")
        self.base = base.requires_grad_(False)
        self.kept: Tensor | None = None  # the weight of the base while this adapter is merged
        self.off = False  # inside `adapters_off`, the base answers alone
        self.training = base.training  # beside a layer that does not train, no dropout

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) -> (…, out)."""
        if self.merged or self.off:
            return self.base(x)
        rows = x.reshape(-1, self.base.in_features)  # (N, in): one axis for all tokens
        return self.adapted(rows).view(*x.shape[:-1], self.base.out_features)

    # What other tools look at in a linear layer.

    @property
    def weight(self) -> Tensor:
        """The base's weight (out, in)."""
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        """The base's bias (out,), or None."""
        return self.base.bias

    @property
    def in_features(self) -> int:
        """The width of the input."""
        return self.base.in_features

    @property
    def out_features(self) -> int:
        """The width of the output."""
        return self.base.out_features

    def adapted(self, x: Tensor) -> Tensor:
        """What base and adapter make of x together: (N, in) -> (N, out)."""
        raise NotImplementedError

    def merged_weight(self) -> Tensor:
        """The weight (out, in) of a linear layer that does what base and adapter do together."""
        raise NotImplementedError

    @property
    def merged(self) -> bool:
        """True while the base holds what was learned."""
        return self.kept is not None

    def merge(self) -> None:
        """Put what was learned into the base's weight; ValueError if it is there already."""
        if self.merged:
            raise ValueError("this adapter is merged already; merging twice would add it twice")
        weight = self.base.weight
        float32 = torch.autocast(weight.device.type, enabled=False)  # no rounding to bf16
        with torch.inference_mode(False), torch.no_grad(), float32:
            self.kept, weight.data = weight.data, self.merged_weight().to(weight.dtype)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Restore the base's own weight exactly; ValueError if the adapter is not merged."""
        if self.kept is None:
            raise ValueError("this adapter is not merged")
        self.base.weight.data, self.kept = self.kept.to(self.base.weight), None

    def extra_repr(self) -> str:
        """The options, as `print(model)` shows them and checkpoints compare them."""
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.OPTIONS)

    def _save_to_state_dict(self, *arguments: Any) -> None:
        if self.merged:
            raise ValueError("a merged adapter would be saved with its change counted twice")
        super()._save_to_state_dict(*arguments)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        if self.merged:
            raise ValueError("weights cannot be loaded into a merged adapter; unmerge it first")
        super()._load_from_state_dict(*arguments)

    # How a kind stands in the files of peft; `peft_files` reads and writes them.

    def peft_config(self) -> dict[str, Any]:
        """What adapter_config.json says of this adapter; "r" and "lora_alpha" are the layer's."""
        raise NotImplementedError

    def peft_tensors(self) -> dict[str, Tensor]:
        """What is trained, by the names that peft gives it."""
        raise NotImplementedError

    @classmethod
    def from_peft(cls, base: nn.Linear, config: dict[str, Any]) -> Self | None:
        """An adapter with the options of a config; None if the config is of another kind."""
        raise NotImplementedError

    def load_peft(self, tensors: dict[str, Tensor]) -> None:
        """Take over tensors with the names and shapes of `peft_tensors`."""
        own = self.peft_tensors()
        with torch.no_grad():
            for name, tensor in tensors.items():
                own[name].copy_(tensor)
