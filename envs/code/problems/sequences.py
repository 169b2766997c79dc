"""Sequences by rule, and small machines that run step by step."""

from envs.code.problems.task import choice, lists, task, whole


@task(1, n=whole(1, 25), a=whole(1, 9), d=whole(2, 9))
def arithmetic_term(n: int, *, a: int, d: int) -> int:
    """A sequence starts with {a} and each number is {d} more than the one before. Return its n-th
    number."""
    return a + (n - 1) * d


@task(1, n=whole(0, 9), a=whole(2, 9), step=whole(2, 6))
def first_terms(n: int, *, a: int, step: int) -> list[int]:
    """Return the first n numbers of the sequence {a}, {a} + {step}, {a} + {step} + {step} and so on."""
    return [a + step * i for i in range(n)]


@task(2, n=whole(1, 18), a=whole(1, 5), b=whole(1, 9))
def fibonacci_like(n: int, *, a: int, b: int) -> int:
    """A sequence starts with {a} and {b}; every later number is the sum of the two before it. Return
    its n-th number."""
    x, y = a, b
    for _ in range(n - 1):
        x, y = y, x + y
    return x


@task(2, n=whole(0, 12), p=whole(2, 3), q=whole(1, 5))
def recurrence(n: int, *, p: int, q: int) -> int:
    """Start with 1 and n times replace the number by {p} times it plus {q}. Return the result."""
    value = 1
    for _ in range(n):
        value = p * value + q
    return value


@task(2, n=whole(0, 30), a=whole(3, 9), m=choice(11, 22, 23, 29, 33, 37))
def pseudo_random(n: int, *, a: int, m: int) -> int:
    """Start with 7 and n times replace the number by the remainder of {a} times it plus 3 when divided
    by {m}. Return the result."""
    value = 7
    for _ in range(n):
        value = (a * value + 3) % m
    return value


@task(2, n=whole(1, 30), a=choice(3, 5), b=choice(4, 7))
def fizz_words(n: int, *, a: int, b: int) -> list[str]:
    """Return the numbers from 1 to n as texts, but fizz for those divisible by {a}, buzz for those
    divisible by {b}, and fizzbuzz for those divisible by both."""
    return [("fizz" * (i % a == 0) + "buzz" * (i % b == 0)) or str(i) for i in range(1, n + 1)]


@task(2, n=whole(2, 12), k=whole(2, 5))
def last_in_circle(n: int, *, k: int) -> int:
    """People numbered from 1 to n stand in a circle. Counting from person 1, every {k}-th one still
    standing leaves, until one is left. Return the number of the last one."""
    circle, place = list(range(1, n + 1)), 0
    while len(circle) > 1:
        place = (place + k - 1) % len(circle)
        circle.pop(place)
    return circle[0]


@task(2, commands=lists(choice("north", "south", "east", "west"), 0, 9))
def walk(commands: list[str]) -> tuple[int, int]:
    """Start at (0, 0). Going north adds 1 to the second number and south takes 1 away; east adds 1 to
    the first and west takes 1 away. Return the tuple at the end."""
    x = commands.count("east") - commands.count("west")
    return (x, commands.count("north") - commands.count("south"))


@task(2, commands=lists(choice("left", "right", "go"), 0, 9), step=whole(1, 5))
def turtle(commands: list[str], *, step: int) -> tuple[int, int]:
    """A turtle stands at (0, 0) and looks along the first axis. The word go moves it {step} ahead, left
    turns it by a quarter from the first axis towards the second, right turns it back the same way.
    Return where it ends, as a tuple."""
    x, y, dx, dy = 0, 0, 1, 0
    for command in commands:
        if command == "go":
            x, y = x + step * dx, y + step * dy
        elif command == "left":
            dx, dy = -dy, dx
        else:
            dx, dy = dy, -dx
    return (x, y)


@task(2, moves=lists(whole(-9, 9), 0, 8), start=whole(5, 20))
def bank_account(moves: list[int], *, start: int) -> int:
    """An account holds {start}. Positive numbers are paid in, negative ones are taken out, but one
    that would bring the account below 0 is refused. Return what it holds at the end."""
    balance = start
    for move in moves:
        if balance + move >= 0:
            balance += move
    return balance


@task(2, words=lists(choice("1", "2", "3", "7", "dup", "drop", "swap"), 0, 8))
def stack_machine(words: list[str]) -> list[int]:
    """Run a stack that starts empty: a number goes on top, dup puts a copy of the top on top, drop
    removes the top, swap exchanges the top two. A word that lacks numbers on the stack is passed over.
    Return the stack, its top last."""
    stack: list[int] = []
    for word in words:
        if word.isdigit():
            stack.append(int(word))
        elif word == "dup" and stack:
            stack.append(stack[-1])
        elif word == "drop" and stack:
            stack.pop()
        elif word == "swap" and len(stack) > 1:
            stack[-1], stack[-2] = stack[-2], stack[-1]
    return stack


SHAPES = ("{} {} +", "{} {} *", "{} {} -", "{} {} {} + *", "{} {} * {} -", "{} {} - {} +")


@task(3, words=lambda rng: rng.choice(SHAPES).format(*(rng.randint(0, 9) for _ in range(3))))
def postfix_value(words: str) -> int:
    """The text holds numbers and the signs +, - and *, with spaces between them. Each sign joins the
    two values before it, so that 5 2 - means 5 minus 2. Return the value of the whole."""
    stack: list[int] = []
    for word in words.split():
        if word.isdigit():
            stack.append(int(word))
            continue
        right, left = stack.pop(), stack.pop()
        stack.append({"+": left + right, "-": left - right, "*": left * right}[word])
    return stack[0]


@task(2, presses=lists(whole(1, 8), 0, 10), n=choice(8))
def toggle_lamps(presses: list[int], *, n: int) -> list[int]:
    """Lamps are numbered from 1 to {n} and are off. Each number in the list switches its lamp on, or
    off if it is on. Return the numbers of the lamps that are on, in ascending order."""
    return [lamp for lamp in range(1, n + 1) if presses.count(lamp) % 2]


@task(3, n=whole(0, 9), rule=choice(30, 90, 110))
def cellular_row(n: int, *, rule: int) -> str:
    """A row of eleven cells is 00000100000. A step replaces all cells at once: a cell, with its left
    and right neighbours (outside the row they are 0), reads as a binary number b from left to right,
    and becomes bit number b of {rule}, where bit 0 is the lowest. Return the row after n steps."""
    row = "00000100000"
    for _ in range(n):
        wide = f"0{row}0"
        row = "".join(str(rule >> int(wide[i : i + 3], 2) & 1) for i in range(len(row)))
    return row


@task(2, n=whole(1, 13))
def pascal_row(n: int) -> list[int]:
    """The first row of a triangle is 1; each later row starts and ends with 1 and has between them the
    sums of neighbours in the row before. Return row number n."""
    row = [1]
    for _ in range(n - 1):
        row = [1, *(left + right for left, right in zip(row, row[1:])), 1]
    return row


@task(2, n=whole(1, 12))
def look_and_say(n: int) -> str:
    """The first text is 1. Each later one reads the one before aloud, run by run, with the length of a
    run and its digit: 1, 11, 21, 1211 and so on. Return text number n."""
    from itertools import groupby

    text = "1"
    for _ in range(n - 1):
        text = "".join(f"{len(list(run))}{digit}" for digit, run in groupby(text))
    return text


@task(2, prices=lists(whole(1, 20), 1, 8), fee=whole(1, 4))
def best_trade(prices: list[int], *, fee: int) -> int:
    """Buy once at a price of the list and sell once at a later one, which costs a fee of {fee} in all.
    Return the largest possible gain, 0 if there is none."""
    gains = [late - early - fee for i, early in enumerate(prices) for late in prices[i + 1 :]]
    return max([0, *gains])


@task(3, values=lists(whole(1, 9), 0, 8), gap=whole(1, 2))
def best_with_gaps(values: list[int], *, gap: int) -> int:
    """Choose places of the list so that between two chosen ones there are at least {gap} others.
    Return the largest possible sum of the numbers there."""
    best: list[int] = []
    for place, value in enumerate(values):
        before = best[place - gap - 1] if place > gap else 0
        best.append(max(value + before, best[place - 1] if place else 0))
    return best[-1] if best else 0


@task(3, jumps=lists(whole(0, 3), 1, 8))
def can_reach_end(jumps: list[int]) -> bool:
    """Start at the first place. From a place one may jump ahead by up to as many places as its number
    says. Return whether one can come to the last place."""
    furthest = 0
    for place, jump in enumerate(jumps):
        if place > furthest:
            return False
        furthest = max(furthest, place + jump)
    return True


@task(2, weights=lists(whole(1, 9), 0, 9), limit=whole(9, 15))
def fill_boxes(weights: list[int], *, limit: int) -> int:
    """Put things into boxes in the given order. A box takes up to {limit}; when the next thing does
    not fit, a new box is begun and the old one is closed. Return the number of boxes used."""
    boxes, room = 0, 0
    for weight in weights:
        if weight > room:
            boxes, room = boxes + 1, limit
        room -= weight
    return boxes
