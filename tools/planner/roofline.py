"""Seconds of a training step: the data sheet's figures times efficiencies, all of which are stated here.

Generation reads the weights and the KV cache of all running sequences for every token, so it is bound by memory
bandwidth. Prefill, log-probabilities and training are bound by arithmetic: 2 operations per parameter and token in
the forward pass, 4 in the backward pass (Kaplan et al., arXiv 2001.08361, 2.1).
"""

from dataclasses import dataclass

from conf.algorithms import AlgorithmConfig
from conf.workers import ModelConfig
from tools.planner.hardware import GpuSpec
from tools.planner.memory import DTYPE_BYTES, kv_bytes_per_token, model_bytes
from tools.planner.shape import Shape

# Fractions of the data sheet's figures, within the range that is commonly reported for such software. None of them
# has been measured here.
DECODE_BANDWIDTH = 0.6  # decoding in vLLM, of the memory bandwidth
PREFILL_FLOPS = 0.5  # prefill in vLLM, of the bfloat16 peak
FORWARD_FLOPS = 0.4  # log-probabilities with transformers in eager mode, of the bfloat16 peak
TRAIN_FLOPS = 0.35  # forward and backward passes of the same
TOUCH_BANDWIDTH = 0.7  # one pass over all weights, of the memory bandwidth
LINK_BANDWIDTH = 0.7  # between GPUs, and to the host
# GB/s of one process in host memory, as measured on 2 cores of an EPYC.
HOST_GBS = 5.0  # copying weights
HOST_CHECKSUM_GBS = 3.5  # the checksum of weights
# Costs that do not scale with the hardware.
DECODE_SECONDS = 0.004  # per decoding step: scheduler, sampler, kernel launches
STEP_SECONDS = 2.0  # per training step: Ray's messages, scoring, building the batch
# Mean length of prompts and completions as a fraction of their limits. The longest completion reaches the limit.
MEAN_PROMPT = 0.5
MEAN_COMPLETION = 0.5

# Bytes moved per float32 weight. AdamW reads the weight, the gradient and two moments, and writes all but the
# gradient. A micro-batch makes a bfloat16 copy of the weight (reads 4, writes 2), converts its bfloat16 gradient to
# float32 (reads 2, writes 4) and adds it to the sum (reads 8, writes 4).
OPTIMIZER_BYTES = 28
MICRO_BATCH_BYTES = 24
# Passes over the bytes of the weights on a GPU. A copy reads and writes them. A checksum reads them, and writes and
# reads products of twice their size.
COPY_PASSES = 2
CHECKSUM_PASSES = 5

STATED = {
    "decoding, of the memory bandwidth": DECODE_BANDWIDTH,
    "prefill, of bf16 TFLOP/s": PREFILL_FLOPS,
    "log-probabilities, of bf16 TFLOP/s": FORWARD_FLOPS,
    "training, of bf16 TFLOP/s": TRAIN_FLOPS,
    "passes over the weights, of the memory bandwidth": TOUCH_BANDWIDTH,
    "links, of their bandwidth": LINK_BANDWIDTH,
    "GB/s of a copy in host memory": HOST_GBS,
    "GB/s of a checksum in host memory": HOST_CHECKSUM_GBS,
    "fixed seconds per decoding step": DECODE_SECONDS,
    "fixed seconds per training step": STEP_SECONDS,
    "mean prompt length, of its limit": MEAN_PROMPT,
    "mean completion length, of its limit": MEAN_COMPLETION,
}


@dataclass(frozen=True)
class Workload:
    """A training run on GPUs of one kind."""

    gpu: GpuSpec
    shape: Shape
    model: ModelConfig
    algorithm: AlgorithmConfig

    @property
    def mean_tokens(self) -> float:
        """Mean tokens of a prompt and its completion."""
        return MEAN_PROMPT * self.model.max_prompt_tokens + MEAN_COMPLETION * self.model.max_completion_tokens

    @property
    def step_tokens(self) -> float:
        return self.algorithm.num_completions * self.mean_tokens

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
    reads the prompt of a group once."""
    gpu, model, shape = work.gpu, work.model, work.shape
    longest = model.max_completion_tokens
    tokens = completions / replicas * MEAN_COMPLETION * longest
    decoding_steps = max(longest, tokens / concurrency)
    context = MEAN_PROMPT * model.max_prompt_tokens + MEAN_COMPLETION * longest / 2
    read = work.synced_bytes * decoding_steps + tokens * context * kv_bytes_per_token(shape, model.dtype)
    decoding = read / (gpu.bandwidth_gbs * 1e9 * DECODE_BANDWIDTH) + decoding_steps * DECODE_SECONDS
    prompt_tokens = prompts / replicas * MEAN_PROMPT * model.max_prompt_tokens
    prefill = 2 * shape.matrix_parameters * prompt_tokens / (gpu.tflops * 1e12 * PREFILL_FLOPS)
    return prefill + decoding


def logprobs_seconds(work: Workload, ranks: int, micro_batch_tokens: int) -> float:
    """Forward passes before the update, on the same GPUs: of the reference if the loss uses one, and of the actor if a
    step makes several updates or the KL is in the reward."""
    passes = work.algorithm.uses_reference + work.algorithm.needs_old_logprobs
    compute = work.forward_flops / ranks / (work.gpu.tflops * 1e12 * FORWARD_FLOPS)
    gathering = _micro_batches(work, ranks, micro_batch_tokens) * _gather_seconds(work, ranks)
    return passes * max(compute, gathering)


def update_seconds(work: Workload, ranks: int, micro_batch_tokens: int, checkpointing: bool) -> float:
    """Forward and backward passes of all epochs, and the optimizer steps.

    With LoRA the frozen weights need no gradient, which saves half of the backward pass. Gradient checkpointing adds a
    forward pass. Communication overlaps with arithmetic: the longer of the two counts."""
    forwards = 1 + (1 if work.model.lora.rank else 2) + checkpointing
    compute = forwards * work.forward_flops / ranks / (work.gpu.tflops * 1e12 * TRAIN_FLOPS)
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
    return bytes_per_weight * work.shape.parameters / (work.gpu.bandwidth_gbs * 1e9 * TOUCH_BANDWIDTH)


def sync_seconds(work: Workload, transfer: str, ranks: int) -> dict[str, float]:
    """Transfer new weights from the actor's `ranks` to the samplers, which receive them at the same time.

    transfer  as `topology.weight_transfer`
    """
    size = work.synced_bytes
    memory = work.gpu.bandwidth_gbs * 1e9 * TOUCH_BANDWIDTH
    link, host_link = (gbs * 1e9 * LINK_BANDWIDTH for gbs in (work.gpu.link_gbs, work.gpu.host_gbs))
    converting = 0 if work.model.lora.rank else 4 * work.shape.parameters + size
    seconds = {
        "gather the ranks' shards": (ranks - 1) / ranks * size / link,
        "convert to the dtype of generation": converting / memory,
        "the actor's checksum": CHECKSUM_PASSES * size / memory,
    }
    if transfer == "shm":
        return seconds | {
            "to host memory": size / host_link,
            "write to /dev/shm": size / (HOST_GBS * 1e9),
            "read from /dev/shm, and the sampler's checksum": size / (HOST_CHECKSUM_GBS * 1e9),
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
    return 2 * size / (work.gpu.host_gbs * 1e9 * LINK_BANDWIDTH)


def _micro_batches(work: Workload, ranks: int, micro_batch_tokens: int) -> float:
    return max(1.0, work.step_tokens / ranks / micro_batch_tokens)


def _gather_seconds(work: Workload, ranks: int) -> float:
    """Each rank receives the parts of the weights that it does not hold."""
    return work.trained_bytes * (ranks - 1) / ranks / (work.gpu.link_gbs * 1e9 * LINK_BANDWIDTH)
