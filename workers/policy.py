"""The model as the actor trains it and as the reference reads it: plain classes, no Ray."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from conf.algorithms import AlgorithmConfig
from conf.schema import ModelConfig
from grpo.batching import Batch, microbatches, minibatches
from grpo.losses import token_losses, token_weights
from workers.lora import add_adapter, merged_weights
from workers.models import load_model, load_tokenizer, make_optimizer, make_schedule, replace_weights
from workers.ranks import ALONE, Ranks, drop_gathered, place, whole
from workers.weight_sync import Weights, fetch, publish


class Policy:
    """Weights, or this rank's part of them, and what GRPO asks of them. `dtype` is that of the weights; the
    computation is in the model's own, `model.dtype`. offload: `rest` leaves the GPU's memory to others."""

    def __init__(
        self,
        model: ModelConfig,
        algorithm: AlgorithmConfig,
        device: str,
        ranks: Ranks = ALONE,
        offload: bool = False,
        dtype: str | None = None,
    ) -> None:
        self.cfg, self.ranks, self.offload = algorithm, ranks, offload
        self.resting = False
        self.device = torch.device(device)
        self.source = model.source
        self.max_tokens = model.max_completion_tokens
        self.dtype: torch.dtype = getattr(torch, model.dtype)
        self.model = self._load(model, dtype or model.dtype)
        if model.gradient_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
            self.model.train()  # transformers heeds it in this mode alone; there is no dropout to switch
        freeze(self.model, model.frozen)
        self.adapter = self._adapt(model)
        self.model = place(self.model, self.device, self.dtype)

    def _adapt(self, model: ModelConfig) -> Any:
        """The adapter that trains in place of the model, if one does."""
        return None

    @torch.no_grad()
    def logprobs(self, batch: Batch) -> torch.Tensor:
        """Log-probabilities [B, T] of the completion tokens, on the CPU; 0 in the rows of other ranks."""
        self._wake()
        result = torch.zeros(batch.mask.shape)
        for index, part in self._microbatches(batch):
            logprobs, _ = self._forward(part.to(self.device))
            result[index, : logprobs.shape[1]] = logprobs.cpu()
        drop_gathered(self.model)
        return result

    def load_weights(self, weights: Weights) -> None:
        replace_weights(self.model, dict(fetch(weights)))

    def save_weights(self, path: Path) -> None:
        weights = self._whole_weights()
        if self.ranks.is_first:
            save_file(weights, path)

    def read_weights(self, path: Path) -> None:
        replace_weights(self.model, load_file(path))

    def _microbatches(self, batch: Batch) -> Iterator[tuple[torch.Tensor, Batch]]:
        return microbatches(batch, self.cfg.micro_batch_tokens, self.ranks.rank, self.ranks.size)

    def rest(self) -> None:
        """Until it is needed again: the memory that PyTorch keeps for later goes to whoever shares the GPU, and
        with `offload` weights and optimizer wait in host memory."""
        if self.offload and not self.resting:
            self._move(torch.device("cpu"))
            self.resting = True
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _wake(self) -> None:
        if self.resting:
            self._move(self.device)
            self.resting = False

    def _move(self, device: torch.device) -> None:
        self.model.to(device)

    def _forward(self, part: Batch, entropy_gradient: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        temperature = self.cfg.sampling.temperature
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.model.completion_logprobs(
                part.input_ids, part.prompt_lengths, part.mask, temperature, entropy_gradient
            )

    def _load(self, model: ModelConfig, dtype: str) -> Any:
        return load_model(model.source, dtype, model.attn_implementation)

    def walk(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Parameters by their name in the HF folder, as others use them, one whole one at a time; a tied output
        layer is left out. All ranks must walk through them."""
        for name, parameter in self.model.named_parameters():
            yield name, whole(parameter.detach().to(self.dtype)).contiguous()

    def _whole_weights(self) -> dict[str, torch.Tensor]:
        """All of them in the first rank's host memory, none in the others'."""
        return {name: tensor.cpu() for name, tensor in self.walk() if self.ranks.is_first}


class TrainedPolicy(Policy):
    """A policy with an optimizer: the actor. What trains is float32: at a rate of 1e-6 most updates are
    too small for bfloat16 to hold."""

    def __init__(
        self,
        model: ModelConfig,
        algorithm: AlgorithmConfig,
        device: str,
        num_steps: int,
        ranks: Ranks = ALONE,
        offload: bool = False,
    ) -> None:
        super().__init__(model, algorithm, device, ranks, offload, model.dtype if model.lora.rank else "float32")
        self.optimizer = make_optimizer(self.model, algorithm.optimizer)
        self.schedule = make_schedule(self.optimizer, algorithm.optimizer, num_steps * algorithm.num_updates)
        self.skipped_in_row = 0

    def _adapt(self, model: ModelConfig) -> Any:
        return add_adapter(self.model, model.lora) if model.lora.rank else None

    def _move(self, device: torch.device) -> None:
        super()._move(device)
        for state in self.optimizer.state.values():
            for name, value in state.items():
                if isinstance(value, torch.Tensor) and value.dim() > 0:  # the count of steps stays on the CPU
                    state[name] = value.to(device)

    def ref_logprobs(self, batch: Batch) -> torch.Tensor:
        """`logprobs` of the base, without its adapter."""
        with self.adapter.disable_adapter():
            return self.logprobs(batch)

    def update(self, batch: Batch) -> dict[str, float]:
        """One step: `num_epochs` passes of `num_minibatches` updates each, `old_logprobs` frozen.

        Returns: means over the tokens of all updates, the last gradient norm and rate, and how many
        updates were skipped, because their gradient was not finite, now and without a good one since.
        """
        self._wake()
        totals: dict[str, float] = {}
        skipped = 0
        for _ in range(self.cfg.num_epochs):
            for mini in minibatches(batch, self.cfg.num_minibatches):
                terms = self._accumulate_gradients(mini)
                grad_norm, lr = self._move_weights()
                skipped += self.skipped_in_row > 0
                for name, value in terms.items():
                    totals[name] = totals.get(name, 0.0) + value / self.cfg.num_updates
        counts = {"skipped": float(skipped), "skipped_in_row": float(self.skipped_in_row)}
        if self.device.type == "cuda":
            counts["gpu_gb"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        return totals | {"grad_norm": grad_norm, "lr": lr} | counts

    def _move_weights(self) -> tuple[float, float]:
        """One optimizer update, unless the gradient is not finite; the gradient norm and the rate."""
        parameters = self.model.parameters()
        grad_norm = whole(torch.nn.utils.clip_grad_norm_(parameters, self.cfg.optimizer.max_grad_norm))
        lr = self.schedule.get_last_lr()[0]
        if torch.isfinite(grad_norm):
            self.skipped_in_row = 0
            self.optimizer.step()
            self.schedule.step()
        else:
            self.skipped_in_row += 1
        self.optimizer.zero_grad()
        return float(grad_norm), lr

    def _accumulate_gradients(self, mini: Batch) -> dict[str, float]:
        """Gradients of the loss over a mini-batch, whatever the number of micro-batches and of ranks."""
        cfg = self.cfg
        weights = token_weights(mini.loss_mask, cfg.loss.aggregation, self.max_tokens)
        sums: dict[str, float] = {}
        for index, rows in self._microbatches(mini):
            part = rows.to(self.device)
            logprobs, entropy = self._forward(part, entropy_gradient=cfg.loss.entropy_coef > 0)
            per_token, watched = token_losses(part, logprobs, entropy, cfg.loss, cfg.kl, cfg.correction)
            loss = (weights[index, : part.mask.shape[1]].to(self.device) * per_token).sum()
            (loss * self.ranks.size).backward()  # the ranks' gradients are averaged, and the loss is a sum
            sums["loss"] = sums.get("loss", 0.0) + loss.item()
            for name, values in watched.items():
                share = float((values * part.mask).sum()) / mini.num_tokens
                sums[name] = sums.get(name, 0.0) + share
        return self.ranks.sum(sums)

    def publish(self, folder: Path, version: int, keep: bool = True) -> Weights:
        """Put the current weights into shared memory for the samplers, or only say what they are; the first rank
        knows their checksum."""
        self._wake()
        return publish(self.walk(), folder, version, self.ranks.is_first, keep)

    def save(self, folder: Path) -> None:
        """Write `hf/`, which transformers and vLLM load, and `trainer/`, what a resume needs; with an
        adapter, `hf/` has it merged, and `adapter/` alone as peft loads it."""
        import torch.distributed.checkpoint as dcp  # 3 s that only a checkpoint should cost

        self._wake()
        weights, adapter = self._whole_weights(), self._whole_adapter()
        if self.ranks.is_first:
            self.model.save_pretrained(folder / "hf", state_dict=weights)
            say_dtype(folder / "hf" / "config.json", self.dtype)
            load_tokenizer(self.source).save_pretrained(folder / "hf")
            if self.adapter is not None:
                self.adapter.save_pretrained(folder / "adapter", state_dict=adapter)
        dcp.save(self._trainer_state(), checkpoint_id=folder / "trainer", no_dist=self.ranks.size == 1)

    def load(self, folder: Path) -> None:
        """Continue exactly where `save` was called, by as many ranks or by others."""
        import torch.distributed.checkpoint as dcp
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

        self._wake()
        state = self._trainer_state()
        dcp.load(state, checkpoint_id=folder / "trainer", no_dist=self.ranks.size == 1)
        set_state_dict(
            self.model,
            self.optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
            options=StateDictOptions(strict=False),
        )
        self.schedule.load_state_dict(state["schedule"])

    def _trainer_state(self) -> dict[str, Any]:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

        options = StateDictOptions(ignore_frozen_params=True)
        model, optimizer = get_state_dict(self.model, self.optimizer, options=options)
        return {"model": model, "optimizer": optimizer, "schedule": self.schedule.state_dict()}

    def walk(self) -> Iterator[tuple[str, torch.Tensor]]:
        if self.adapter is None:
            yield from super().walk()
            return
        for name, tensor in merged_weights(self.model):
            yield name, tensor.to(self.dtype).contiguous()

    def _whole_adapter(self) -> dict[str, torch.Tensor]:
        """The adapter's own weights by peft's names; nothing without one."""
        named = self.adapter.named_parameters() if self.adapter is not None else ()
        return {name: whole(p.detach()).cpu() for name, p in named if ".lora_" in name}


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


def say_dtype(config: Path, dtype: torch.dtype) -> None:
    """Transformers writes the type of the model in memory; the weights beside it were saved as `dtype`."""
    settings: Mapping[str, Any] = json.loads(config.read_text(encoding="utf-8"))
    named = {**settings, "dtype": str(dtype).removeprefix("torch.")}
    config.write_text(json.dumps(named, indent=2) + "\n", encoding="utf-8")
