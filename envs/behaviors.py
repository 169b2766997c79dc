"""The reasoning behaviours of a completion: the four of arXiv 2503.01307, keywords and "wait".

The paper asks a language model to label them. Here each task detects them with exact rules where it has a
trace language (envs/countdown/behaviors.py, envs/multiplication/behaviors.py), and words in free text count
in addition. docs/aha.md lists all rules in one table. Only the text before </think> is read.
"""

from dataclasses import dataclass

from envs.equations import end_of_thought, read_equations
from envs.words import read_words

BEHAVIORS = ("verification", "backtracking", "subgoals", "backward_chaining")
SHOWN = (*BEHAVIORS, "keywords", "waits")


@dataclass(frozen=True)
class Behaviors:
    """The behaviours of one completion, and the counts that metrics are computed from.

    keywords        contains a word of the keyword list in envs/words.py
    waits           contains the word "wait"
    equations       number of equations
    true_equations  number of equations that are true
    tries           number of attempts (countdown) or of lines with a calculation (multiplication); None for a
                    task without a trace language
    copied          attempts that use each given number once; for multiplication, lines that compute a part that
                    was still missing
    verdicts_yes    attempts whose last verdict is "yes"
    decorative      those of them that do not reach the target
    """

    verification: bool = False
    backtracking: bool = False
    subgoals: bool = False
    backward_chaining: bool = False
    keywords: bool = False
    waits: bool = False
    equations: int = 0
    true_equations: int = 0
    tries: int | None = None
    copied: int = 0
    verdicts_yes: int = 0
    decorative: int = 0

    @property
    def reflects(self) -> bool:
        """Whether the completion verifies or backtracks."""
        return self.verification or self.backtracking

    @property
    def shown(self) -> list[str]:
        """The names in SHOWN that apply."""
        return [name for name in SHOWN if getattr(self, name)]


def read_text_behaviors(text: str) -> Behaviors:
    """Detect behaviours from words and equations alone, for tasks without a trace language."""
    thought = text[: end_of_thought(text)]
    words, equations = read_words(thought), read_equations(thought)
    return Behaviors(
        verification=words.verification or words.announce([equation.start for equation in equations]),
        backtracking=words.backtracking,
        subgoals=words.subgoals,
        backward_chaining=words.backward_chaining,
        keywords=words.keywords,
        waits=words.waits,
        equations=len(equations),
        true_equations=sum(equation.is_true for equation in equations),
    )
