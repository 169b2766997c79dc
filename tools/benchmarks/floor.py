"""The least arithmetic of a training step: every distinct token passes through the model once per pass.

The completions of a group share their prompt, so its tokens count once. A forward pass takes 2 operations per weight
and token, and a backward pass twice as many (Kaplan et al., arXiv 2001.08361, 2.1). Logits are needed for completion
tokens only. No implementation can be faster than these operations at the machine's rate of matrix products.
"""

from dataclasses import dataclass

from tools.planner.shape import Shape

PASSES_OF_UPDATE = 3  # a forward pass, and a backward pass of twice as many operations


@dataclass(frozen=True)
class Tokens:
    """The tokens of a step: `groups` prompts with `group_size` completions each, and their mean lengths."""

    groups: int
    group_size: int
    prompt: float
    completion: float


@dataclass(frozen=True)
class Floor:
    """Operations of each phase of a step."""

    generate: float
    logprobs: float
    update: float

    @property
    def total(self) -> float:
        return self.generate + self.logprobs + self.update

    @property
    def training(self) -> float:
        return self.logprobs + self.update


def floor(shape: Shape, tokens: Tokens, with_reference: bool) -> Floor:
    """A step with one optimizer update: generation, a forward pass of the reference if there is one, and the update,
    whose forward pass also gives the old log-probabilities."""
    forward = forward_flops(shape, tokens)
    return Floor(forward, forward if with_reference else 0.0, PASSES_OF_UPDATE * forward)


def forward_flops(shape: Shape, tokens: Tokens) -> float:
    """Operations of one forward pass over the distinct tokens of a step, with causal attention."""
    completions = tokens.groups * tokens.group_size
    distinct = tokens.groups * tokens.prompt + completions * tokens.completion
    layers = 2 * shape.layers * shape.layer_parameters * distinct
    logits = 2 * shape.vocabulary * shape.hidden * completions * tokens.completion
    # A query multiplies every key and every value at or before its position: 4 operations per element.
    attention = 4 * shape.layers * shape.attention_width * attended_pairs(tokens)
    return layers + logits + attention


def attended_pairs(tokens: Tokens) -> float:
    """Pairs of a query and a key that it attends to, itself included, over the distinct tokens of a step."""
    in_prompt = tokens.prompt * (tokens.prompt + 1) / 2
    in_completion = tokens.completion * tokens.prompt + tokens.completion * (tokens.completion + 1) / 2
    return tokens.groups * (in_prompt + tokens.group_size * in_completion)
