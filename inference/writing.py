"""Writing one problem's completions piece by piece: going on, forcing text in, cutting it off."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from grpo.types import Chat, Completion, Problem
from inference.engine import Ask, Candidate, Codec, Steps, complete, require, seed_of
from inference.prompts import PROMPTS, answer_opening, cot_prompt, direct_prompt


@dataclass(frozen=True)
class Decoding:
    """How every completion of a strategy is decoded.

    max_tokens  of a whole completion, forced tokens included
    prompt      "cot", or "direct" for an answer without thought
    """

    max_tokens: int
    temperature: float = 1.0
    seed: int = 0
    prompt: str = "cot"

    def __post_init__(self) -> None:
        require(self.max_tokens >= 1, "max_tokens", self.max_tokens, ">= 1")
        require(self.temperature >= 0, "temperature", self.temperature, ">= 0")
        require(self.prompt in PROMPTS, "prompt", self.prompt, f"one of {', '.join(PROMPTS)}")


@dataclass(frozen=True)
class Pen:
    """What writes the completions of one problem."""

    problem: Problem
    decoding: Decoding
    codec: Codec
    prompt: str | Chat
    blank: Candidate  # what every completion begins with

    def write(
        self, drafts: Sequence[Candidate], step: int, most: int | None = None, stop: tuple[str, ...] = ()
    ) -> Steps[list[Candidate]]:
        """Let the model go on from each draft, up to the end of its completion, `most` new tokens or a string
        of `stop`. A draft's place and `step` decide its seed, so a strategy's first samples are those of
        every other strategy with this seed."""
        limit = self.decoding.max_tokens
        rooms = [limit - len(draft.token_ids) for draft in drafts]
        asks = [
            Ask(
                prompt=self.prompt,
                seed=seed_of(self.decoding.seed, self.problem.key, sample, step),
                max_tokens=room if most is None else min(most, room),
                temperature=self.decoding.temperature,
                written=draft.token_ids,
                stop=stop,
            )
            for sample, (draft, room) in enumerate(zip(drafts, rooms, strict=True))
        ]
        completions = yield from complete(asks)
        return [self._join(*item) for item in zip(drafts, asks, completions, strict=True)]

    def force(self, draft: Candidate, text: str) -> Candidate:
        """The draft with a text that the model didn't write."""
        ids = self.codec.encode(text)
        return self._candidate(draft.token_ids + ids, draft.logprobs + (None,) * len(ids), None)

    def cut(self, draft: Candidate, tag: str) -> tuple[Candidate, str]:
        """The tokens before the first `tag` and before the end token. A token may hold text on both sides of
        the place: what it has before comes back as text."""
        tokens = draft.token_ids[:-1] if draft.finish_reason == "stop" else draft.token_ids
        before = self.codec.decode(tokens).partition(tag)[0]
        count = len(tokens)
        while not before.startswith(kept := self.codec.decode(tokens[:count])):
            count -= 1
        return self._candidate(tokens[:count], draft.logprobs[:count], None), before[len(kept) :]

    def _join(self, draft: Candidate, ask: Ask, completion: Completion) -> Candidate:
        tokens = draft.token_ids + completion.token_ids
        # The model's own limit may come before ours; asking on would get nothing.
        cut_short = completion.finish_reason == "length" and len(completion.token_ids) < ask.max_tokens
        if completion.finish_reason == "stop":
            reason: str | None = "stop"
        else:
            reason = "length" if cut_short or len(tokens) >= self.decoding.max_tokens else None
        return self._candidate(tokens, draft.logprobs + completion.behavior_logprobs, reason)

    def _candidate(self, tokens: tuple[int, ...], logprobs: tuple[float | None, ...], reason: str | None) -> Candidate:
        return Candidate(self.codec.decode(tokens), tokens, logprobs, reason)


def pen_for(problem: Problem, decoding: Decoding, codec: Codec) -> Pen:
    """The pen that starts as `decoding.prompt` says.

    Raises:
        ValueError: the answer can't be opened in this vocabulary, or leaves no room.
    """
    empty = Candidate("", (), (), None)
    if decoding.prompt == "cot":
        return Pen(problem, decoding, codec, cot_prompt(problem.prompt), empty)
    pen = Pen(problem, decoding, codec, direct_prompt(problem.prompt), empty)
    opened = pen.force(empty, answer_opening(codec))
    allowed = f"more than the {len(opened.token_ids)} that open a direct answer"
    require(decoding.max_tokens > len(opened.token_ids), "max_tokens", decoding.max_tokens, allowed)
    return replace(pen, blank=opened)
