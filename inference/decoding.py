"""How the completions of a problem are prompted and written: sampled in segments, extended by forced text, and cut."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from grpo.types import Chat, Completion, Problem, Request, SamplingParams, request_seed
from inference.types import Candidate, Codec, Routine, complete

TURN = "\nAssistant: "
DIRECT = " This time show no work: give the final answer alone, in <answer> </answer> tags."
REVISE = (
    "\nAn earlier attempt gave this answer, which may be wrong: {answer}\n"
    "Check it step by step. If it is wrong, find the right one; if it is right, give it again."
)
MAX_REVISED_ANSWER = 200  # characters of an answer that are inserted into a revision prompt
# The first text that the vocabulary can spell is used. In most vocabularies the space after the tag belongs to the
# next token; a tiny vocabulary may have it in the tag's token.
ANSWER_OPENINGS = ("</think> <answer>", "</think> <answer> ")
# A direct answer ends here. Otherwise a model could reason after the forced tags and answer a second time.
DIRECT_ENDS = ("</answer>", "</think>", "<answer>")


@dataclass(frozen=True)
class Decoding:
    """How a strategy decodes its completions. conf/strategies.py checks the values.

    max_tokens  limit on the length of a completion, forced tokens included
    prompt      "cot" for chain of thought, "direct" for an answer without reasoning
    """

    max_tokens: int
    temperature: float = 1.0
    seed: int = 0
    prompt: str = "cot"


@dataclass(frozen=True)
class Writer:
    """Writes the completions of one problem.

    start  the candidate from which every completion is continued: empty, or the forced opening of a direct answer
    ends   strings that end a completion, besides the end-of-sequence token
    """

    problem: Problem
    decoding: Decoding
    codec: Codec
    prompt: str | Chat
    start: Candidate
    ends: tuple[str, ...] = ()

    def sample(
        self, drafts: Sequence[Candidate], step: int, max_new_tokens: int | None = None, stop: tuple[str, ...] = ()
    ) -> Routine[list[Candidate]]:
        """Let the model continue each draft until it ends, `max_new_tokens` tokens or a string of `stop`.

        The seed depends on the draft's index and `step`, so that the first samples of all strategies with the same
        seed are equal.
        """
        limits = [self.decoding.max_tokens - len(draft.token_ids) for draft in drafts]
        if max_new_tokens is not None:
            limits = [min(max_new_tokens, limit) for limit in limits]
        requests = [
            Request(
                self.prompt,
                # One tuple, whose string quotes the key: different parts never result in the same string.
                request_seed((self.decoding.seed, self.problem.key, index, step)),
                draft.token_ids,
                SamplingParams(self.decoding.temperature, limit, stop=(*stop, *self.ends)),
            )
            for index, (draft, limit) in enumerate(zip(drafts, limits, strict=True))
        ]
        completions = yield from complete(requests)
        return [self._append(*parts) for parts in zip(drafts, limits, completions, strict=True)]

    def force(self, draft: Candidate, text: str) -> Candidate:
        """Append text that the model did not sample."""
        ids = self.codec.encode(text)
        return self._candidate(draft.token_ids + ids, draft.logprobs + (None,) * len(ids), None)

    def cut(self, draft: Candidate, tag: str) -> tuple[Candidate, str]:
        """Cut the draft before the first `tag` and before the end-of-sequence token.

        A token may contain the beginning of the tag and text before it. Such a token is cut, and the text before
        the tag is returned as the second value.
        """
        tokens = draft.token_ids[:-1] if draft.finish_reason == "stop" else draft.token_ids
        before = self.codec.decode(tokens).partition(tag)[0]
        count = len(tokens)
        while not before.startswith(kept := self.codec.decode(tokens[:count])):
            count -= 1
        return self._candidate(tokens[:count], draft.logprobs[:count], None), before[len(kept) :]

    def _append(self, draft: Candidate, max_new_tokens: int, completion: Completion) -> Candidate:
        tokens = draft.token_ids + completion.token_ids
        # The model's context may end before the requested number of tokens; another request would return nothing.
        context_full = completion.finish_reason == "length" and len(completion.token_ids) < max_new_tokens
        new = self.codec.decode(completion.token_ids) if self.ends else ""
        if completion.finish_reason == "stop":
            reason: str | None = "stop"
        elif any(end in new for end in self.ends):
            reason = "stop_string"
        else:
            reason = "length" if context_full or len(tokens) >= self.decoding.max_tokens else None
        return self._candidate(tokens, draft.logprobs + completion.behavior_logprobs, reason)

    def _candidate(self, tokens: tuple[int, ...], logprobs: tuple[float | None, ...], reason: str | None) -> Candidate:
        return Candidate(self.codec.decode(tokens), tokens, logprobs, reason)


def make_writer(problem: Problem, decoding: Decoding, codec: Codec) -> Writer:
    """Return a writer with the prompt that `decoding.prompt` names.

    The prompts of this project already ask for step-by-step reasoning (zero-shot chain of thought, arXiv
    2205.11916), so "cot" uses them unchanged.

    Raises:
        ValueError: the vocabulary cannot spell the opening of an answer, or no token is left for the answer.
    """
    empty = Candidate("", (), (), None)
    if decoding.prompt == "cot":
        return Writer(problem, decoding, codec, problem.prompt, empty)
    writer = Writer(problem, decoding, codec, direct_prompt(problem.prompt), empty)
    start = writer.force(empty, answer_opening(codec))
    if decoding.max_tokens <= len(start.token_ids):
        raise ValueError(
            f"model.max_completion_tokens must be more than the {len(start.token_ids)} tokens that open a direct "
            f"answer, got {decoding.max_tokens}"
        )
    return replace(writer, start=start, ends=DIRECT_ENDS)


def direct_prompt(prompt: str | Chat) -> str | Chat:
    """Return the prompt for an answer without reasoning, the control experiment of arXiv 2205.11916.

    The answer is opened by forced tokens after the prompt (`answer_opening`), and the completion ends with it. A tiny
    prompt, which has no instructions, is returned unchanged.
    """
    return _with_instruction(prompt, DIRECT, "<think>") or prompt


def revision_prompt(prompt: str | Chat, answer: str) -> str | Chat:
    """Return the prompt with an earlier answer and the request to check it (self-refine, arXiv 2303.17651).

    Raises:
        ValueError: the prompt has no user turn to which the request can be added.
    """
    revised = _with_instruction(prompt, REVISE.format(answer=_sanitized(answer)))
    if revised is None:
        raise ValueError("env.prompt_style must be base or chat for strategy=revise, got tiny")
    return revised


def answer_opening(codec: Codec) -> str:
    """Return the text that ends the reasoning and opens the answer.

    Raises:
        ValueError: the vocabulary cannot spell it.
    """
    for text in ANSWER_OPENINGS:
        if can_spell(codec, text):
            return text
    raise ValueError(
        f"the model's vocabulary cannot spell {ANSWER_OPENINGS[0]!r}, which opens a forced answer; "
        "choose a strategy without strategy.prompt=direct and strategy.cap"
    )


def can_spell(codec: Codec, text: str) -> bool:
    """Whether encoding and decoding preserves the text up to whitespace.

    A tiny vocabulary silently drops text that it does not contain.
    """
    return codec.encode(text) != () and codec.decode(codec.encode(text)).split() == text.split()


def _with_instruction(prompt: str | Chat, instruction: str, opening: str | None = None) -> str | Chat | None:
    """Append the instruction to the user's turn, and replace the opening of the assistant's turn if given.

    Returns None if the prompt has no turns.
    """
    if isinstance(prompt, Chat):
        return Chat(prompt.system, prompt.user + instruction, prompt.assistant if opening is None else opening)
    before, turn, begun = prompt.rpartition(TURN)
    return f"{before}{instruction}{turn}{begun if opening is None else opening}" if turn else None


def _sanitized(answer: str) -> str:
    """Return the model's answer as one short line that contains no tag and no special token."""
    return " ".join(answer.split())[:MAX_REVISED_ANSWER].replace("<", "< ")
