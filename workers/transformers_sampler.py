"""Generation with transformers alone, for platforms without vLLM and as the reference implementation in the tests."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from conf.workers import ModelConfig, RolloutConfig, TopologyConfig
from grpo.types import Completion, Request, SamplingParams
from workers.models import load_model, load_tokenizer, replace_weights
from workers.rank_group import ALONE, RankInfo
from workers.sampler import Sampler
from workers.tokenization import encode
from workers.weights import Weights, fetch


class TransformersSampler(Sampler):
    """A plain sampling loop over the key-value cache, with a random generator per request."""

    def __init__(
        self,
        model: ModelConfig,
        rollout: RolloutConfig,
        topology: TopologyConfig | None = None,
        info: RankInfo = ALONE,
    ) -> None:
        super().__init__(info)
        if info.folder is not None:
            torch.set_num_threads(rollout.threads)
        self.device = torch.device(info.device)
        self.tokenizer = load_tokenizer(model.source)
        self.model = load_model(model.source, model.dtype).to(self.device)
        self.end_ids = torch.tensor(sorted(end_ids(self.tokenizer, self.model)), dtype=torch.long, device=self.device)
        self.batch_size = rollout.max_num_seqs

    def load_weights(self, weights: Weights) -> None:
        replace_weights(self.model, fetch(weights))
        self.version = weights.version

    def generate(self, requests: Sequence[Request], sampling: SamplingParams) -> Iterator[tuple[int, Completion]]:
        by_params: dict[SamplingParams, list[int]] = {}
        for index, request in enumerate(requests):
            by_params.setdefault(request.sampling or sampling, []).append(index)
        for params, indexes in by_params.items():
            for start in range(0, len(indexes), self.batch_size):
                batch = indexes[start : start + self.batch_size]
                yield from zip(batch, self._generate_batch([requests[index] for index in batch], params), strict=True)

    @torch.inference_mode()
    def _generate_batch(self, requests: Sequence[Request], sampling: SamplingParams) -> list[Completion]:
        prompts = [[*encode(self.tokenizer, r.prompt), *r.prefix] for r in requests]
        width = max(map(len, prompts))
        # Prompts end together, so padding is on the left and needs a mask.
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=self.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        generators = [torch.Generator(self.device).manual_seed(r.seed) for r in requests]
        rows = torch.arange(len(requests), device=self.device)  # the requests that the batch still holds
        tokens: list[list[int]] = [[] for _ in requests]
        logprobs: list[list[float]] = [[] for _ in requests]
        alive = torch.ones(len(requests), dtype=torch.bool, device=self.device)
        cache = None
        for _ in range(sampling.max_tokens):
            output = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = output.past_key_values
            chosen, chosen_logprobs = _sample(output.logits[:, -1].float(), sampling, generators)
            for row, token, logprob in zip(
                rows[alive].tolist(), chosen[alive].tolist(), chosen_logprobs[alive].tolist(), strict=True
            ):
                tokens[row].append(token)
                logprobs[row].append(logprob)
            alive &= ~torch.isin(chosen, self.end_ids)
            if sampling.stop:
                stopped = [_wrote(sampling.stop, self.tokenizer.decode(tokens[row])) for row in rows.tolist()]
                alive &= ~torch.tensor(stopped, device=self.device)
            if not alive.any():
                break
            ids = chosen[:, None]
            mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
            positions = positions[:, -1:] + 1
            if 2 * int(alive.sum()) <= len(rows):  # half of the completions have ended
                kept = alive.nonzero().flatten()
                ids, mask, positions, rows, alive = (each[kept] for each in (ids, mask, positions, rows, alive))
                generators = [generators[row] for row in kept.tolist()]
                cache.batch_select_indices(kept)
        return [self._completion(*row, sampling.stop) for row in zip(prompts, tokens, logprobs, strict=True)]

    def _completion(
        self, prompt: list[int], tokens: list[int], logprobs: list[float], stop: tuple[str, ...]
    ) -> Completion:
        text = self.tokenizer.decode(tokens, skip_special_tokens=True)
        ended = "stop_string" if _wrote(stop, text) else "length"
        return Completion(
            prompt_ids=tuple(prompt),
            token_ids=tuple(tokens),
            text=text,
            behavior_logprobs=tuple(logprobs),
            finish_reason="stop" if tokens[-1] in self.end_ids else ended,
            weights_version=self.version,
        )


def end_ids(tokenizer: Any, model: Any) -> set[int]:
    """The tokens that end a completion, as in vLLM: the tokenizer's end token, and all those of the generation config,
    such as <end_of_turn> of Gemma."""
    listed = model.generation_config.eos_token_id  # one, several or None
    found = {tokenizer.eos_token_id, *(listed if isinstance(listed, list) else [listed])}
    return found - {None}


def _wrote(stop: Sequence[str], text: str) -> bool:
    return any(string in text for string in stop)


def _sample(logits: Tensor, sampling: SamplingParams, generators: list[torch.Generator]) -> tuple[Tensor, Tensor]:
    """Sample a token per row from logits [B, vocabulary]; returns ids [B] and their log-probabilities [B]."""
    if sampling.temperature == 0:
        log_softmax = logits.log_softmax(-1)
        chosen = log_softmax.argmax(-1)
    else:
        log_softmax = _cut(logits / sampling.temperature, sampling).log_softmax(-1)
        draws = [torch.multinomial(row, 1, generator=g) for row, g in zip(log_softmax.exp(), generators, strict=True)]
        chosen = torch.cat(draws)
    return chosen, log_softmax.gather(-1, chosen[:, None]).squeeze(-1)


def _cut(logits: Tensor, sampling: SamplingParams) -> Tensor:
    """Mask the tokens that top-k and then top-p exclude, in vLLM's order."""
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    unused = torch.empty(0, dtype=torch.long)
    if sampling.top_k:
        logits = TopKLogitsWarper(sampling.top_k)(unused, logits)
    return TopPLogitsWarper(sampling.top_p)(unused, logits) if sampling.top_p < 1 else logits
