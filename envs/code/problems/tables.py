"""Dictionaries, pairs and sets."""

from envs.code.problems.task import WORDS, choice, lists, pairs, span, table, task, whole

NAME = choice(*WORDS[:6])


@task(1, prices=table(whole(1, 20)), k=whole(5, 15))
def affordable(prices: dict[str, int], *, k: int) -> list[str]:
    """Return the names of the things that cost {k} or less, in alphabetical order."""
    return sorted(name for name, price in prices.items() if price <= k)


@task(1, stock=table(whole(0, 9)))
def total_stock(stock: dict[str, int]) -> int:
    """Return the sum of all values of the dictionary."""
    return sum(stock.values())


@task(1, points=table(whole(0, 9), 1))
def best_player(points: dict[str, int]) -> str:
    """Return the name with the most points; of several, the first in the alphabet."""
    return min(points, key=lambda name: (-points[name], name))


@task(1, points=table(whole(0, 9)), k=whole(1, 9))
def raise_all(points: dict[str, int], *, k: int) -> dict[str, int]:
    """Return the dictionary with every value raised by {k}."""
    return {name: value + k for name, value in points.items()}


@task(1)
def count_occurrences(words: list[str]) -> dict[str, int]:
    """Return a dictionary that says how often each word occurs in the list."""
    return {word: words.count(word) for word in words}


@task(2, a=table(whole(1, 9)), b=table(whole(1, 9)))
def add_tables(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    """Return a dictionary with the keys of both; the value of a key is the sum of its values, or its
    value in the one that has it."""
    return {name: a.get(name, 0) + b.get(name, 0) for name in {**a, **b}}


@task(2, table=table(whole(1, 3)))
def invert(table: dict[str, int]) -> dict[int, list[str]]:
    """Return a dictionary from each value to the names that have it, in alphabetical order."""
    names: dict[int, list[str]] = {}
    for name in sorted(table):
        names.setdefault(table[name], []).append(name)
    return names


@task(1, sales=pairs(NAME, whole(1, 9)))
def total_by_name(sales: list[tuple[str, int]]) -> dict[str, int]:
    """Return for each name the sum of the numbers that stand with it in the pairs."""
    totals: dict[str, int] = {}
    for name, amount in sales:
        totals[name] = totals.get(name, 0) + amount
    return totals


@task(2, sales=pairs(NAME, whole(1, 9)), k=whole(1, 3))
def leading_names(sales: list[tuple[str, int]], *, k: int) -> list[str]:
    """Add up the numbers of each name. Return the {k} names with the largest sums, or all if there
    are fewer, largest first, and those with equal sums in alphabetical order."""
    totals: dict[str, int] = {}
    for name, amount in sales:
        totals[name] = totals.get(name, 0) + amount
    return sorted(totals, key=lambda name: (-totals[name], name))[:k]


@task(1, points=pairs(whole(-9, 9), whole(-9, 9)))
def swap_pairs(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the list with the two numbers of every pair swapped; the pairs are tuples."""
    return [(second, first) for first, second in points]


@task(1, numbers=lists(whole(-9, 9), 1))
def smallest_and_largest(numbers: list[int]) -> tuple[int, int]:
    """Return a tuple of the smallest and the largest of the numbers."""
    return (min(numbers), max(numbers))


@task(2, a=whole(-99, 99), b=whole(1, 12))
def quotient_and_remainder(a: int, b: int) -> tuple[int, int]:
    """Return a tuple of the largest whole number q for which b times q is not greater than a, and of
    what is then left of a."""
    return (a // b, a % b)


@task(1, a=lists(whole(0, 9)), b=lists(whole(0, 9)))
def in_exactly_one(a: list[int], b: list[int]) -> set[int]:
    """Return the set of the numbers that occur in exactly one of the two lists."""
    return set(a) ^ set(b)


@task(2, intervals=pairs(whole(0, 9), whole(10, 20), 1, 4), k=whole(8, 12))
def intervals_with(intervals: list[tuple[int, int]], *, k: int) -> int:
    """Each pair is a first and a last number. Return how many of these ranges contain {k}, their ends
    included."""
    return sum(first <= k <= last for first, last in intervals)


@task(3, spans=lists(span(15), 0, 5))
def merge_intervals(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Each tuple is the start and the end of a span. Join spans that overlap or touch, and return
    what is left as tuples in ascending order."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


@task(3, spans=lists(span(9), 0, 6))
def most_at_once(spans: list[tuple[int, int]]) -> int:
    """Each tuple is the hour of a guest's arrival and that of the guest's leaving. Return the largest
    number of guests at any time; who leaves at an hour is gone when another arrives then."""
    hours = {start for start, _ in spans}
    return max((sum(start <= hour < end for start, end in spans) for hour in hours), default=0)


@task(3, edges=pairs(whole(0, 6), whole(0, 6), 0, 7), start=whole(0, 6))
def reachable(edges: list[tuple[int, int]], *, start: int) -> list[int]:
    """Each tuple is a one-way road from one place to another. Return all places that can be reached
    from place {start}, with itself, in ascending order."""
    found, waiting = {start}, [start]
    while waiting:
        place = waiting.pop()
        for origin, goal in edges:
            if origin == place and goal not in found:
                found.add(goal)
                waiting.append(goal)
    return sorted(found)


@task(3, edges=pairs(whole(0, 5), whole(0, 5), 2, 8), goal=whole(1, 5))
def fewest_roads(edges: list[tuple[int, int]], *, goal: int) -> int:
    """Each tuple is a road that joins two places, in both directions. Return the smallest number of
    roads from place 0 to place {goal}, and -1 if there is no way."""
    distance, waiting = {0: 0}, [0]
    for place in waiting:
        for a, b in edges:
            for near, far in ((a, b), (b, a)):
                if near == place and far not in distance:
                    distance[far] = distance[place] + 1
                    waiting.append(far)
    return distance.get(goal, -1)


@task(2, edges=pairs(whole(0, 5), whole(0, 5), 0, 6), n=whole(5, 8))
def count_groups(edges: list[tuple[int, int]], *, n: int) -> int:
    """People are numbered from 0 to {n} and each tuple says that two of them know each other; a group
    is everyone who is joined by such links. Return the number of groups; who knows nobody is one."""
    group = list(range(n + 1))
    for a, b in edges:
        old, new = group[a], group[b]
        group = [new if name == old else name for name in group]
    return len(set(group))


@task(2, marks=table(whole(1, 6)), k=whole(2, 5))
def split_by_mark(marks: dict[str, int], *, k: int) -> tuple[list[str], list[str]]:
    """Return a tuple of two lists in alphabetical order: the names with a mark below {k}, and all
    others."""
    below = sorted(name for name, mark in marks.items() if mark < k)
    return (below, sorted(set(marks) - set(below)))
