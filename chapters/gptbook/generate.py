"""Writing with a GPT: greedy or sampled, one token after another; chapter 4 builds it."""

import torch

from gptbook.attention import KVCache


def pick_next(logits, temperature=0.0, top_k=None, top_p=None, generator=None):
    """Choose a token for each row of `logits` (B, V) and return their ids (B,).

    Temperature 0 takes the most likely token. Otherwise logits are divided by the temperature, cut
    to the `top_k` most likely tokens, then to the fewest that hold a share `top_p` of the
    probability (nucleus sampling, arXiv 1904.09751), and one token is drawn.
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits.float() / temperature
    if top_k is not None:
        kth = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]  # (B, 1)
        logits = logits.masked_fill(logits < kth, -torch.inf)
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
    if (total := ids.shape[1] + max_new_tokens) > model.config.context_length:
        raise ValueError(
            f"{ids.shape[1]} prompt tokens and {max_new_tokens} new ones are {total}, "
            f"more than context_length={model.config.context_length}"
        )
    if ids.shape[1] == 0:
        raise ValueError(
            "the prompt is empty; start with at least one token, <|endoftext|> for example"
        )
    if (
        temperature < 0
        or (top_k is not None and top_k < 1)
        or (top_p is not None and not 0 < top_p <= 1)
    ):
        raise ValueError(
            f"need temperature >= 0, top_k >= 1 and 0 < top_p <= 1; "
            f"got {temperature}, {top_k} and {top_p}"
        )
    was_training = model.training
    model.eval()
    caches = [KVCache(total) for _ in model.blocks] if use_cache else None
    ended = torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)
    new = ids
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
    model.train(was_training)
    return ids
