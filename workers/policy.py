"""The model as the actor trains it and as the reference reads it: a plain class, no Ray."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from conf.schema import AlgorithmConfig, ModelConfig
from grpo.batching import Batch, microbatches, minibatches
from grpo.logprobs import completion_logprobs
from grpo.losses import grpo_loss, token_weights
from workers.models import load_model, load_tokenizer, make_optimizer, make_schedule
from workers.weight_sync import Weights, publish


class Policy:
    """Weights on one device, and what GRPO asks of them."""

    def __init__(self, model: ModelConfig, algorithm: AlgorithmConfig, device: str) -> None:
        self.cfg = algorithm
        self.device = torch.device(device)
        self.source = model.source
        self.max_tokens = model.max_completion_tokens
        self.model = load_model(model.source, model.dtype, model.attention).to(self.device)
        if model.gradient_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        freeze(self.model, model.frozen)

    @torch.no_grad()
    def logprobs(self, batch: Batch) -> torch.Tensor:
        """Log-probabilities [B, T] of the completion tokens, on the CPU."""
        result = torch.zeros(batch.mask.shape)
        for index, part in microbatches(batch, self.cfg.micro_batch_tokens):
            logprobs, _ = self._forward(part.to(self.device))
            result[index, : logprobs.shape[1]] = logprobs.cpu()
        return result

    def _forward(self, part: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        return completion_logprobs(self.model, part.input_ids, part.prompt_lengths, part.mask, self.cfg.temperature)


class TrainedPolicy(Policy):
    """A policy with an optimizer: the actor."""

    def __init__(self, model: ModelConfig, algorithm: AlgorithmConfig, device: str, num_steps: int) -> None:
        super().__init__(model, algorithm, device)
        self.optimizer = make_optimizer(self.model, algorithm.optimizer)
        self.schedule = make_schedule(self.optimizer, algorithm.optimizer, num_steps * algorithm.num_updates)

    def update(self, batch: Batch) -> dict[str, float]:
        """One step of GRPO: `num_updates` optimizer updates over the batch, `old_logprobs` frozen.

        Returns: means over the loss tokens of all updates, and the last gradient norm and rate.
        """
        totals: dict[str, float] = {}
        for mini in minibatches(batch, self.cfg.num_updates):
            terms = self._accumulate_gradients(mini)
            grad_norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.cfg.optimizer.max_grad_norm))
            lr = self.schedule.get_last_lr()[0]
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
            for name, value in terms.items():
                totals[name] = totals.get(name, 0.0) + value / self.cfg.num_updates
        return totals | {"grad_norm": grad_norm, "lr": lr}

    def _accumulate_gradients(self, mini: Batch) -> dict[str, float]:
        """Gradients of the loss over a mini-batch, whatever the number of micro-batches."""
        assert mini.old_logprobs is not None
        weights = token_weights(mini.mask, self.cfg.aggregation, self.max_tokens)
        sums: dict[str, float] = {}
        for index, rows in microbatches(mini, self.cfg.micro_batch_tokens):
            part = rows.to(self.device)
            assert part.old_logprobs is not None
            logprobs, entropy = self._forward(part)
            terms = grpo_loss(
                logprobs,
                part.old_logprobs,
                part.advantages,
                part.ref_logprobs,
                self.cfg.clip_low,
                self.cfg.clip_high,
                self.cfg.kl_coef,
            )
            loss = (weights[index, : part.mask.shape[1]].to(self.device) * terms.loss).sum()
            loss.backward()
            sums["loss"] = sums.get("loss", 0.0) + loss.item()
            watched = {
                "entropy": entropy,
                "kl": terms.kl,
                "clip_low": terms.clipped_low,
                "clip_high": terms.clipped_high,
                "policy_ratio": terms.policy_ratio,
            }
            for name, values in watched.items():
                share = float((values * part.mask).sum()) / mini.num_tokens
                sums[name] = sums.get(name, 0.0) + share
        return sums

    def publish(self, folder: Path, version: int) -> Weights:
        """Put the current weights into shared memory for the samplers."""
        return publish(self._tensors(), folder, version)

    def save(self, folder: Path) -> None:
        """Write `hf/`, which transformers and vLLM load, and `trainer/`, what a resume needs."""
        import torch.distributed.checkpoint as dcp  # 3 s that only a checkpoint should cost

        self.model.save_pretrained(folder / "hf")
        load_tokenizer(self.source).save_pretrained(folder / "hf")
        dcp.save(self._trainer_state(), checkpoint_id=folder / "trainer", no_dist=True)

    def load(self, folder: Path) -> None:
        """Continue exactly where `save` was called."""
        import torch.distributed.checkpoint as dcp
        from torch.distributed.checkpoint.state_dict import set_state_dict

        state = self._trainer_state()
        dcp.load(state, checkpoint_id=folder / "trainer", no_dist=True)
        set_state_dict(self.model, self.optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])

    def _trainer_state(self) -> dict[str, Any]:
        from torch.distributed.checkpoint.state_dict import get_state_dict

        model, optimizer = get_state_dict(self.model, self.optimizer)
        return {"model": model, "optimizer": optimizer, "schedule": self.schedule.state_dict()}

    def _tensors(self) -> Mapping[str, torch.Tensor]:
        """Parameters by their name in the HF folder; a tied output layer is left out."""
        return dict(self.model.named_parameters())


def freeze(model: torch.nn.Module, prefixes: list[str]) -> None:
    """Take the parameters whose name contains one of `prefixes` out of training.

    Raises:
        ValueError: a prefix matches nothing.
    """
    for prefix in prefixes:
        matching = [parameter for name, parameter in model.named_parameters() if prefix in name]
        if not matching:
            raise ValueError(f"model.frozen={prefix}: no parameter of the model has that in its name")
        for parameter in matching:
            parameter.requires_grad_(False)
