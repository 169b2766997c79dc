"""One problem of a family: its constants and an optional twist, an extra step applied to the result."""

import ast
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from envs.code.plain import Tree, decode, encode
from envs.code.problems.task import Task

EXAMPLES = 2


@dataclass(frozen=True)
class Twist:
    """The step in words, as a Python expression over `result`, and as a function."""

    words: str
    code: str
    apply: Callable[[Any], Any]


@dataclass(frozen=True)
class TaskVariant:
    """A family with its constants drawn, and the twist, if any."""

    task: Task
    constants: Mapping[str, Any]
    twist: Twist | None = None

    @property
    def key(self) -> str:
        """The canonical form: variants with equal keys are the same problem."""
        constants = ", ".join(f"{name}={value}" for name, value in self.constants.items())
        return f"{self.task.name}({constants})" + (f" then {self.twist.code}" if self.twist else "")

    @property
    def statement(self) -> str:
        words = self.task.statement(self.constants)
        return f"{words} {self.twist.words}" if self.twist else words

    @property
    def source(self) -> str:
        """The source code of a correct solution."""
        plain = self.task.definition(self.constants)
        if self.twist is None:
            return ast.unparse(ast.fix_missing_locations(plain)) + "\n"
        arguments = ", ".join(argument.arg for argument in plain.args.args)
        outer = ast.parse(f"def {plain.name}():\n    result = plain({arguments})\n    return {self.twist.code}").body[0]
        assert isinstance(outer, ast.FunctionDef)
        outer.args, outer.returns, plain.name = plain.args, plain.returns, "plain"
        outer.body.insert(0, plain)
        return ast.unparse(ast.fix_missing_locations(outer)) + "\n"

    def expected(self, arguments: list[Any]) -> Any:
        result = self.task.function(*arguments, **self.constants)
        return self.twist.apply(result) if self.twist else result

    def draw_tests(self, count: int) -> list[dict[str, Tree]]:
        """The EXAMPLES tests shown in the question, followed by `count` hidden tests. All have different arguments, and
        their results are as diverse as possible. The tests depend on the key alone."""
        rng = random.Random(f"code/tests/{self.key}")
        by_result: dict[str, list[dict[str, Tree]]] = {}
        seen = set()
        for _ in range(8 * (count + EXAMPLES)):
            arguments = encode(self.task.draw_inputs(rng))
            if repr(arguments) in seen:
                continue
            seen.add(repr(arguments))
            copies = decode(arguments)
            assert isinstance(copies, list)
            result = encode(self.expected(copies))
            by_result.setdefault(repr(result), []).append({"args": arguments, "expected": result})
        tests: list[dict[str, Tree]] = []
        while len(tests) < count + EXAMPLES and any(by_result.values()):
            tests += [group.pop(0) for group in by_result.values() if group]
        return tests[: count + EXAMPLES]


def draw_variant(task: Task, rng: random.Random, twist_share: float) -> TaskVariant:
    """Draw a variant of a family. It has a twist with probability `twist_share`."""
    constants = task.draw_constants(rng)
    return TaskVariant(task, constants, draw_twist(task.returns, rng) if rng.random() < twist_share else None)


def draw_twist(returns: str, rng: random.Random) -> Twist | None:
    """Draw an extra step for results of this type; None if there is no suitable one."""
    k = rng.randint(2, 30)
    twists: list[Twist] = []
    if returns == "int":
        twists.append(Twist(f"Add {k} to the result.", f"result + {k}", lambda result: result + k))
        twists.append(Twist(f"Multiply the result by {k}.", f"result * {k}", lambda result: result * k))
        twists.append(Twist(f"Subtract the result from {k}.", f"{k} - result", lambda result: k - result))
    elif returns == "bool":
        twists.append(Twist("Return the opposite of that.", "not result", lambda result: not result))
    elif returns == "str":
        mark = rng.choice("*#-+=!")
        twists.append(Twist("Reverse the resulting text.", "result[::-1]", lambda result: result[::-1]))
        twists.append(Twist(f"Put {mark} in front of the result.", f"{mark!r} + result", lambda result: mark + result))
    elif returns.startswith("list"):
        twists.append(Twist("Reverse the resulting list.", "result[::-1]", lambda result: result[::-1]))
        if returns == "list[int]":
            add = f"[item + {k} for item in result]"
            twists.append(Twist(f"Add {k} to each of its numbers.", add, lambda result: [item + k for item in result]))
    return rng.choice(twists) if twists else None
