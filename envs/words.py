"""Detects words of reflection in free text. They apply to every task, but only pretrained models write them.

The keyword list is that of the reproductions of R1-Zero. "wait" is counted separately because it gives false
positives ("wait for 5 minutes"). Words show what a model says, not what it does: where a task has exact rules,
words only add to them. All patterns match lower-case text and have no nested repetition.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

# Three letters in a row other than the tiny model's verdicts: the thought contains words.
HAS_WORDS = re.compile(r"\b(?!(?:yes|low|high)\b)[a-z]{3}")
KEYWORDS = re.compile(
    r"\b(?:recheck|rethink|reassess|re-?evaluat|re-?examin|reconsider|reanaly[sz]|double-check|check again"
    r"|think again|verify again|go over the steps)"
)
WAIT = re.compile(r"\bwait\b")
CHECK = re.compile(r"\b(?:double-check|check|verify|verifying|verification|confirm)\b")
VERIFICATION = re.compile(
    r"\b(?:double-check|recheck|check again|verify again|sanity check|let(?:['’]s| me| us) (?:check|verify|confirm)"
    r"|to (?:verify|check|confirm)[,:]|verification:|check:|plug(?:ging)? (?:it|this|that|them) back"
    r"|substitut(?:e|ing) (?:it|this|that|them)? ?back)"
)
BACKTRACKING = re.compile(
    r"\b(?:let(?:['’]s| me| us) (?:try|consider|use) (?:another|again|something else|a different|a new|other)"
    r"|try (?:another|again|a different|something else)|start over|starting over|go back|going back|backtrack"
    r"|scratch that|(?:i|we) made (?:a|an) (?:mistake|error)|(?:that|this)(?: is|['’]s) (?:wrong|not right|a mistake)"
    r"|a different approach|another approach)\b"
)
FIRST_GOAL = re.compile(
    r"\bfirst(?:ly)?\b(?=[^.\n]{0,80}\b(?:get|make|find|obtain|reach|compute|calculate|determine)\b)"
)
STEPS = (re.compile(r"\bstep (?:1|one)\b"), re.compile(r"\bstep (?:2|two)\b"))
BACKWARD = re.compile(
    r"\bwork(?:ing)? backwards?\b|\bbackwards? from\b|\bin reverse\b"
    r"|\bstart(?:ing)? (?:from|with) the (?:target|goal|answer|result|end)\b"
)
CHECK_REACH = 60  # maximum number of characters between a word of checking and the equation that it announces


@dataclass(frozen=True)
class Words:
    """The kinds of words in a thought; `checks` are the end positions of words of checking."""

    verification: bool = False
    backtracking: bool = False
    subgoals: bool = False
    backward_chaining: bool = False
    keywords: bool = False
    waits: bool = False
    checks: tuple[int, ...] = ()

    def announce(self, starts: Sequence[int]) -> bool:
        """Whether an equation starts right after a word of checking, given the sorted starts of all equations."""
        for end in self.checks:
            index = bisect_left(starts, end)
            if index < len(starts) and starts[index] - end <= CHECK_REACH:
                return True
        return False


NO_WORDS = Words()


def read_words(thought: str) -> Words:
    """Search a thought for words of reflection."""
    lower = thought.lower()
    if HAS_WORDS.search(lower) is None:
        return NO_WORDS
    return Words(
        verification=VERIFICATION.search(lower) is not None,
        backtracking=BACKTRACKING.search(lower) is not None,
        subgoals=FIRST_GOAL.search(lower) is not None or all(step.search(lower) for step in STEPS),
        backward_chaining=BACKWARD.search(lower) is not None,
        keywords=KEYWORDS.search(lower) is not None,
        waits=WAIT.search(lower) is not None,
        checks=tuple(found.end() for found in CHECK.finditer(lower)) if len(lower) == len(thought) else (),
    )
