"""Turns a plain function into a family of problems.

    @task(1, numbers=lists(whole(-9, 9)), k=whole(2, 9))
    def count_multiples(numbers: list[int], *, k: int) -> int:
        '''Return how many of the numbers are divisible by {k}.'''
        return sum(number % k == 0 for number in numbers)

Keyword-only parameters are constants: they are drawn once per problem and inserted into its statement and its
reference solution. The other parameters are the inputs of the tests, drawn according to their annotation unless the
decorator specifies otherwise. A reference solution imports modules inside the function.
"""

import ast
import inspect
import random
import textwrap
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

Draw = Callable[[random.Random], Any]
F = TypeVar("F", bound=Callable[..., Any])

WORDS = (
    "apple",
    "bear",
    "car",
    "dog",
    "egg",
    "fish",
    "goat",
    "hat",
    "ice",
    "jam",
    "kite",
    "level",
    "moon",
    "noon",
    "owl",
    "pear",
    "queen",
    "rose",
    "sun",
    "tree",
)


@dataclass(frozen=True)
class Task:
    """A family of problems. `level`: 1 (one idea), 2 (two ideas, or a loop with state), 3 (an algorithm)."""

    function: Callable[..., Any]
    level: int
    draws: Mapping[str, Draw]
    constants: Mapping[str, Draw]

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def returns(self) -> str:
        """The return type, as written in the source."""
        annotation = inspect.signature(self.function).return_annotation
        return annotation.__name__ if annotation in (int, bool, str) else str(annotation)

    def draw_constants(self, rng: random.Random) -> dict[str, Any]:
        return {name: draw(rng) for name, draw in self.constants.items()}

    def draw_inputs(self, rng: random.Random) -> list[Any]:
        """Draw the positional arguments of one call."""
        return [draw(rng) for draw in self.draws.values()]

    def statement(self, constants: Mapping[str, Any]) -> str:
        """The docstring on one line, with the constants filled in."""
        return " ".join(inspect.cleandoc(self.function.__doc__ or "").format(**constants).split())

    def signature(self) -> str:
        """The signature as written after `def`, without the constants."""
        signature = inspect.signature(self.function)
        inputs = [p for p in signature.parameters.values() if p.name not in self.constants]
        return self.name + str(signature.replace(parameters=inputs))

    def definition(self, constants: Mapping[str, Any]) -> ast.FunctionDef:
        """The reference solution, with the constants assigned in its first lines."""
        definition = ast.parse(textwrap.dedent(inspect.getsource(self.function))).body[0]
        assert isinstance(definition, ast.FunctionDef)
        definition.decorator_list = []
        definition.args.kwonlyargs, definition.args.kw_defaults = [], []
        lines = [ast.parse(f"{name} = {value!r}").body[0] for name, value in constants.items()]
        definition.body = lines + definition.body[1:]
        return definition


def task(level: int, **draws: Draw) -> Callable[[F], F]:
    """Decorator that makes a function a task. `draws` maps parameters to the functions that draw their values."""

    def decorate(function: F) -> F:
        inputs, constants = {}, {}
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY:
                constants[name] = draws[name]
            else:
                inputs[name] = draws.get(name) or BY_ANNOTATION[str(parameter.annotation)]
        assert set(draws) <= set(inputs) | set(constants), f"{function.__name__} has no parameter for a draw"
        function.task = Task(function, level, inputs, constants)  # type: ignore[attr-defined]
        return function

    return decorate


def tasks_of(module: types.ModuleType) -> list[Task]:
    """The tasks of a module in source order."""
    return [value.task for value in vars(module).values() if isinstance(getattr(value, "task", None), Task)]


def whole(low: int, high: int) -> Draw:
    return lambda rng: rng.randint(low, high)


def choice(*values: Any) -> Draw:
    return lambda rng: rng.choice(values)


def lists(item: Draw, low: int = 0, high: int = 8) -> Draw:
    """Lists of low..high items; occasionally an item repeats an earlier one."""

    def draw(rng: random.Random) -> list[Any]:
        items: list[Any] = []
        for _ in range(rng.randint(low, high)):
            items.append(rng.choice(items) if items and rng.random() < 0.15 else item(rng))
        return items

    return draw


def ascending(item: Draw, low: int = 0, high: int = 8) -> Draw:
    return lambda rng: sorted(lists(item, low, high)(rng))


def text(alphabet: str, low: int = 0, high: int = 10) -> Draw:
    return lambda rng: "".join(rng.choice(alphabet) for _ in range(rng.randint(low, high)))


def sentence(low: int = 1, high: int = 6) -> Draw:
    """Words separated by single spaces, some capitalized."""
    word = lists(choice(*WORDS, *(word.capitalize() for word in WORDS[:6])), low, high)
    return lambda rng: " ".join(word(rng))


def table(values: Draw, low: int = 0) -> Draw:
    return lambda rng: {word: values(rng) for word in rng.sample(WORDS, rng.randint(low, 5))}


def grid(item: Draw, low: int = 1, high: int = 4, square: bool = False) -> Draw:
    def draw(rng: random.Random) -> list[list[Any]]:
        rows = rng.randint(low, high)
        columns = rows if square else rng.randint(low, high)
        return [[item(rng) for _ in range(columns)] for _ in range(rows)]

    return draw


def pairs(first: Draw, second: Draw, low: int = 0, high: int = 6) -> Draw:
    pair: Draw = lambda rng: (first(rng), second(rng))  # noqa: E731 - like the other draws
    return lists(pair, low, high)


def span(last: int) -> Draw:
    """Intervals with a start in 0..last and an end after it."""

    def draw(rng: random.Random) -> tuple[int, int]:
        start = rng.randint(0, last)
        return start, start + rng.randint(1, 5)

    return draw


BY_ANNOTATION: Mapping[str, Draw] = {
    "<class 'int'>": whole(-20, 20),
    "<class 'str'>": sentence(),
    "<class 'bool'>": choice(False, True),
    "list[int]": lists(whole(-20, 20)),
    "list[str]": lists(choice(*WORDS)),
    "dict[str, int]": table(whole(-9, 20)),
    "list[list[int]]": grid(whole(-9, 9)),
}
