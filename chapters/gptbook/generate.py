"""Generation with a GPT: greedy or sampled, one token after another; chapter 5 builds it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch
from torch import Generator, Tensor, nn

from gptbook.attention import KVCache
from gptbook.layout import lay_out_for_generation as lay_out_for_generation  # for what writes
from gptbook.model import GPT
from gptbook.modes import evaluating

Ids = TypeVar("Ids", Tensor, list)  # what `generate` takes, it gives back


def check_sampling(
    temperature: float = 0.0, top_k: int | None = None, top_p: float | None = None
) -> None:
    """Raise ValueError for a temperature, top_k or top_p that `pick_next` could not work with."""
    if not 0 <= temperature < torch.inf:
        raise ValueError(f"temperature={temperature} must be 0 or a positive number")
    if (top_k is not None and top_k < 1) or (top_p is not None and not 0 < top_p <= 1):
        raise ValueError(f"need top_k >= 1 and 0 < top_p <= 1; got {top_k} and {top_p}")


def pick_next(
    logits: Tensor,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Choose a token for each row of `logits` (B, V) and return their ids (B,).

    Temperature 0 takes the most likely token. Otherwise logits are divided by the temperature, cut
    to the `top_k` most likely tokens, then to the fewest that hold `top_p` of the
    probability (nucleus sampling, arXiv 1904.09751), and one token is drawn. The options are not
    checked here, once a token, but by `check_sampling`.
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits.float()
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / temperature  # at most 0: no overflow
    if top_k is not None:
        best = logits.topk(min(top_k, logits.shape[-1])).indices  # (B, k)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, best, logits.gather(-1, best))
    probabilities = logits.softmax(dim=-1)
    if top_p is not None and top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered  # what more likely tokens hold
        probabilities = probabilities.masked_fill(
            (before >= top_p).gather(-1, order.argsort(dim=-1)), 0.0
        )
    if generator is not None:
        probabilities = probabilities.to(generator.device)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0].to(logits.device)


def check_prompts(
    model: GPT, prompts: Sequence[Tensor | list[int]], max_new_tokens: int, eos_id: int | None
) -> list[Tensor]:
    """Return prompts as tensors (T,) on the model's device.

    Raises ValueError if the model cannot go on from one of them by `max_new_tokens`.
    """
    device, config = next(model.parameters()).device, model.config
    rows = [torch.as_tensor(prompt, device=device) for prompt in prompts]
    if any(row.dim() != 1 for row in rows):
        raise ValueError("need a list of rows of ids; put a single row in brackets")
    lengths = list(map(len, rows))
    if not lengths or min(lengths) == 0 or max_new_tokens < 0:
        raise ValueError(
            "need prompts of at least one token, <|endoftext|> for example, "
            f"and max_new_tokens >= 0; got prompts of {lengths} tokens and {max_new_tokens}"
        )
    ids = torch.cat(rows)
    whole = not ids.is_floating_point()
    if not whole or ids.min() < 0 or max(int(ids.max()), eos_id or 0) >= config.vocab_size:
        raise ValueError(
            f"ids must be whole numbers from 0 to {config.vocab_size - 1}; got {ids.dtype} "
            f"from {ids.min()} to {ids.max()}, and eos_id={eos_id}"
        )
    if (total := max(lengths) + max_new_tokens) > config.context_length:
        raise ValueError(
            f"{max(lengths)} prompt tokens and {max_new_tokens} new ones are {total}, "
            f"more than context_length={config.context_length}"
        )
    return rows


def make_caches(model: GPT, max_length: int) -> list[KVCache]:
    """One cache for each block, with room for `max_length` tokens.

    Raises ValueError if that is more than the model's context.
    """
    if max_length > model.config.context_length:
        raise ValueError(
            f"{max_length} tokens are more than context_length={model.config.context_length}"
        )
    return [KVCache(max_length) for _ in model.blocks]


@contextmanager
def last_position_only(model: nn.Module) -> Iterator[None]:
    """Let the output head compute the logits of the last position only, (B, 1, V), inside.

    Nothing else is asked for, and those of a long prompt would take a lot of memory: 64 prompts of
    500 tokens have 6 GB of GPT-2's logits.
    """
    head = getattr(model, "head", None)
    if not isinstance(head, nn.Module):
        yield
        return
    hook = head.register_forward_pre_hook(lambda _, given: (given[0][:, -1:],))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def never_choosing(model: nn.Module, ids: Sequence[int]) -> Iterator[None]:
    """Give these ids a logit of minus infinity inside.

    For ids that stand for no token: vocabularies are often padded to a round number of rows.
    """
    if not ids:
        yield
        return
    rows = torch.tensor(ids, device=next(model.parameters()).device)
    head = model.get_submodule("head")
    hook = head.register_forward_hook(
        lambda _, given, logits: logits.index_fill(-1, rows, -torch.inf)
    )
    try:
        yield
    finally:
        hook.remove()


def continue_rows(
    model: GPT,
    prompts: list[Tensor],
    max_new_tokens: int,
    choose: Callable[[Tensor], Tensor],
    eos_id: int | None = None,
    use_cache: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return the continued prompts as one tensor (B, longest + new), and where each ends, (B,).

    `choose` maps logits (B, V) to ids (B,). The rows advance together, from the end of the
    shortest prompt on. Where a row still has prompt left, its own token is kept instead of the
    chosen one. So nothing is padded, masked or shifted, and each row gets the tokens that it would
    get alone.
    """
    lengths = list(map(len, prompts))
    total, device = max(lengths) + max_new_tokens, prompts[0].device
    text = torch.full((len(prompts), total), eos_id or 0, device=device)
    for row, prompt in enumerate(prompts):
        text[row, : len(prompt)] = prompt
    first = torch.tensor(lengths, device=device)  # (B,): where each row begins to write
    stop = first + max_new_tokens  # (B,): and where it ends; an eos_id will end it earlier
    caches = make_caches(model, total) if use_cache and model.blocks else None
    seen = 0  # how many tokens the caches hold
    with torch.inference_mode():  # no gradients, and less bookkeeping than under no_grad
        for t in range(min(lengths), total):
            logits = model(text[:, seen:t], caches)[:, -1]  # (B, V)
            if logits.isnan().any():  # the largest of them would be id 0, or whichever is first
                raise ValueError(f"the model's logits for token {t} are NaN; are its weights?")
            chosen = choose(logits)  # (B,)
            if t < max(lengths):
                chosen = chosen.where(first <= t, text[:, t])
            text[:, t] = chosen
            if eos_id is not None:
                ends = (chosen == eos_id) & (first <= t) & (t < stop)
                stop[ends] = t + 1
                if (stop <= t + 1).all():
                    break
            seen = t if caches else 0
    written = torch.arange(total, device=device) < stop[:, None]  # (B, longest + new)
    return text.where(written, eos_id or 0), stop


def generate(
    model: GPT,
    ids: Ids,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    eos_id: int | None = None,
    use_cache: bool = True,
    generator: Generator | None = None,
) -> Ids:
    """Continue every prompt of `ids`, a list or a tensor, by up to `max_new_tokens`.

    A tensor (B, T) gives a tensor (B, T + new tokens): a row that has produced `eos_id` is filled
    up with it, and when every row has, generation stops. A list of prompts, each a list of ids or
    a tensor (T,), which may differ in length, gives a list of tensors (T + new tokens,), each
    ending with the `eos_id` that it produced, if it did.

    With `use_cache`, each step computes only the newest token. Raises ValueError if a text would
    outgrow the model's context or an option is out of range.
    """
    if isinstance(ids, Tensor) and ids.dim() != 2:
        raise ValueError(f"ids must have the shape (B, T), not {tuple(ids.shape)}")
    check_sampling(temperature, top_k, top_p)
    prompts = check_prompts(model, list(ids), max_new_tokens, eos_id)
    choose = partial(
        pick_next, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator
    )
    with evaluating(model), last_position_only(model):
        text, stop = continue_rows(model, prompts, max_new_tokens, choose, eos_id, use_cache)
    if isinstance(ids, Tensor):
        return text[:, : stop.max()]
    return [row[:end] for row, end in zip(text, stop, strict=True)]
