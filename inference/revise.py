"""A model that revises its own answer."""

from dataclasses import dataclass, replace

from grpo.types import Problem
from inference.engine import Codec, Outcome, Strategy, require
from inference.prompts import revision_prompt
from inference.select import answer_key
from inference.writing import Decoding, pen_for
from rewards.tags import read_tags


@dataclass(frozen=True)
class Revise:
    """Self-refine (arXiv 2303.17651): the answer is put back into a new prompt that asks to check and improve it,
    up to `rounds` times, until it stays as it is.

    Feedback and revision are one completion here, and only the last answer is put back. After a completion
    without an answer the question is asked anew. The last answer that was given is chosen.
    """

    decoding: Decoding
    rounds: int

    def __post_init__(self) -> None:
        require(self.rounds >= 1, "rounds", self.rounds, ">= 1")

    def __call__(self, problem: Problem, codec: Codec) -> Strategy:
        pen = pen_for(problem, self.decoding, codec)
        revision_prompt(pen.prompt, "")  # a prompt that can't be worded is refused before any work
        drafts = yield from pen.write([pen.blank], step=0)
        keys = [answer_key(drafts[0])]
        unchanged = False
        while len(drafts) <= self.rounds and not unchanged:
            answer = read_tags(drafts[-1].text).answer
            prompt = revision_prompt(pen.prompt, answer) if answer else pen.prompt
            drafts += yield from replace(pen, prompt=prompt).write([pen.blank], step=len(drafts))
            keys.append(answer_key(drafts[-1]))
            unchanged = keys[-1] is not None and keys[-1] == keys[-2]
        answered = [draft for draft, key in zip(drafts, keys, strict=True) if key is not None]
        chosen = (answered or drafts)[-1]
        return Outcome(chosen, tuple(drafts), {"answers": keys, "unchanged": unchanged})
