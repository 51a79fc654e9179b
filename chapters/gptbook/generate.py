"""Writing with a GPT: greedy or sampled, one token after another; chapter 4 builds it."""

import torch

from gptbook.attention import KVCache


def pick_next(logits, temperature=0.0, top_k=None, top_p=None, generator=None):
    """Choose a token for each row of `logits` (B, V) and return their ids (B,).

    Temperature 0 takes the most likely token. Otherwise logits are divided by the temperature, cut
    to the `top_k` most likely tokens, then to the fewest that hold a share `top_p` of the
    probability (nucleus sampling, arXiv 1904.09751), and one token is drawn.
    """
    if not 0 <= temperature < torch.inf:
        raise ValueError(f"temperature={temperature} must be 0 or a positive number")
    if (top_k is not None and top_k < 1) or (top_p is not None and not 0 < top_p <= 1):
        raise ValueError(f"need top_k >= 1 and 0 < top_p <= 1; got {top_k} and {top_p}")
    if temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits.float()
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / temperature  # at most 0: no overflow
    if top_k is not None:
        best = logits.topk(min(top_k, logits.shape[-1])).indices  # (B, k)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, best, logits.gather(-1, best))
    probabilities = logits.softmax(dim=-1)
    if top_p is not None:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered  # the share held by more likely tokens
        probabilities = probabilities.masked_fill(
            (before >= top_p).gather(-1, order.argsort(dim=-1)), 0.0
        )
    if generator is not None:
        probabilities = probabilities.to(generator.device)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0].to(logits.device)


@torch.no_grad()
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
    """Continue each row of `ids` (B, T) by up to `max_new_tokens`; return (B, T + new tokens).

    A row that has produced `eos_id` is filled up with it; when every row has, generation stops.
    With `use_cache`, each step computes only the newest token. Raises ValueError if the text would
    outgrow the model's context or an option is out of range.
    """
    if ids.dim() != 2 or ids.shape[1] == 0 or max_new_tokens < 0:
        raise ValueError(
            "need ids of the shape (B, T) with at least one token, <|endoftext|> for example, "
            f"and max_new_tokens >= 0; got {tuple(ids.shape)} and {max_new_tokens}"
        )
    if int(ids.max()) >= model.config.vocab_size:
        raise ValueError(f"id {int(ids.max())} is not below vocab_size={model.config.vocab_size}")
    if (total := ids.shape[1] + max_new_tokens) > model.config.context_length:
        raise ValueError(
            f"{ids.shape[1]} prompt tokens and {max_new_tokens} new ones are {total}, "
            f"more than context_length={model.config.context_length}"
        )
    caches = [KVCache(total) for _ in model.blocks] if use_cache else None
    ended = torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)
    new, was_training = ids, model.training
    model.eval()
    try:
        for _ in range(max_new_tokens):
            logits = model(new if use_cache else ids, caches)[:, -1]  # (B, V)
            chosen = pick_next(logits, temperature, top_k, top_p, generator)
            if eos_id is not None:
                chosen = chosen.masked_fill(ended, eos_id)
                ended |= chosen == eos_id
            new = chosen[:, None]
            ids = torch.cat([ids, new], dim=1)
            if ended.all():
                break
    finally:
        model.train(was_training)
    return ids
