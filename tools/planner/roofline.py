"""Seconds of a training step: the data sheet's figures times efficiencies.

Generation reads the weights and the KV cache of all running sequences for every token, so it is bound by memory
bandwidth. Prefill, log-probabilities and training are bound by arithmetic: 2 operations per parameter and token in
the forward pass, 4 in the backward pass (Kaplan et al., arXiv 2001.08361, 2.1).
"""

from dataclasses import dataclass

from conf.algorithms import AlgorithmConfig
from conf.workers import ModelConfig
from tools.planner.efficiencies import Efficiencies
from tools.planner.hardware import GpuSpec
from tools.planner.memory import DTYPE_BYTES, kv_bytes_per_token, model_bytes
from tools.planner.shape import Shape

# Bytes moved per float32 weight. PyTorch's AdamW, without weight decay, makes one pass for each of its operations: it
# averages the gradient into the first moment (12), scales the second one (8) and adds the squared gradient to it (12),
# takes its root (8), divides it (8), adds epsilon (8), and updates the weight (16). A micro-batch makes a bfloat16 copy
# of the weight (reads 4, writes 2), converts its bfloat16 gradient to float32 (reads 2, writes 4) and adds it to the
# sum (reads 8, writes 4).
OPTIMIZER_BYTES = 72
MICRO_BATCH_BYTES = 24
# Passes over the bytes of the weights on a GPU. A copy reads and writes them. A checksum reads them, and writes and
# reads products of twice their size.
COPY_PASSES = 2
CHECKSUM_PASSES = 5


@dataclass(frozen=True)
class Workload:
    """A training run on GPUs of one kind."""

    gpu: GpuSpec
    shape: Shape
    model: ModelConfig
    algorithm: AlgorithmConfig
    efficiencies: Efficiencies = Efficiencies()

    @property
    def mean_prompt(self) -> float:
        """Mean tokens of a prompt."""
        return self.efficiencies.mean_prompt * self.model.max_prompt_tokens

    @property
    def mean_completion(self) -> float:
        """Mean tokens of a completion."""
        return self.efficiencies.mean_completion * self.model.max_completion_tokens

    @property
    def mean_tokens(self) -> float:
        """Mean tokens of a prompt and its completion."""
        return self.mean_prompt + self.mean_completion

    @property
    def step_tokens(self) -> float:
        """Distinct tokens of a step: a group's prompt is computed once."""
        return self.algorithm.num_prompts * self.mean_prompt + self.algorithm.num_completions * self.mean_completion

    @property
    def forward_flops(self) -> float:
        """Operations of one forward pass over all tokens of a step: matrix multiplications, and causal attention over
        half of each sequence on average."""
        attention = 2 * self.shape.layers * self.shape.attention_width * self.mean_tokens
        return self.step_tokens * (2 * self.shape.matrix_parameters + attention)

    @property
    def synced_bytes(self) -> int:
        return model_bytes(self.shape, self.model.dtype)

    @property
    def trained_bytes(self) -> int:
        """Weights of the whole model in the dtype in which the actor stores and gathers them."""
        return self.shape.parameters * (DTYPE_BYTES[self.model.dtype] if self.model.lora.rank else 4)


def generation_seconds(work: Workload, completions: float, prompts: float, replicas: int, concurrency: int) -> float:
    """Generate all completions with `replicas` engines that run up to `concurrency` sequences each. The prefix cache
    reads the prompt of a group once. vLLM schedules a step while the GPU computes another: the longer one counts."""
    gpu, model, shape, reached = work.gpu, work.model, work.shape, work.efficiencies
    longest = model.max_completion_tokens
    tokens = completions / replicas * work.mean_completion
    decoding_steps = max(longest, tokens / concurrency)
    context = work.mean_prompt + work.mean_completion / 2
    read = work.synced_bytes * decoding_steps + tokens * context * kv_bytes_per_token(shape, model.dtype)
    on_gpu = read / (gpu.bandwidth_gbs * 1e9 * reached.decode_bandwidth)
    on_host = decoding_steps * reached.decode_seconds + tokens * reached.sequence_seconds
    prompt_tokens = prompts / replicas * work.mean_prompt
    prefill = 2 * shape.matrix_parameters * prompt_tokens / (gpu.tflops * 1e12 * reached.prefill_flops)
    return prefill + max(on_gpu, on_host)


def logprobs_seconds(work: Workload, ranks: int, micro_batch_tokens: int) -> float:
    """Forward passes before the update, on the same GPUs: of the reference if the loss uses one, and of the actor if a
    step makes several updates or the KL is in the reward."""
    passes = work.algorithm.uses_reference + work.algorithm.needs_old_logprobs
    compute = work.forward_flops / ranks / (work.gpu.tflops * 1e12 * work.efficiencies.forward_flops)
    gathering = _micro_batches(work, ranks, micro_batch_tokens) * _gather_seconds(work, ranks)
    return passes * max(compute, gathering)


def update_seconds(work: Workload, ranks: int, micro_batch_tokens: int, checkpointing: bool) -> float:
    """Forward and backward passes of all epochs, and the optimizer steps.

    With LoRA the frozen weights need no gradient, which saves half of the backward pass. Gradient checkpointing adds a
    forward pass. Communication overlaps with arithmetic: the longer of the two counts."""
    forwards = 1 + (1 if work.model.lora.rank else 2) + checkpointing
    reached = work.efficiencies.lora_flops if work.model.lora.rank else work.efficiencies.train_flops
    compute = forwards * work.forward_flops / ranks / (work.gpu.tflops * 1e12 * reached)
    micro_batches = _micro_batches(work, ranks, micro_batch_tokens)
    # FSDP2 gathers the weights for the forward and for the backward pass, then reduces the gradients.
    communication = 3 * micro_batches * _gather_seconds(work, ranks)
    one_epoch = max(compute, communication) + micro_batches * _touch_seconds(work, MICRO_BATCH_BYTES)
    optimizer = work.algorithm.num_updates * _touch_seconds(work, OPTIMIZER_BYTES) / ranks
    return work.algorithm.num_epochs * one_epoch + optimizer


def _touch_seconds(work: Workload, bytes_per_weight: float) -> float:
    """Move this many bytes for each trained weight; the weights of an adapter are negligible."""
    if work.model.lora.rank:
        return 0.0
    return bytes_per_weight * work.shape.parameters / (work.gpu.bandwidth_gbs * 1e9 * work.efficiencies.touch_bandwidth)


def sync_seconds(work: Workload, transfer: str, ranks: int) -> dict[str, float]:
    """Transfer new weights from the actor's `ranks` to the samplers, which receive them at the same time.

    transfer  as `topology.weight_transfer`
    """
    size, reached = work.synced_bytes, work.efficiencies
    memory = work.gpu.bandwidth_gbs * 1e9 * reached.touch_bandwidth
    link = work.gpu.link_gbs * 1e9 * reached.link_bandwidth
    host_link = work.gpu.host_gbs * 1e9 * reached.host_bandwidth
    converting = 0 if work.model.lora.rank else (4 * work.shape.parameters + size) / ranks
    seconds = {
        "gather the ranks' shards": (ranks - 1) / ranks * size / link,
        "convert to the dtype of generation": converting / memory,
        "the actor's checksum": CHECKSUM_PASSES * size / memory,
        "calls to the processes": reached.load_seconds,
        "vLLM's work for each layer": work.shape.layers * reached.layer_seconds,
    }
    if transfer == "shm":
        return seconds | {
            "to host memory": size / host_link,
            "write to /dev/shm": size / (reached.host_copy_gbs * 1e9),
            "read from /dev/shm, and the sampler's checksum": size / (reached.host_checksum_gbs * 1e9),
            "to the sampler's GPU": size / host_link,
            "load into the layers": 2 * COPY_PASSES * size / memory,
        }
    # The actor packs tensors into a buffer. With IPC the sampler copies them out of the same buffer.
    over = {"copy out of the buffer": COPY_PASSES * size / memory} if transfer == "ipc" else {"send": size / link}
    return seconds | {
        "pack into a buffer": COPY_PASSES * size / memory,
        **over,
        "the sampler's checksum": CHECKSUM_PASSES * size / memory,
        "load into the layers": 2 * COPY_PASSES * size / memory,  # into a new layer, then into the one in use
    }


def to_host_and_back_seconds(work: Workload, size: float) -> float:
    """Move `size` bytes to host memory and back."""
    return 2 * size / (work.gpu.host_gbs * 1e9 * work.efficiencies.host_bandwidth)


def _micro_batches(work: Workload, ranks: int, micro_batch_tokens: int) -> float:
    return max(1.0, work.step_tokens / ranks / micro_batch_tokens)


def _gather_seconds(work: Workload, ranks: int) -> float:
    """Each rank receives the parts of the weights that it does not hold."""
    return work.trained_bytes * (ranks - 1) / ranks / (work.gpu.link_gbs * 1e9 * work.efficiencies.link_bandwidth)
