"""Questions with known answers from a dataset: GSM8K, and files like MATH.

The data comes from the Hub or from JSONL files. Duplicate questions are removed, and a held-out question is never
part of the training split, whichever file it comes from.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from envs.behaviors import Behaviors, read_text_behaviors
from envs.prompts import STYLES, make_prompt
from envs.records import read_file, read_hub
from envs.splits import EVAL_FRACTION, SPLITS, disjoint, first_held_out, in_epochs, require, split_of
from grpo.types import Problem
from rewards.latex import check_latex
from rewards.numbers import NumberError, check_number, read_number
from rewards.verdict import Verdict

SIGNS = "+-*/^=<>≤≥≠±×÷−·√"
BRACKETS = "()[]{}"
LEADING_POINT = re.compile(r"(?<![\w.])\.(?=\d)")
# Signs of a formula wherever they are: % and |, a factorial, and a sign directly before a term, as in `is -5`.
FORMULA = r"[%|] | (?<=[\d)}|])!+ | (?<=\b[a-z])!+ | (?<![\w-])[-−+±√<>≤≥](?=[\d(|√$\\] | [a-z]\b)"
WORD = re.compile(rf"\d+\.\d+ | [^\W_]+ | (?P<formula>{FORMULA}) | [{re.escape(SIGNS + BRACKETS)}]", re.VERBOSE)
# Grader -> example of an answer.
EXAMPLES = {"number": "72", "latex": r"\frac{1}{2}"}


@dataclass
class Questions:
    """The task and its settings.

    hub, hub_config  a dataset on the Hub; used if `path` is null
    path             a folder with train.jsonl and test.jsonl, or one JSONL file, which is then split
    eval_fraction    held-out share of the problems of one file, 0..1; 1 for a file that is only evaluated on
    answer_marker    text in the answer field that precedes the answer; null if the whole field is the answer
    grader           "number" compares plain numbers exactly; "latex" uses math-verify
    """

    name: str = "questions"
    hub: str | None = None
    hub_config: str | None = None
    path: str | None = None
    eval_fraction: float = EVAL_FRACTION
    question_field: str = "question"
    answer_field: str = "answer"
    answer_marker: str | None = None
    grader: str = "number"
    prompt_style: str = "base"

    def __post_init__(self) -> None:
        require(self.hub is not None or self.path is not None, "path", self.path, "a folder or a JSONL file")
        require(0 <= self.eval_fraction <= 1, "eval_fraction", self.eval_fraction, "in 0..1")
        require(self.grader in EXAMPLES, "grader", self.grader, f"one of {', '.join(EXAMPLES)}")
        require(self.prompt_style in STYLES, "prompt_style", self.prompt_style, f"one of {', '.join(STYLES)}")

    def problem(self, seed: int, split: str, index: int) -> Problem:
        """The problem at `index` of a split. Each epoch contains all problems of the split, in its own order."""
        problems = self.problems(split)
        return in_epochs(problems, f"{self.name}/{seed}/{split}", index)

    def eval_set(self, count: int) -> list[Problem]:
        """`count` held-out problems, the same in every run.

        Raises:
            ValueError: the dataset has fewer.
        """
        return first_held_out(self, len(self.problems("test")), count)

    def check(self, problem: Problem, answer: str | None) -> Verdict:
        if self.grader == "latex":
            return check_latex(answer, problem.answer)
        return check_number(answer, Fraction(problem.answer))

    def read_behaviors(self, problem: Problem, text: str) -> Behaviors:
        return read_text_behaviors(text)

    def read(self, fields: Mapping[str, Any]) -> Problem:
        """A problem from a record of the dataset; the question may be missing.

        Raises:
            ValueError: the answer is missing or malformed.
        """
        if not isinstance(fields.get(self.answer_field), (str, int, float)):
            raise ValueError(f"no field {self.answer_field}")
        solution = str(fields[self.answer_field])
        marked = self.answer_marker is not None and self.answer_marker in solution
        answer = solution.rpartition(str(self.answer_marker))[2].strip() if marked else solution.strip()
        if self.grader == "number":
            try:
                answer = str(read_number(answer))
            except NumberError as error:
                raise ValueError(f"field {self.answer_field}: {error}") from error
        elif not answer:
            raise ValueError(f"field {self.answer_field}: is empty")
        question = str(fields.get(self.question_field, "")).strip()
        return Problem(
            env=self.name,
            key=hashlib.sha256(canonical(question).encode()).hexdigest()[:16],
            prompt=make_prompt(self.prompt_style, question, EXAMPLES[self.grader], question),
            answer=answer,
            fields={self.question_field: question, self.answer_field: answer},
            metadata={"difficulty": fields.get("level", solution.count("\n"))},
        )

    def read_question(self, fields: Mapping[str, Any]) -> Problem:
        """Like `read`, but a missing question raises a ValueError."""
        if not isinstance(fields.get(self.question_field), str) or not fields[self.question_field].strip():
            raise ValueError(f"no field {self.question_field}")
        return self.read(fields)

    def problems(self, split: str) -> tuple[Problem, ...]:
        """All problems of a split, in the order of the data."""
        return _load(tuple(sorted(vars(self).items())))[split]


@lru_cache(maxsize=8)
def _load(settings: tuple[tuple[str, Any], ...]) -> Mapping[str, tuple[Problem, ...]]:
    """Both splits. The cache belongs to the module rather than the env, so that pickling an env stays cheap."""
    env = Questions(**dict(settings))
    if env.path is not None and Path(env.path).suffix == ".jsonl":
        problems = read_file(Path(env.path), env.read_question)
        train, test = ([p for p in problems if split_of(p.key, env.eval_fraction) == split] for split in SPLITS)
    else:
        train, test = (_part(env, split) for split in SPLITS)
    return disjoint(str(env.path or env.hub), train, test)


def _part(env: Questions, split: str) -> list[Problem]:
    if env.path is not None:
        return read_file(Path(env.path, f"{split}.jsonl"), env.read_question)
    assert env.hub is not None
    return read_hub(env.hub, env.hub_config, split, env.read_question)


def canonical(question: str) -> str:
    """The words, numbers and formulas of a question in lower case, without punctuation."""
    found = list(WORD.finditer(LEADING_POINT.sub("0.", question.casefold())))
    words = [match for match in found if match[0] not in BRACKETS]
    meant = iter([_has_meaning(words, place) for place in range(len(words))])
    kept = [match[0] for match in found if match[0] in BRACKETS or next(meant)]
    groups = _groups(kept)
    return " ".join(word for place, word in enumerate(kept) if word not in BRACKETS or place in groups)


def _has_meaning(words: Sequence[re.Match[str]], place: int) -> bool:
    """Whether this is a word, a number, or a sign of a formula: beside a term or another sign on both sides, as in
    `x - 1` and `= -1`, and unlike the hyphen of `3-year-old`."""
    if words[place].lastgroup == "formula" or words[place][0] not in SIGNS:
        return True
    around = [match[0] for match in (*words[max(0, place - 1) : place], *words[place + 1 : place + 2])]
    return all(len(word) == 1 or word[0].isdigit() for word in around) and any(word not in SIGNS for word in around)


def _groups(words: Sequence[str]) -> set[int]:
    """The places of brackets that change a formula: around two words or more, with a sign among them or beside them, as
    in `(3 + 4) * 2`, and unlike those of `f(x)` and `(3 apples)`. Only parentheses need a sign: `[0, 1)` has none."""
    signs = list(accumulate((word in SIGNS for word in words), initial=0))
    opened: list[int] = []
    places: set[int] = set()
    for place, word in enumerate(words):
        if word in "([{":
            opened.append(place)
        elif word in ")]}" and opened:
            start = opened.pop()
            has_sign = signs[max(0, start - 1)] < signs[min(place + 2, len(words))]
            if place > start + 2 and (has_sign or words[start] + word != "()"):
                places |= {start, place}
    return places
