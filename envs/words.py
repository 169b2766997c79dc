"""Words of reflection in free text: what can be said of any task, and of pretrained models alone.

The keyword list is that of the reproductions of R1-Zero. "wait" is apart, for it gives false positives
("wait for 5 minutes"). Text rules see what a model says, not what it does: where a task has an exact
rule (envs/behaviors.py), words only add to it. Patterns are on lower case and have no nested repeats.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

# Three letters in a row that are none of the tiny model's verdicts: worth a search for words.
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
CHECK_REACH = 60  # characters from a word of checking to the equation that checks


@dataclass(frozen=True)
class Words:
    """Which kinds of words a thought has; `checks` are the places where words of checking end."""

    verification: bool = False
    backtracking: bool = False
    subgoals: bool = False
    backward_chaining: bool = False
    keywords: bool = False
    waits: bool = False
    checks: tuple[int, ...] = ()

    def announce(self, starts: Sequence[int]) -> bool:
        """Does one of the equations that start there (sorted) come right after a word of checking?"""
        for end in self.checks:
            place = bisect_left(starts, end)
            if place < len(starts) and starts[place] - end <= CHECK_REACH:
                return True
        return False


NONE = Words()


def read_words(thought: str) -> Words:
    lower = thought.lower()
    if HAS_WORDS.search(lower) is None:
        return NONE
    return Words(
        verification=VERIFICATION.search(lower) is not None,
        backtracking=BACKTRACKING.search(lower) is not None,
        subgoals=FIRST_GOAL.search(lower) is not None or all(step.search(lower) for step in STEPS),
        backward_chaining=BACKWARD.search(lower) is not None,
        keywords=KEYWORDS.search(lower) is not None,
        waits=WAIT.search(lower) is not None,
        checks=tuple(found.end() for found in CHECK.finditer(lower)) if len(lower) == len(thought) else (),
    )
