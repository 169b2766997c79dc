"""Seconds of a step: what the data sheet allows, times an efficiency that is stated here and nowhere else.

Generation reads the weights and the keys and values of all running sequences for each token: it is
bound by the memory's bandwidth. Reading prompts, log-probabilities and training are bound by
arithmetic (2 operations a parameter and token forward, 4 backward; Kaplan et al., arXiv 2001.08361, 2.1).
"""

from dataclasses import dataclass

from conf.algorithms import AlgorithmConfig
from conf.schema import ModelConfig
from tools.planner.hardware import Gpu
from tools.planner.memory import DTYPE_BYTES, kv_bytes_per_token, model_bytes
from tools.planner.shape import Shape

# Shares of the data sheet's figures, chosen within what is commonly reported for this kind of software;
# none is measured here.
DECODE_BANDWIDTH = 0.6  # vLLM's decoding, of the memory's bandwidth
PREFILL_FLOPS = 0.5  # vLLM's reading of prompts, of the bfloat16 peak
FORWARD_FLOPS = 0.4  # log-probabilities by transformers, layer by layer in eager mode
TRAIN_FLOPS = 0.35  # forward and backward of the same
TOUCH_BANDWIDTH = 0.7  # going once through all weights, of the memory's bandwidth
LINK_BANDWIDTH = 0.7  # between GPUs, and to the host
# And what does not scale with the hardware.
DECODE_SECONDS = 0.004  # of a decoding step: the scheduler, the sampler, the launch of kernels
STEP_SECONDS = 2.0  # of a training step: Ray's messages, scoring, making the batch
# How far prompts and completions fill their limits on average. The longest completion reaches it.
MEAN_PROMPT = 0.5
MEAN_COMPLETION = 0.5

# Bytes moved for each float32 weight. AdamW reads weight, gradient and two moments and writes all but the
# gradient. A micro-batch makes a bfloat16 copy (reads 4, writes 2), and adds its bfloat16 gradient, made
# float32 first (reads 2, writes 4), to the sum (reads 8, writes 4).
OPTIMIZER_BYTES = 28
MICRO_BATCH_BYTES = 24

STATED = {
    "decoding, of the memory bandwidth": DECODE_BANDWIDTH,
    "prefill, of bf16 TFLOP/s": PREFILL_FLOPS,
    "log-probabilities, of bf16 TFLOP/s": FORWARD_FLOPS,
    "training, of bf16 TFLOP/s": TRAIN_FLOPS,
    "going through weights, of the memory bandwidth": TOUCH_BANDWIDTH,
    "links, of their bandwidth": LINK_BANDWIDTH,
    "seconds of a decoding step beside": DECODE_SECONDS,
    "seconds of a training step beside": STEP_SECONDS,
    "mean prompt, of its limit": MEAN_PROMPT,
    "mean completion, of its limit": MEAN_COMPLETION,
}


@dataclass(frozen=True)
class Job:
    """A model to train on GPUs of one kind."""

    gpu: Gpu
    shape: Shape
    model: ModelConfig
    algorithm: AlgorithmConfig

    @property
    def mean_tokens(self) -> float:
        """Of a prompt and its completion."""
        return MEAN_PROMPT * self.model.max_prompt_tokens + MEAN_COMPLETION * self.model.max_completion_tokens

    @property
    def step_tokens(self) -> float:
        return self.algorithm.num_completions * self.mean_tokens

    @property
    def forward_flops(self) -> float:
        """Of all tokens of a step: matrices, and causal attention over half of each sequence on average."""
        attention = 2 * self.shape.layers * self.shape.attention_width * self.mean_tokens
        return self.step_tokens * (2 * self.shape.matrix_parameters + attention)

    @property
    def synced_bytes(self) -> int:
        return model_bytes(self.shape, self.model.dtype)

    @property
    def trained_bytes(self) -> int:
        """Of one weight in all as the actor keeps and gathers it."""
        return self.shape.parameters * (DTYPE_BYTES[self.model.dtype] if self.model.lora.rank else 4)


def generation_seconds(job: Job, completions: float, prompts: float, replicas: int, concurrency: int) -> float:
    """All completions, by `replicas` engines that run up to `concurrency` sequences each. The prompts of a
    group are read once, by the prefix cache."""
    gpu, model, shape = job.gpu, job.model, job.shape
    longest = model.max_completion_tokens
    tokens = completions / replicas * MEAN_COMPLETION * longest
    decoding_steps = max(longest, tokens / concurrency)
    context = MEAN_PROMPT * model.max_prompt_tokens + MEAN_COMPLETION * longest / 2
    read = job.synced_bytes * decoding_steps + tokens * context * kv_bytes_per_token(shape, model.dtype)
    decoding = read / (gpu.bandwidth_gbs * 1e9 * DECODE_BANDWIDTH) + decoding_steps * DECODE_SECONDS
    prompt_tokens = prompts / replicas * MEAN_PROMPT * model.max_prompt_tokens
    prefill = 2 * shape.matrix_parameters * prompt_tokens / (gpu.tflops * 1e12 * PREFILL_FLOPS)
    return prefill + decoding


def logprobs_seconds(job: Job, ranks: int, micro_batch_tokens: int) -> float:
    """Forward passes of the actor, and of the reference where there is one, on the same GPUs."""
    passes = 2 if job.algorithm.uses_reference else 1
    compute = job.forward_flops / ranks / (job.gpu.tflops * 1e12 * FORWARD_FLOPS)
    gathering = _micro_batches(job, ranks, micro_batch_tokens) * _gather_seconds(job, ranks)
    return passes * max(compute, gathering)


def update_seconds(job: Job, ranks: int, micro_batch_tokens: int, checkpointing: bool) -> float:
    """Forward and backward passes of all epochs, and the optimizer's steps. Frozen weights have no
    gradient of their own, which is half of the backward pass; checkpointing makes another forward pass.
    Communication runs beside the arithmetic: the longer of the two counts."""
    forwards = 1 + (1 if job.model.lora.rank else 2) + checkpointing
    compute = forwards * job.forward_flops / ranks / (job.gpu.tflops * 1e12 * TRAIN_FLOPS)
    micro_batches = _micro_batches(job, ranks, micro_batch_tokens)
    # Weights are gathered for the forward and for the backward pass, then gradients are reduced.
    communication = 3 * micro_batches * _gather_seconds(job, ranks)
    one_epoch = max(compute, communication) + micro_batches * _touch_seconds(job, MICRO_BATCH_BYTES)
    optimizer = job.algorithm.num_updates * _touch_seconds(job, OPTIMIZER_BYTES) / ranks
    return job.algorithm.num_epochs * one_epoch + optimizer


def _touch_seconds(job: Job, bytes_a_weight: float) -> float:
    """Reading and writing so much for each weight that trains; an adapter's are too few to count."""
    if job.model.lora.rank:
        return 0.0
    return bytes_a_weight * job.shape.parameters / (job.gpu.bandwidth_gbs * 1e9 * TOUCH_BANDWIDTH)


def sync_seconds(job: Job, shared: bool, ranks: int) -> float:
    """New weights to the samplers: within the GPU where it is one alone, else over the link."""
    if shared and ranks == 1:
        return 2 * job.synced_bytes / (job.gpu.bandwidth_gbs * 1e9)
    return job.synced_bytes / (job.gpu.link_gbs * 1e9 * LINK_BANDWIDTH)


def to_host_and_back_seconds(job: Job, size: float) -> float:
    return 2 * size / (job.gpu.host_gbs * 1e9 * LINK_BANDWIDTH)


def _micro_batches(job: Job, ranks: int, micro_batch_tokens: int) -> float:
    return max(1.0, job.step_tokens / ranks / micro_batch_tokens)


def _gather_seconds(job: Job, ranks: int) -> float:
    """Each rank receives what it does not have."""
    return job.trained_bytes * (ranks - 1) / ranks / (job.gpu.link_gbs * 1e9 * LINK_BANDWIDTH)
