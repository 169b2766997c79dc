"""The built-in problems: the docstring of a function is the statement, its body the reference solution."""

from envs.code.problems import grids, lists, numbers, sequences, strings, tables, texts
from envs.code.problems.task import Task, tasks_of

TASKS: dict[str, Task] = {
    task.name: task
    for module in (numbers, lists, strings, tables, sequences, grids, texts)
    for task in tasks_of(module)
}
