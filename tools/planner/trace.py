"""Measure the memory of an optimizer update by running it on fake tensors.

The actor's own code (workers/actor.py) runs on tensors that have shapes but no values, while a tracker counts every
storage from its allocation until it is freed. Whatever autograd, autocast, gradient checkpointing and the chunks of
`completion_logprobs` keep alive is thereby observed instead of assumed.

torch.distributed._tools.MemTracker does the same for a single forward and backward pass. It rejects the several passes
of an update, and it visits all modules at every operation.
"""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import PretrainedConfig, PreTrainedModel

from conf.algorithms import AlgorithmConfig
from conf.workers import ModelConfig, TopologyConfig
from grpo.grpo import Batch
from workers.actor import Actor
from workers.models import empty_model


@dataclass(frozen=True)
class Peak:
    """Bytes beyond weights, gradients and optimizer state: autocast's copies of the weights in the compute dtype, and
    everything else."""

    copies: float = 0
    activations: float = 0

    @property
    def total(self) -> float:
        return self.copies + self.activations


@dataclass(frozen=True)
class UpdateMemory:
    """Bytes of the actor on a device that holds all of it.

    weights            as stored: float32, or the base model's dtype if an adapter is trained
    gradients          of the trained parameters, float32
    state              of AdamW: two float32 moments of the trained parameters
    forward, backward  peaks of the passes of a micro-batch
    step               temporaries of the optimizer step
    """

    weights: float
    gradients: float
    state: float
    forward: Peak
    backward: Peak
    step: float

    @property
    def passes(self) -> Peak:
        return max(self.forward, self.backward, key=lambda peak: peak.total)

    @property
    def kept(self) -> float:
        """Bytes that persist from one training step to the next."""
        return self.weights + self.state

    @property
    def peak(self) -> float:
        return self.kept + self.gradients + max(self.passes.total, self.step)


def trace_update(
    config: PretrainedConfig, model: ModelConfig, algorithm: AlgorithmConfig, batch: Batch, foreach: bool
) -> UpdateMemory:
    """Trace the memory of `Actor.update(batch)` once the optimizer has its state.

    config: the transformers config; no weights are needed. foreach: the optimizer steps all tensors at once (PyTorch's
    default on a GPU) instead of one after the other (its default on a CPU).
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    policy = FakeActor(config, model, algorithm, fake)
    for group in policy.optimizer.param_groups:
        group["foreach"] = foreach
    weights = _storages(policy.model.parameters())
    trained = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    tracker = StorageTracker(weights)
    with fake:
        for parameter in trained:  # all micro-batches but the first add to existing gradients
            parameter.grad = torch.zeros_like(parameter)
            tracker.count(parameter.grad)
    kept, gradients = sum(weights.values()), tracker.current - sum(weights.values())
    passes: list[Peaks] = []

    def before_step(*_: object) -> None:
        passes.append(tracker.read_peaks())

    policy.optimizer.register_step_pre_hook(before_step)
    with tracker:
        policy.update(batch)
    moments = [t for state in policy.optimizer.state.values() for t in state.values() if isinstance(t, FakeTensor)]
    state = sum(_storages(moments).values())

    def beyond(peak: Snapshot) -> Peak:
        return Peak(peak.copies, peak.total - kept - gradients - peak.copies)

    return UpdateMemory(
        weights=kept,
        gradients=gradients,
        state=state,
        forward=beyond(max(peaks.forward for peaks in passes)),
        backward=beyond(max(peaks.backward for peaks in passes)),
        step=tracker.peaks.forward.total - kept - gradients - state,
    )


def full_batch(model: ModelConfig, rows: int) -> Batch:
    """A batch of `rows` completions, each with a prompt of its own; all have the length of their limits."""
    prompt, completion = model.max_prompt_tokens, model.max_completion_tokens
    mask = torch.ones(rows, completion, dtype=torch.bool)
    zeros = torch.zeros(rows, completion)
    input_ids = torch.zeros(rows, prompt + completion, dtype=torch.long)
    input_ids[:, 0] = torch.arange(rows)  # or the rows would share their prompt
    return Batch(
        input_ids=input_ids,
        prompt_lengths=torch.full((rows,), prompt),
        mask=mask,
        loss_mask=mask,
        behavior_logprobs=zeros,
        rewards=torch.zeros(rows, dtype=torch.float64),
        group_ids=torch.arange(rows),
        advantages=zeros,
        old_logprobs=zeros,
        ref_logprobs=zeros,
    )


class FakeActor(Actor):
    """The actor with a model that has no weights.

    It always uses PyTorch's CPU device, since a PyTorch build without CUDA cannot run fake CUDA tensors. Autocast and
    attention create tensors of the same sizes on both devices.
    """

    def __init__(
        self, config: PretrainedConfig, model: ModelConfig, algorithm: AlgorithmConfig, fake: FakeTensorMode
    ) -> None:
        self.config, self.fake = config, fake
        plain = replace(algorithm, optimizer=replace(algorithm.optimizer, name="adamw"))
        super().__init__(model, plain, TopologyConfig(), num_steps=1)

    def _load(self, model: ModelConfig, dtype: str) -> Any:
        return empty_model(self.config, dtype, packed=True)

    def _add_adapter(self, model: ModelConfig) -> Any:
        adapter = super()._add_adapter(model)
        _become_fake(self.model, self.fake)
        return adapter


@dataclass(frozen=True, order=True)
class Snapshot:
    """Bytes that are allocated at one moment, and how many of them are autocast's copies of weights."""

    total: int
    copies: int


@dataclass
class Peaks:
    """The largest snapshots within backward passes, and outside of them."""

    forward: Snapshot
    backward: Snapshot


class StorageTracker(TorchDispatchMode):
    """Counts the bytes of the fake storages that are allocated. parameters: bytes of the model's storages by address.

    The tensors of the batch are real and not counted, so that micro-batches are formed as in a run.
    """

    def __init__(self, parameters: dict[int, int]) -> None:
        super().__init__()
        self.parameters = parameters
        self.alive = dict(parameters)
        self.current, self.copies = sum(parameters.values()), 0
        self.peaks = self._from_here()

    def read_peaks(self) -> Peaks:
        """Return the peaks since the previous call."""
        read, self.peaks = self.peaks, self._from_here()
        return read

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
            return True if args[0].dtype == torch.bool else 1.0  # a fake loss or gradient norm: any finite number
        result = func(*args, **(kwargs or {}))
        is_copy = func is torch.ops.aten._to_copy.default and self._is_parameter(args[0])
        for tensor in tree_iter(result):
            if isinstance(tensor, FakeTensor):
                self.count(tensor, is_copy)
        now = Snapshot(self.current, self.copies)
        if torch._C._current_graph_task_id() == -1:
            self.peaks.forward = max(self.peaks.forward, now)
        else:
            self.peaks.backward = max(self.peaks.backward, now)
        return result

    def _from_here(self) -> Peaks:
        now = Snapshot(self.current, self.copies)
        return Peaks(now, now)

    def _is_parameter(self, tensor: torch.Tensor) -> bool:
        return isinstance(tensor, FakeTensor) and tensor.untyped_storage()._cdata in self.parameters

    def count(self, tensor: torch.Tensor, is_copy: bool = False) -> None:
        """Count the storage of this tensor from now on until it is freed."""
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in self.alive:
            return
        size = storage.nbytes()
        self.alive[address] = size
        self.current += size
        self.copies += size if is_copy else 0
        weakref.finalize(storage, self._remove, address, is_copy)

    def _remove(self, address: int, is_copy: bool) -> None:
        size = self.alive.pop(address)
        self.current -= size
        self.copies -= size if is_copy else 0


def _become_fake(model: PreTrainedModel, fake: FakeTensorMode) -> None:
    with fake:
        model.to_empty(device="cpu")
    model.tie_weights()


def _storages(tensors: Iterable[torch.Tensor]) -> dict[int, int]:
    """Bytes of each storage by address; tied tensors share a storage."""
    return {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
