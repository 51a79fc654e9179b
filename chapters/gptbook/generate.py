"""Writing with a GPT: greedy or sampled, one token after another; chapter 4 builds it."""

import torch

from gptbook.attention import KVCache


def check_sampling(temperature=0.0, top_k=None, top_p=None):
    """Raise ValueError for a temperature, top_k or top_p that `pick_next` could not work with."""
    if not 0 <= temperature < torch.inf:
        raise ValueError(f"temperature={temperature} must be 0 or a positive number")
    if (top_k is not None and top_k < 1) or (top_p is not None and not 0 < top_p <= 1):
        raise ValueError(f"need top_k >= 1 and 0 < top_p <= 1; got {top_k} and {top_p}")


def pick_next(logits, temperature=0.0, top_k=None, top_p=None, generator=None):
    """Choose a token for each row of `logits` (B, V) and return their ids (B,).

    Temperature 0 takes the most likely token. Otherwise logits are divided by the temperature, cut
    to the `top_k` most likely tokens, then to the fewest that hold a share `top_p` of the
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
        before = ordered.cumsum(dim=-1) - ordered  # the share held by more likely tokens
        probabilities = probabilities.masked_fill(
            (before >= top_p).gather(-1, order.argsort(dim=-1)), 0.0
        )
    if generator is not None:
        probabilities = probabilities.to(generator.device)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0].to(logits.device)


def lay_out_for_generation(model):
    """Store every weight that is taller than wide column after column, in place, for speed.

    Multiplied with a single token, a weight (out, in) is read once, and many CPUs read it faster
    along its longer axis. Values, results and the tie of head and embedding stay; looking up
    embeddings gets slower, so this is for a model that writes, not for one in training.
    """
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear) and layer.out_features > layer.in_features:
            layer.weight.data = layer.weight.data.t().contiguous().t()


def check_prompts(config, prompts, max_new_tokens, eos_id=None):
    """Return the prompts' lengths, and the longest with `max_new_tokens` more.

    Raises ValueError if a GPT of this `config` cannot go on so far from `prompts`, tensors (T,).
    """
    if any(prompt.dim() != 1 for prompt in prompts):
        raise ValueError("need a list of rows of ids; put a single row in brackets")
    lengths = [len(prompt) for prompt in prompts]
    if min(lengths, default=0) == 0 or max_new_tokens < 0:
        raise ValueError(
            "need prompts of at least one token, <|endoftext|> for example, "
            f"and max_new_tokens >= 0; got prompts of {lengths} tokens and {max_new_tokens}"
        )
    ids = torch.cat(prompts)
    if ids.is_floating_point() or ids.min() < 0 or max(ids.max(), eos_id or 0) >= config.vocab_size:
        raise ValueError(
            f"ids must be whole numbers from 0 to {config.vocab_size - 1}; got {ids.dtype} "
            f"from {ids.min()} to {ids.max()}, and eos_id={eos_id}"
        )
    if (total := max(lengths) + max_new_tokens) > config.context_length:
        raise ValueError(
            f"{max(lengths)} prompt tokens and {max_new_tokens} new ones are {total}, "
            f"more than context_length={config.context_length}"
        )
    return lengths, total


def generate(
    model,
    ids,
    max_new_tokens,
    temperature=0.0,
    top_k=None,
    top_p=None,
    eos_id=None,
    use_cache=True,
    generator=None,
):
    """Continue every prompt of `ids` by up to `max_new_tokens`.

    A tensor (B, T) gives a tensor (B, T + new tokens): a row that has produced `eos_id` is filled
    up with it, and when every row has, generation stops. A list of prompts, each a list of ids or
    a tensor (T,), which may differ in length, gives a list of tensors (T + new tokens,), each
    ending with the `eos_id` that it produced, if it did.

    The rows advance together, from the end of the shortest prompt on. Where a row still has prompt
    left, its own token is kept instead of the chosen one. So nothing is padded, masked or shifted,
    and each row gets the tokens that it would get alone.

    With `use_cache`, each step computes only the newest token. Raises ValueError if a text would
    outgrow the model's context or an option is out of range.
    """
    device = next(model.parameters()).device
    if isinstance(ids, torch.Tensor) and ids.dim() != 2:
        raise ValueError(f"ids must have the shape (B, T), not {tuple(ids.shape)}")
    prompts = [torch.as_tensor(prompt, device=device) for prompt in ids]
    check_sampling(temperature, top_k, top_p)
    lengths, total = check_prompts(model.config, prompts, max_new_tokens, eos_id)

    fill = eos_id or 0
    text = torch.full((len(prompts), total), fill, device=device)  # (B, longest prompt + new)
    for row, prompt in enumerate(prompts):
        text[row, : len(prompt)] = prompt
    first = torch.tensor(lengths, device=device)  # (B,): where each row begins to write
    stop = first + max_new_tokens  # (B,): and where it ends; an eos_id will end it earlier
    caches = [KVCache(total) for _ in model.blocks] if use_cache else None
    seen, was_training = 0, model.training  # seen: how many tokens the caches hold
    model.eval()
    try:
        with torch.inference_mode():  # no gradients, and less bookkeeping than under no_grad
            for t in range(min(lengths), total):
                logits = model(text[:, seen:t], caches)[:, -1]  # (B, V)
                chosen = pick_next(logits, temperature, top_k, top_p, generator)
                if t < max(lengths):
                    chosen = chosen.where(first <= t, text[:, t])
                text[:, t] = chosen
                if eos_id is not None:
                    ends = (chosen == eos_id) & (first <= t) & (t < stop)
                    stop[ends] = t + 1
                    if (stop <= t + 1).all():
                        break
                seen = t if use_cache else 0
    finally:
        model.train(was_training)
    text.masked_fill_(torch.arange(total, device=device) >= stop[:, None], fill)
    if isinstance(ids, torch.Tensor):
        return text[:, : stop.max()]
    return [row[:end] for row, end in zip(text, stop, strict=True)]
