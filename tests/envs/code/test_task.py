import ast
import builtins
import inspect
import json
import pickle
import random

import pytest

from envs.code.plain import decode, encode, same
from envs.code.problems import TASKS
from envs.code.problems.variant import EXAMPLES, TaskVariant, Twist, draw_twist, draw_variant
from envs.code.task import Code, families
from envs.splits import split_of


def one_of_each():
    """One variant of each family; every second one has a twist."""
    rng = random.Random(0)
    return [draw_variant(task, rng, float(i % 2)) for i, task in enumerate(TASKS.values())]


def problem_of(variant):
    return Code()._problem_of(variant)


def test_a_problem_is_a_function_of_seed_split_and_index():
    env = Code()
    assert env.problem(3, "train", 7) == env.problem(3, "train", 7)
    assert env.problem(3, "train", 7) != env.problem(4, "train", 7)
    assert env.problem(3, "train", 7) != env.problem(3, "train", 8)


def test_there_are_enough_problems():
    assert len(TASKS) >= 110 and len(families("test")) >= 20
    assert len(Code().eval_set(512)) == 512
    assert {task.level for task in TASKS.values()} == {1, 2, 3}


def test_no_family_is_in_both_splits():
    env = Code()
    train = {env.problem(seed, "train", i).metadata["family"] for seed in range(2) for i in range(500)}
    held_out = {problem.metadata["family"] for problem in env.eval_set(512)}
    assert len(train) > 100 and len(held_out) >= 20 and not train & held_out


def test_no_held_out_family_has_the_statement_or_program_of_a_training_family():
    """Compares statements, and programs whose local names are replaced by placeholders."""
    assert len({task.function.__doc__ for task in TASKS.values()}) == len(TASKS)
    sides: dict[str, set[str]] = {}
    for task in TASKS.values():
        sides.setdefault(nameless(task), set()).add(split_of(task.name))
    assert all(len(splits) == 1 for splits in sides.values())


def nameless(task):
    definition = task.definition({})
    definition.name, definition.returns = "f", None
    names: dict[str, str] = {}
    for node in ast.walk(definition):
        if isinstance(node, ast.arg):
            node.annotation = None
            node.arg = names.setdefault(node.arg, f"v{len(names)}")
        elif isinstance(node, ast.Name) and node.id not in dir(builtins):
            node.id = names.setdefault(node.id, f"v{len(names)}")
    return ast.unparse(definition)


def test_no_held_out_problem_behaves_like_a_training_problem():
    rng = random.Random(0)
    variants = {name: [draw_variant(task, rng, 0.0) for _ in range(3)] for name, task in TASKS.items()}
    for held_out in (variant for name in families("test") for variant in variants[name]):
        tests = held_out.draw_tests(40)
        for name in families("train"):
            if types_of(TASKS[name]) == types_of(held_out.task):
                for trained in variants[name]:
                    assert not all(agrees(trained, test) for test in tests), (held_out.key, trained.key)


def types_of(task):
    parameters = inspect.signature(task.function).parameters.values()
    return task.returns, [str(p.annotation) for p in parameters if p.name not in task.constants]


def agrees(variant, test):
    try:
        return same(encode(variant.expected(decode(test["args"]))), test["expected"])
    except (IndexError, ValueError, KeyError):
        return False


def test_held_out_problems_are_distinct_and_the_same_in_every_run():
    problems = Code().eval_set(100)
    assert len({problem.key for problem in problems}) == 100
    assert Code().eval_set(10) == problems[:10]
    with pytest.raises(ValueError, match=r"num_problems=9999: .* held-out problems"):
        Code(twist_share=0).eval_set(9999)


def test_the_answer_of_every_problem_passes_in_the_sandbox():
    env = Code()
    for variant in one_of_each():
        problem = problem_of(variant)
        assert env.check(problem, problem.answer).correct, (problem.key, env.check(problem, problem.answer))


def test_an_answer_that_fails_a_single_test_is_wrong():
    env = Code()
    for variant in random.Random(1).sample(one_of_each(), 40):
        problem = problem_of(variant)
        name, last = problem.fields["function"], problem.fields["tests"][-1]["args"]
        spoiled = f"\nright = {name}\ndef {name}(*a):\n    return None if dump(a) == {last!r} else right(*a)\n"
        answer = "from envs.code.plain import encode\ndump = lambda a: encode(list(a))\n" + problem.answer + spoiled
        found = env.check(problem, answer)
        total = len(problem.fields["tests"])
        assert not found.correct and found.reason.startswith(f"test {total} of {total}"), (problem.key, found)


class Mutate(ast.NodeTransformer):
    """Change the first comparison, or otherwise the first operation or number."""

    def __init__(self, kind):
        self.kind, self.done = kind, False

    def generic_visit(self, node):
        if not self.done and isinstance(node, self.kind):
            self.done = True
            if isinstance(node, ast.Compare):
                return ast.UnaryOp(ast.Not(), node)
            if isinstance(node, ast.BinOp):
                return node.left
            if isinstance(node, ast.Return) and node.value is not None:
                return ast.Return(ast.Constant(None))
        return super().generic_visit(node)


def test_mutated_answers_fail():
    env, killed, total = Code(time_limit=0.5), 0, 0
    for variant in one_of_each():
        problem = problem_of(TaskVariant(variant.task, variant.constants))
        tree = ast.parse(problem.answer)
        kind = next(k for k in (ast.Compare, ast.BinOp, ast.Return) if any(isinstance(n, k) for n in ast.walk(tree)))
        mutant = ast.unparse(ast.fix_missing_locations(Mutate(kind).visit(tree)))
        total += 1
        killed += not env.check(problem, mutant).correct
    assert killed / total > 0.97, f"{killed} of {total}"


def test_constants_and_copies_of_the_examples_fail():
    for variant in one_of_each():
        problem = problem_of(variant)
        tests = problem.fields["tests"]
        shown = variant.draw_tests(len(tests))[:2]
        assert len(tests) == 8 and len({repr(test["args"]) for test in [*shown, *tests]}) == 10, problem.key
        results = [test["expected"] for test in tests]
        assert all(not all(same(result, other) for other in results) for result in results), problem.key
        assert not any(test["args"] == example["args"] for test in tests for example in shown)


def test_no_constants_make_a_reference_solution_fail_or_return_the_same_for_every_test():
    rng = random.Random(0)
    for task in TASKS.values():
        variants = {variant.key: variant for variant in (draw_variant(task, rng, 0.0) for _ in range(60))}
        for variant in variants.values():
            variant.draw_tests(50)
            hidden = variant.draw_tests(8)[EXAMPLES:]
            assert len({repr(test["expected"]) for test in hidden}) > 1, variant.key


def test_the_code_of_a_twist_equals_its_function():
    """The code of a twist is part of the reference solution, its function computes the expected results."""
    results = {"int": 7, "bool": True, "str": "abc", "list[int]": [1, 2], "list[str]": ["a", "b"]}
    for returns, result in results.items():
        for seed in range(20):
            twist = draw_twist(returns, random.Random(seed))
            assert isinstance(twist, Twist)
            by_hand = {
                "result[::-1]": lambda r: r[::-1],
                "not result": lambda r: not r,
            }.get(twist.code)
            assert by_hand is None or by_hand(result) == twist.apply(result)
            assert twist.apply(result) != result
    assert draw_twist("tuple[int, int]", random.Random(0)) is None


def test_a_problem_by_hand():
    problem = problem_of(TaskVariant(TASKS["count_multiples"], {"k": 3}))
    assert problem.key == "count_multiples(k=3)"
    assert problem.answer == (
        "def count_multiples(numbers: list[int]) -> int:\n    k = 3\n"
        "    return sum((number % k == 0 for number in numbers))\n"
    )
    asked = "Write a Python function `count_multiples(numbers: list[int]) -> int`. "
    assert asked + "Return how many of the numbers are divisible by 3. For example, " in problem.prompt
    assert "<answer> \ndef count_multiples(numbers: list[int]) -> int:\n    ...\n </answer>" in problem.prompt
    assert problem.metadata == {"difficulty": 1, "family": "count_multiples"}
    for test in problem.fields["tests"]:
        assert test["expected"] == sum(number % 3 == 0 for number in test["args"][0])


def test_fields_survive_a_json_round_trip():
    env = Code()
    problem = problem_of(TaskVariant(TASKS["merge_intervals"], {}))
    again = env.read(json.loads(json.dumps(dict(problem.fields))))
    assert env.check(again, problem.answer).correct and not env.check(again, "def merge_intervals(s): return s").correct
    assert pickle.loads(pickle.dumps(env)) == env  # noqa: S301 - our own


def test_the_split_depends_on_the_family_name():
    for index in range(20):
        problem = Code().problem(0, "test", index)
        assert split_of(problem.metadata["family"]) == "test"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt_style": "tiny"}, "env.prompt_style must be one of base, chat, got tiny"),
        ({"num_tests": 1}, "env.num_tests must be 2..50, got 1"),
        ({"twist_share": 2.0}, "env.twist_share must be 0..1, got 2.0"),
        ({"time_limit": 0.0}, "env.time_limit must be above 0"),
        ({"memory_mb": 8}, "env.memory_mb must be 64 or more, got 8"),
        ({"path": "/nowhere.jsonl"}, "env.path must be null, or a file or folder"),
    ],
)
def test_invalid_settings_are_rejected_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        Code(**settings)


def test_a_system_without_protections_is_rejected(monkeypatch):
    monkeypatch.setattr("envs.code.task.missing_protections", lambda: ["Landlock (Linux 5.13 or newer)"])
    with pytest.raises(ValueError, match=r"env code: this system cannot run code in a sandbox; missing: Landlock"):
        Code()


def test_chat_and_base_prompts_contain_the_same_question():
    base, chat = Code().problem(0, "train", 0), Code(prompt_style="chat").problem(0, "train", 0)
    assert base.fields["question"] in base.prompt and base.fields["question"] in chat.prompt.user


def test_reference_solutions_do_not_use_names_of_their_module():
    """A reference solution is published as a stand-alone program."""
    for task in TASKS.values():
        used = set(task.function.__code__.co_names) & set(vars(__import__(task.function.__module__, fromlist=["_"])))
        assert not used - set(dir(encode)), (task.name, used)
