"""Bytes that each role needs: the actor's are traced, the reference's and vLLM's are computed."""

from dataclasses import dataclass, replace

from transformers import PretrainedConfig

from conf.algorithms import AlgorithmConfig
from conf.workers import ModelConfig
from tools.planner.shape import Shape, with_layers
from tools.planner.trace import Peak, UpdateMemory, full_batch, trace_update

GIB = 2**30
DTYPE_BYTES = {"float32": 4, "bfloat16": 2}

# Overheads that a model's config does not tell. None of them has been measured on a GPU.
CONTEXT = 0.5 * GIB  # the CUDA context of each process on the GPU
COMMUNICATION = 0.5 * GIB  # NCCL's buffers of each process that communicates with other GPUs
CUDA_GRAPHS = 1.0 * GIB  # vLLM's CUDA graphs, which stay allocated while it sleeps
FRAGMENTATION = 0.05  # fraction of the GPU's memory that plans leave free

SAMPLED_LAYERS = (2, 4)
SAMPLED_ROWS = (1, 4, 16)
STATE_BYTES_8BIT = 2 + 2 * 4 / 256  # two moments of one byte each, with one float32 scale per 256 values


@dataclass(frozen=True)
class ActorTable:
    """The actor's memory, sampled at several numbers of full rows per micro-batch."""

    rows: tuple[int, ...]
    memory: tuple[UpdateMemory, ...]

    def at(self, rows: float) -> UpdateMemory:
        """Interpolate linearly between the samples, and extrapolate beyond the last one."""
        low, high = bracket(self.rows, rows)
        fraction = (rows - self.rows[low]) / (self.rows[high] - self.rows[low])
        return _interpolate(self.memory[low], self.memory[high], fraction)

    def with_8bit_optimizer(self) -> "ActorTable":
        return ActorTable(self.rows, tuple(with_8bit_optimizer(memory) for memory in self.memory))


def bracket(samples: tuple[int, ...], rows: float) -> tuple[int, int]:
    """Indices of the two neighboring samples whose line gives the memory of `rows`."""
    high = next((i for i in range(1, len(samples) - 1) if rows <= samples[i]), len(samples) - 1)
    return high - 1, high


def actor_table(
    config: PretrainedConfig,
    model: ModelConfig,
    algorithm: AlgorithmConfig,
    rows: tuple[int, ...] = SAMPLED_ROWS,
    foreach: bool = True,
) -> ActorTable:
    """Trace one update for each of these numbers of rows. foreach: see `trace_update`."""
    return ActorTable(rows, tuple(_update(config, model, algorithm, n, foreach) for n in rows))


def actor_memory(
    config: PretrainedConfig, model: ModelConfig, algorithm: AlgorithmConfig, rows: int, foreach: bool = True
) -> UpdateMemory:
    """What `actor_table(...).at(rows)` returns, traced at the two samples around `rows` only, and with the
    optimizer that `algorithm` names."""
    low, high = bracket(SAMPLED_ROWS, rows)
    memory = actor_table(config, model, algorithm, (SAMPLED_ROWS[low], SAMPLED_ROWS[high]), foreach).at(rows)
    return with_8bit_optimizer(memory) if algorithm.optimizer.name == "adamw_8bit" else memory


def _update(
    config: PretrainedConfig, model: ModelConfig, algorithm: AlgorithmConfig, rows: int, foreach: bool
) -> UpdateMemory:
    """Memory of one micro-batch of `rows` completions at their length limits.

    All layers are alike, so memory is linear in their number: a large model is extrapolated from two small ones.
    """
    tokens = model.max_prompt_tokens + model.max_completion_tokens
    one_pass = replace(algorithm, micro_batch_tokens=rows * tokens, num_minibatches=1, num_epochs=1)
    batch, layers = full_batch(model, rows), config.num_hidden_layers
    if layers <= SAMPLED_LAYERS[-1]:
        return trace_update(config, model, one_pass, batch, foreach)
    few, more = SAMPLED_LAYERS
    low, high = (trace_update(with_layers(config, n), model, one_pass, batch, foreach) for n in (few, more))
    return _interpolate(low, high, (layers - few) / (more - few))


def with_8bit_optimizer(memory: UpdateMemory) -> UpdateMemory:
    """The same update with bitsandbytes' AdamW, which steps one tensor at a time, in place."""
    return replace(memory, state=memory.gradients / 4 * STATE_BYTES_8BIT, step=0.0)


def _interpolate(low: UpdateMemory, high: UpdateMemory, fraction: float) -> UpdateMemory:
    def line(a: float, b: float) -> float:
        return a + fraction * (b - a)

    def peak(a: Peak, b: Peak) -> Peak:
        return Peak(line(a.copies, b.copies), line(a.activations, b.activations))

    return UpdateMemory(
        weights=line(low.weights, high.weights),
        gradients=line(low.gradients, high.gradients),
        state=line(low.state, high.state),
        forward=peak(low.forward, high.forward),
        backward=peak(low.backward, high.backward),
        step=line(low.step, high.step),
    )


def sharded(memory: UpdateMemory, shape: Shape, ranks: int) -> UpdateMemory:
    """One rank's memory under FSDP2: weights, gradients and optimizer state are divided, activations are not.

    FSDP2 gathers the weights of a layer before it runs and prefetches those of the next one; the weights outside
    the layers stay gathered. In the backward pass the full gradient of the layer is added. Gathered weights are
    assumed to have the dtype in which they are stored.
    """
    if ranks == 1:
        return memory
    width = memory.weights / shape.parameters
    gathered = width * (shape.outer_parameters + 2 * shape.layer_parameters)
    reduced = memory.gradients / shape.parameters * (shape.outer_parameters + shape.layer_parameters)

    def with_buffers(peak: Peak, buffers: float) -> Peak:
        return Peak(peak.copies, peak.activations + buffers)

    return UpdateMemory(
        weights=memory.weights / ranks,
        gradients=memory.gradients / ranks,
        state=memory.state / ranks,
        forward=with_buffers(memory.forward, gathered),
        backward=with_buffers(memory.backward, gathered + reduced),
        step=memory.step / ranks,
    )


def model_bytes(shape: Shape, dtype: str) -> int:
    """Weights of the full model in this dtype, for example those of the reference."""
    return shape.parameters * DTYPE_BYTES[dtype]


@dataclass(frozen=True)
class RolloutMemory:
    """Bytes of one vLLM engine on each of its GPUs. kv_sequence: keys and values of one sequence at its limit."""

    weights: float
    activations: float
    graphs: float
    kv_sequence: float

    @property
    def fixed(self) -> float:
        """Everything but the KV cache."""
        return self.weights + self.activations + self.graphs


def kv_bytes_per_token(shape: Shape, dtype: str) -> int:
    """A key and a value in each layer."""
    return 2 * shape.layers * shape.kv_width * DTYPE_BYTES[dtype]


def rollout_memory(
    shape: Shape, model: ModelConfig, max_num_seqs: int, batched_tokens: int, tensor_parallel_size: int = 1
) -> RolloutMemory:
    """An engine's memory. Tensor parallelism divides its weights and its KV cache.

    vLLM measures its activations at startup: the widest part of a layer for `batched_tokens` tokens (two inputs and
    the product of the gated MLP, and four hidden states), and float32 logits of all sequences with two copies (for
    the log-probabilities and the sampler).
    """
    width = DTYPE_BYTES[model.dtype]
    layer = batched_tokens * (3 * shape.intermediate + 4 * shape.hidden) * width
    logits = 3 * max_num_seqs * shape.vocabulary * 4
    sequence = (model.max_prompt_tokens + model.max_completion_tokens) * kv_bytes_per_token(shape, model.dtype)
    weights = model_bytes(shape, model.dtype) / tensor_parallel_size
    return RolloutMemory(weights, layer + logits, CUDA_GRAPHS, sequence / tensor_parallel_size)
