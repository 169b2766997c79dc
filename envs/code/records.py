"""Converts records of MBPP, HumanEval and the built-in format to the fields that envs/code/checker.py reads.

An assert of the form `f(arguments) == expected` with literals on both sides becomes a data test; all others remain
asserts. Records are only parsed; no code is run here.
"""

import ast
import builtins
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from envs.code.plain import PlainError, Tree, decode, encode

MAX_LENGTH = 200_000
COMPARE = ("strict", "equal")


def read_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record in any of the three formats, including its `question`, its `solution` and the `text` that
    distinguishes it from other problems.

    Raises:
        ValueError: a field is missing or malformed.
    """
    if "function" in record and "tests" in record:
        return read_own(record)
    if "test_list" in record:
        return read_mbpp(record)
    if "entry_point" in record:
        return read_humaneval(record)
    raise ValueError("unknown format: needs function and tests, or test_list (MBPP), or entry_point (HumanEval)")


def read_own(record: Mapping[str, Any]) -> dict[str, Any]:
    """The built-in format, which envs/code/checker.py describes."""
    fields = {
        "function": words(record, "function"),
        "tests": record["tests"],
        "compare": record.get("compare", "strict"),
        "context": words(record, "context", ""),
        "asserts": words(record, "asserts", ""),
        "question": words(record, "question", ""),
        "text": words(record, "text", "") or words(record, "question", "") or words(record, "function"),
        "solution": words(record, "solution", ""),
    }
    if not fields["function"].isidentifier():
        raise ValueError(f"field function: {fields['function']!r} is not a valid function name")
    if fields["compare"] not in COMPARE:
        raise ValueError(f"compare must be one of {', '.join(COMPARE)}, got {fields['compare']}")
    if not isinstance(fields["tests"], list) or not (fields["tests"] or fields["asserts"]):
        raise ValueError("tests must be a list with at least one test")
    for number, test in enumerate(fields["tests"], start=1):
        if not isinstance(test, dict) or not isinstance(test.get("args"), list) or "expected" not in test:
            raise ValueError(f"test {number} must have args, a list, and expected")
        decode(test["args"])
        decode(test["expected"])
    return fields


def read_mbpp(record: Mapping[str, Any]) -> dict[str, Any]:
    """MBPP: text (or prompt), code, test_list, test_setup_code (or test_imports). The question shows the first test,
    because nothing else gives the name and the arguments of the function."""
    text = words(record, "text", "") or words(record, "prompt")
    solution = words(record, "code")
    setup = "\n".join([*strings(record, "test_imports"), words(record, "test_setup_code", "")]).strip()
    tests = strings(record, "test_list")
    if not tests:
        raise ValueError("field test_list is empty")
    body = parsed("\n".join(tests))
    defined = {node.name for node in parsed(solution).body if isinstance(node, ast.FunctionDef)}
    function = next((name for name in called(body) if name in defined), None)
    if function is None:
        raise ValueError("the tests call no function that field code defines")
    data, rest = split_asserts(body.body, function)
    fields = {"function": function, "tests": data, "compare": "equal", "context": setup}
    fields["asserts"] = ast.unparse(ast.Module(rest, [])) if rest else ""
    check_names(fields)
    question = f"{text.strip()}\nFor example: {tests[0].strip()}"
    return fields | {"question": question, "text": text, "solution": solution}


def read_humaneval(record: Mapping[str, Any]) -> dict[str, Any]:
    """HumanEval: prompt, entry_point, canonical_solution, and test, which defines check(candidate)."""
    prompt, function, test = (words(record, key) for key in ("prompt", "entry_point", "test"))
    checks = [node for node in parsed(test).body if isinstance(node, ast.FunctionDef) and node.name == "check"]
    if len(checks) != 1 or len(checks[0].args.args) != 1:
        raise ValueError("field test does not define check(candidate)")
    parsed(prompt)
    data, rest = split_asserts(checks[0].body, checks[0].args.args[0].arg)
    fields = {"function": function, "tests": data, "compare": "equal", "context": prompt}
    fields["asserts"] = f"{test}\ncheck({function})\n" if rest else ""
    check_names(fields)
    question = f"Complete this Python function, and give all of it:\n{prompt.strip()}"
    solution = prompt + words(record, "canonical_solution", "")
    return fields | {"question": question, "text": prompt, "solution": solution}


def split_asserts(body: Sequence[ast.stmt], function: str) -> tuple[list[dict[str, Tree]], list[ast.stmt]]:
    """Separate the data tests from the remaining statements."""
    tests, rest = [], []
    for statement in body:
        test = as_data(statement, function)
        if test is not None:
            tests.append(test)
        elif not _idle(statement):
            rest.append(statement)
    return tests, rest


def as_data(statement: ast.stmt, function: str) -> dict[str, Tree] | None:
    """`assert function(literals) == literal` as a data test; None for any other statement."""
    if not isinstance(statement, ast.Assert) or not isinstance(statement.test, ast.Compare):
        return None
    compare = statement.test
    if len(compare.ops) != 1 or not isinstance(compare.ops[0], ast.Eq) or not isinstance(compare.left, ast.Call):
        return None
    call = compare.left
    if not isinstance(call.func, ast.Name) or call.func.id != function or call.keywords:
        return None
    try:
        arguments = [encode(ast.literal_eval(argument)) for argument in call.args]
        return {"args": arguments, "expected": encode(ast.literal_eval(compare.comparators[0]))}
    except (PlainError, ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _idle(statement: ast.stmt) -> bool:
    """Whether a statement has no effect: a string, `pass` or `assert True`."""
    if isinstance(statement, ast.Assert):
        return isinstance(statement.test, ast.Constant) and bool(statement.test.value)
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def check_names(fields: Mapping[str, Any]) -> None:
    """Reject asserts that use names defined only by the solution, because they run in a separate process."""
    nodes = list(ast.walk(parsed(f"{fields['context']}\n{fields['asserts']}")))
    bound = {fields["function"], *dir(builtins)}
    for node in nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    unknown = {node.id for node in nodes if isinstance(node, ast.Name)} - bound
    if unknown and "*" not in bound:
        raise ValueError(f"the asserts use {', '.join(sorted(unknown))}, which the tests do not define")


def called(tree: ast.AST) -> Iterable[str]:
    return (node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))


def parsed(source: str) -> ast.Module:
    try:
        if len(source) > MAX_LENGTH:
            raise ValueError(f"longer than {MAX_LENGTH} characters")
        return ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"the code cannot be parsed: {error}") from error


def words(record: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = record.get(key, default)
    if not isinstance(value, str):
        raise ValueError(f"no field {key}" if value is None else f"field {key} must be a string")
    return value


def strings(record: Mapping[str, Any], key: str) -> list[str]:
    value = record.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"field {key} must be a list of strings")
    return value
