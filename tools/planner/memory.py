"""Bytes of each role on a GPU: of the actor by tracing it, of the others by arithmetic."""

from dataclasses import dataclass, replace
from typing import Any

from conf.algorithms import AlgorithmConfig
from conf.schema import ModelConfig
from tools.planner.shape import Shape, with_layers
from tools.planner.trace import Peak, UpdateMemory, full_batch, trace_update

GIB = 2**30
DTYPE_BYTES = {"float32": 4, "bfloat16": 2}

# What no config tells. Of a GPU, none is measured here yet.
CONTEXT = 0.5 * GIB  # CUDA's own, of each process on the GPU
COMMUNICATION = 0.5 * GIB  # NCCL's buffers, of each process that talks to other GPUs
CUDA_GRAPHS = 1.0 * GIB  # vLLM's, kept while it sleeps
FRAGMENTATION = 0.05  # of the GPU, kept free of plans

SAMPLED_LAYERS = (2, 4)
SAMPLED_ROWS = (1, 4, 16)
STATE_BYTES_8BIT = 2 + 2 * 4 / 256  # two moments of a byte, each with a float32 scale for 256 of them


@dataclass(frozen=True)
class ActorTable:
    """An actor's memory by the number of full rows in a micro-batch."""

    rows: tuple[int, ...]
    memory: tuple[UpdateMemory, ...]

    def at(self, rows: float) -> UpdateMemory:
        """On straight lines between the sampled numbers of rows, the last one going on."""
        place = next((i for i in range(1, len(self.rows) - 1) if rows <= self.rows[i]), len(self.rows) - 1)
        low, high = self.rows[place - 1], self.rows[place]
        return _between(self.memory[place - 1], self.memory[place], (rows - low) / (high - low))

    def with_8bit_optimizer(self) -> "ActorTable":
        return ActorTable(self.rows, tuple(with_8bit_optimizer(one) for one in self.memory))


def actor_table(config: Any, model: ModelConfig, algorithm: AlgorithmConfig) -> ActorTable:
    return ActorTable(SAMPLED_ROWS, tuple(_update(config, model, algorithm, n) for n in SAMPLED_ROWS))


def _update(config: Any, model: ModelConfig, algorithm: AlgorithmConfig, rows: int) -> UpdateMemory:
    """One micro-batch of `rows` completions at their limits. Layers are alike, so each number is a straight
    line over their count: two small models are traced in place of a large one."""
    tokens = model.max_prompt_tokens + model.max_completion_tokens
    whole = replace(algorithm, micro_batch_tokens=rows * tokens, num_minibatches=1, num_epochs=1)
    batch, layers = full_batch(model, rows), config.num_hidden_layers
    if layers <= SAMPLED_LAYERS[-1]:
        return trace_update(config, model, whole, batch, foreach=True)
    few, more = SAMPLED_LAYERS
    low, high = (trace_update(with_layers(config, n), model, whole, batch, foreach=True) for n in (few, more))
    return _between(low, high, (layers - few) / (more - few))


def with_8bit_optimizer(memory: UpdateMemory) -> UpdateMemory:
    """AdamW of bitsandbytes moves tensor by tensor, in place."""
    return replace(memory, state=memory.gradients / 4 * STATE_BYTES_8BIT, step=0.0)


def _between(low: UpdateMemory, high: UpdateMemory, share: float) -> UpdateMemory:
    def line(one: float, other: float) -> float:
        return one + share * (other - one)

    def peak(one: Peak, other: Peak) -> Peak:
        return Peak(line(one.copies, other.copies), line(one.activations, other.activations))

    return UpdateMemory(
        weights=line(low.weights, high.weights),
        gradients=line(low.gradients, high.gradients),
        state=line(low.state, high.state),
        forward=peak(low.forward, high.forward),
        backward=peak(low.backward, high.backward),
        step=line(low.step, high.step),
    )


def sharded(memory: UpdateMemory, shape: Shape, ranks: int) -> UpdateMemory:
    """One rank's part under FSDP2: weights, gradients and state are divided, activations are not.

    The weights of a layer are gathered before it runs, those of the next one meanwhile, and those outside
    the layers stay gathered; in the backward pass the layer's whole gradient is there too. Gathered
    weights are taken to be of the type that is kept.
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
    """The whole model in this type: the reference, which keeps nothing else while others work."""
    return shape.parameters * DTYPE_BYTES[dtype]


@dataclass(frozen=True)
class RolloutMemory:
    """Bytes of one vLLM engine. kv_sequence: keys and values of one sequence at its limit."""

    weights: float
    activations: float
    graphs: float
    kv_sequence: float

    @property
    def fixed(self) -> float:
        return self.weights + self.activations + self.graphs


def kv_bytes_per_token(shape: Shape, dtype: str) -> int:
    """A key and a value in each layer."""
    return 2 * shape.layers * shape.kv_width * DTYPE_BYTES[dtype]


def rollout_memory(shape: Shape, model: ModelConfig, max_num_seqs: int, batched_tokens: int) -> RolloutMemory:
    """vLLM's activations are those of its own measurement at the start: the widest part of a layer over the
    tokens read at once (the gated layer's two inputs and its product, and four hidden states), and float32
    logits of all sequences with two copies (the log-probabilities and the sampler's)."""
    width = DTYPE_BYTES[model.dtype]
    layer = batched_tokens * (3 * shape.intermediate + 4 * shape.hidden) * width
    logits = 3 * max_num_seqs * shape.vocabulary * 4
    sequence = (model.max_prompt_tokens + model.max_completion_tokens) * kv_bytes_per_token(shape, model.dtype)
    return RolloutMemory(model_bytes(shape, model.dtype), layer + logits, CUDA_GRAPHS, sequence)
