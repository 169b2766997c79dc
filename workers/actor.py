"""The policy in its worker processes: the actor trains it, the reference is a frozen copy.

`Actor` and `Reference` are Ray actor classes; the driver calls them through a RankGroup, all ranks at once. Without Ray
they are plain objects: `Actor(model, algorithm, TopologyConfig(), num_steps=10)` trains on one CPU.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from conf.algorithms import AlgorithmConfig
from conf.workers import ModelConfig, TopologyConfig
from grpo.advantages import kl_penalized_advantages
from grpo.grpo import Batch, microbatches, minibatches, token_losses, token_weights
from grpo.losses import POLICY_LOSSES
from workers.checkpoint import load_trainer, save_hf_folder, save_trainer
from workers.checksum import combine, weights_sha256
from workers.fsdp import full_tensor, join_ranks, reshard, shard_model, sum_metrics, sum_over_ranks
from workers.lora import adapter_weights, add_adapter, merged_weights, without_adapter
from workers.models import freeze, load_model, make_optimizer, make_schedule, move, replace_weights
from workers.rank_group import ALONE, RankInfo
from workers.recomputation import checkpoint_layers
from workers.stacks import announce
from workers.trainable import check_logprobs
from workers.weights import Transfer, Weights, fetch, publish


class Policy:
    """A model, or this rank's shard of it, that computes log-probabilities.

    dtype    of the stored weights; the computation uses `model.dtype`
    offload  whether `offload` moves the weights to host memory, so that others can use the GPU
    """

    def __init__(
        self,
        model: ModelConfig,
        algorithm: AlgorithmConfig,
        topology: TopologyConfig,
        info: RankInfo,
        dtype: str,
        offload: bool,
    ) -> None:
        self.stack = announce(info)
        self.optimizer: Any = None  # the actor has one
        if info.folder is not None:
            torch.set_num_threads(topology.num_threads(info.size))
        join_ranks(info, topology.timeout_s)
        self.cfg, self.info, self.can_offload = algorithm, info, offload
        self.is_offloaded = False
        self.device = torch.device(info.device)
        self.source = model.source
        self.max_tokens = model.max_completion_tokens
        self.dtype: torch.dtype = getattr(torch, model.dtype)
        self.model = self._load(model, dtype)
        if model.gradient_checkpointing:
            checkpoint_layers(self.model)
        freeze(self.model, model.frozen)
        self.adapter = self._add_adapter(model)
        self.model = shard_model(self.model, self.device, self.dtype)

    def ready(self) -> None:
        """Return when the model is loaded."""

    @torch.no_grad()
    def logprobs(self, batch: Batch) -> Tensor:
        """Log-probabilities [B, T] of the completion tokens, on the CPU of every rank."""
        self.onload()
        result = torch.zeros(batch.mask.shape)
        for index, part in self._microbatches(batch):
            logprobs, _ = self._forward(part.to(self.device))
            result[index, : logprobs.shape[1]] = logprobs.cpu()
        reshard(self.model)
        return sum_over_ranks(result)  # each rank computed its own rows

    def offload(self) -> None:
        """Release the GPU's memory to other processes until `onload`."""
        if self.can_offload and not self.is_offloaded:
            move(self.model, self.optimizer, torch.device("cpu"))
            self.is_offloaded = True
        torch.cuda.empty_cache()

    def onload(self) -> None:
        if self.is_offloaded:
            move(self.model, self.optimizer, self.device)
            self.is_offloaded = False

    def iter_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Full parameters in `model.dtype`, without a tied output layer. All ranks must iterate together."""
        for name, parameter in self.model.named_parameters():
            yield name, full_tensor(parameter.detach().to(self.dtype)).contiguous()

    def _full_weights(self) -> dict[str, Tensor]:
        """All parameters in the host memory of the first rank; empty on the others."""
        return {name: tensor.cpu() for name, tensor in self.iter_weights() if self.info.is_first}

    def _microbatches(self, batch: Batch) -> Iterator[tuple[Tensor, Batch]]:
        return microbatches(batch, self.cfg.micro_batch_tokens, self.info.rank, self.info.size)

    def _forward(self, part: Batch, entropy_gradient: bool = False) -> tuple[Tensor, Tensor]:
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.model.completion_logprobs(part, self.cfg.sampling.temperature, entropy_gradient)

    def _load(self, model: ModelConfig, dtype: str) -> Any:
        return load_model(model.source, dtype, packed=True)

    def _add_adapter(self, model: ModelConfig) -> Any:
        """The adapter that trains instead of the model, or None."""
        return None


class Reference(Policy):
    """A frozen policy to which the KL divergence is measured."""

    def __init__(
        self, model: ModelConfig, algorithm: AlgorithmConfig, topology: TopologyConfig, info: RankInfo = ALONE
    ) -> None:
        super().__init__(model, algorithm, topology, info, model.dtype, topology.offload_reference)
        self.offload()

    def ref_logprobs(self, batch: Batch) -> Tensor:
        logprobs = self.logprobs(batch)
        self.offload()
        return logprobs

    def load_weights(self, weights: Weights) -> None:
        replace_weights(self.model, fetch(weights))

    def save(self, path: Path) -> None:
        weights = self._full_weights()
        if self.info.is_first:
            save_file(weights, path)

    def load(self, path: Path) -> None:
        replace_weights(self.model, load_file(path))


@dataclass(frozen=True)
class UpdateResult:
    """What a training step reports.

    metrics            means over the step's completion tokens, and the last gradient norm and learning rate
    old_logprobs       float32 [B, T], of the policy before the step's first update
    skipped_in_a_row   optimizer updates that were skipped since the last one with a finite gradient
    """

    metrics: dict[str, float]
    old_logprobs: Tensor
    skipped_in_a_row: int


class Actor(Policy):
    """The policy that trains. Trained parameters are float32, because most updates are too small for bfloat16."""

    def __init__(
        self,
        model: ModelConfig,
        algorithm: AlgorithmConfig,
        topology: TopologyConfig,
        num_steps: int,
        info: RankInfo = ALONE,
    ) -> None:
        dtype = model.dtype if model.lora.rank else "float32"
        super().__init__(model, algorithm, topology, info, dtype, topology.offload_actor)
        self.optimizer = make_optimizer(self.model, algorithm.optimizer)
        self.schedule = make_schedule(self.optimizer, algorithm.optimizer, num_steps * algorithm.num_updates)
        self.policy_loss = POLICY_LOSSES[algorithm.loss.name]
        self.transfer = Transfer.of(topology, info.device)
        self.sender: Any = None  # vLLM's, once connected
        self.skipped_in_a_row = 0
        self.offload()

    def update(self, batch: Batch, ref_logprobs: Tensor | None = None) -> UpdateResult:
        """One training step: `num_epochs` passes over the batch, of `num_minibatches` optimizer updates each. An
        update whose gradient is not finite is skipped."""
        self.onload()
        batch = self._complete(batch, ref_logprobs)
        old_logprobs, totals, skipped = batch.old_logprobs, dict[str, float](), 0
        for _ in range(self.cfg.num_epochs):
            for minibatch in minibatches(batch, self.cfg.num_minibatches):
                metrics, logprobs = self._backward(minibatch)
                if old_logprobs is None:  # there is one update: its forward pass ran on the old policy
                    old_logprobs = sum_over_ranks(logprobs)
                norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.cfg.optimizer.max_grad_norm)
                grad_norm, lr = full_tensor(norm), self.schedule.get_last_lr()[0]
                if torch.isfinite(grad_norm):
                    self.optimizer.step()
                    self.schedule.step()
                    self.skipped_in_a_row = 0
                else:
                    self.skipped_in_a_row += 1
                    skipped += 1
                self.optimizer.zero_grad()
                for name, value in metrics.items():
                    totals[name] = totals.get(name, 0.0) + value / self.cfg.num_updates
        assert old_logprobs is not None
        totals |= {"grad_norm": float(grad_norm), "lr": lr}
        totals |= {"skipped": float(skipped), "skipped_in_row": float(self.skipped_in_a_row)}
        if self.device.type == "cuda":
            totals["gpu_gb"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        return UpdateResult(totals, old_logprobs, self.skipped_in_a_row)

    def _complete(self, batch: Batch, ref_logprobs: Tensor | None) -> Batch:
        """Add the log-probabilities, and the advantages, that must be known before the first update."""
        if ref_logprobs is not None:
            batch = replace(batch, ref_logprobs=ref_logprobs)
        elif self.adapter is not None and self.cfg.uses_reference and batch.ref_logprobs is None:
            with without_adapter(self.adapter):  # the reference is the model without its adapter
                batch = replace(batch, ref_logprobs=self.logprobs(batch))
        assert batch.ref_logprobs is not None or not self.cfg.uses_reference
        if self.cfg.needs_old_logprobs and batch.old_logprobs is None:
            batch = replace(batch, old_logprobs=self.logprobs(batch))
        if self.cfg.kl.apply_to != "loss":
            batch = replace(batch, advantages=kl_penalized_advantages(batch, self.cfg.advantage, self.cfg.kl))
        return batch

    def _backward(self, minibatch: Batch) -> tuple[dict[str, float], Tensor]:
        """Accumulate the gradients of the loss over a mini-batch, whatever the number of micro-batches and ranks.

        Returns: mean metrics over the mini-batch's tokens, and on the CPU the log-probabilities [B, T] of this rank's
        rows, 0 elsewhere, if the old policy's are not known yet.
        """
        cfg, computed = self.cfg, torch.zeros(minibatch.mask.shape)
        weights = token_weights(minibatch.loss_mask, cfg.loss.aggregation, self.max_tokens)
        sums: dict[str, float] = {}
        for index, rows in self._microbatches(minibatch):
            part = rows.to(self.device)
            logprobs, entropy = self._forward(part, entropy_gradient=cfg.loss.entropy_coef > 0)
            per_token, reported = token_losses(
                self.policy_loss, part, logprobs, entropy, cfg.loss, cfg.kl, cfg.correction
            )
            columns = part.mask.shape[1]
            loss = (weights[index, :columns].to(self.device) * per_token).sum()
            (loss * self.info.size).backward()  # FSDP averages the gradients of the ranks, and the loss is a sum
            if minibatch.old_logprobs is None:
                computed[index, :columns] = logprobs.detach().cpu()
            sums["loss"] = sums.get("loss", 0.0) + loss.item()
            for name, values in reported.items():
                share = float((values * part.mask).sum()) / minibatch.num_tokens
                sums[name] = sums.get(name, 0.0) + share
        return sum_metrics(sums), computed

    def publish_weights(self, version: int) -> Weights:
        """Write the weights to shared memory if anyone reads them there."""
        self.onload()
        weights = Weights(version, transfer=self.transfer)
        every = self.cfg.kl.ref_sync_steps
        if self.transfer is Transfer.SHARED_MEMORY or (every > 0 and version % every == 0):
            assert self.info.folder is not None
            weights = publish(self.iter_weights(), self.info.folder, version, self.info.is_first, self.transfer)
        if self.transfer is Transfer.SHARED_MEMORY:
            self.offload()
        else:
            torch.cuda.empty_cache()  # the sampler wakes up before the weights are sent
        return weights

    def connect(self, address: str, samplers: Sequence[Any], receivers: int) -> None:
        """Connect to the samplers, Ray actor handles with `receivers` processes in all, for `send_weights`."""
        from workers.direct_transfer import make_sender

        self.sender = make_sender(self.transfer, self.info.rank, address, samplers, receivers, self.iter_weights)

    def send_weights(self, samplers: Sequence[Any]) -> str:
        """Send the current weights to connected samplers, and return their checksum; "" except on the first rank."""
        self.sender.client.handles = list(samplers)
        self.sender.send_weights()
        self.offload()
        return combine(self.sender.source.checksums)

    def weights_sha256(self) -> str:
        """The identity of the current weights; that of no weights except on the first rank."""
        return weights_sha256(item for item in self.iter_weights() if self.info.is_first)

    def save(self, folder: Path) -> None:
        """Write `hf/`, which transformers and vLLM load, and `trainer/`, from which `load` resumes. With an adapter,
        `hf/` holds the merged weights and `adapter/` the adapter alone, as peft loads it. An offloaded actor writes
        from host memory, since vLLM may have the GPU's."""
        weights = self._full_weights()
        adapter = adapter_weights(self.adapter) if self.adapter is not None else {}
        if self.info.is_first:
            save_hf_folder(folder / "hf", self.model, weights, self.source, self.dtype)
            if self.adapter is not None:
                self.adapter.save_pretrained(folder / "adapter", state_dict=adapter)
        save_trainer(folder / "trainer", self.model, self.optimizer, self.schedule, alone=self.info.size == 1)

    def load(self, folder: Path) -> None:
        """Resume exactly where `save` was called, with any number of ranks."""
        self.onload()
        load_trainer(folder / "trainer", self.model, self.optimizer, self.schedule, alone=self.info.size == 1)

    def iter_weights(self) -> Iterator[tuple[str, Tensor]]:
        if self.adapter is None:
            yield from super().iter_weights()
            return
        for name, tensor in merged_weights(self.model):
            yield name, tensor.to(self.dtype).contiguous()

    def _load(self, model: ModelConfig, dtype: str) -> Any:
        loaded = super()._load(model, dtype)
        check_logprobs(loaded, model.source)
        return loaded

    def _add_adapter(self, model: ModelConfig) -> Any:
        return add_adapter(self.model, model.lora) if model.lora.rank else None
