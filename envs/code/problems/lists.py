"""Lists of numbers: counting, choosing, rearranging."""

from envs.code.problems.task import ascending, choice, lists, task, whole

SMALL = whole(-9, 9)


@task(1, k=whole(2, 9))
def count_multiples(numbers: list[int], *, k: int) -> int:
    """Return how many of the numbers are divisible by {k}."""
    return sum(number % k == 0 for number in numbers)


@task(1, k=whole(-9, 9))
def sum_above(numbers: list[int], *, k: int) -> int:
    """Return the sum of the numbers that are greater than {k}."""
    return sum(number for number in numbers if number > k)


@task(1, k=whole(2, 9))
def scale_all(numbers: list[int], *, k: int) -> list[int]:
    """Return the list with every number multiplied by {k}."""
    return [number * k for number in numbers]


@task(1, k=whole(-5, 5))
def keep_at_least(numbers: list[int], *, k: int) -> list[int]:
    """Return the numbers that are {k} or more, in their order."""
    return [number for number in numbers if number >= k]


@task(1, k=whole(2, 4))
def every_kth(numbers: list[int], *, k: int) -> list[int]:
    """Return every {k}-th number of the list, starting with the first."""
    return numbers[::k]


@task(1, numbers=lists(SMALL, 1))
def range_width(numbers: list[int]) -> int:
    """Return the difference between the largest and the smallest of the numbers."""
    return max(numbers) - min(numbers)


@task(1)
def sum_of_squares(numbers: list[int]) -> int:
    """Return the sum of the squares of the numbers."""
    return sum(number * number for number in numbers)


@task(1)
def alternating_sum(numbers: list[int]) -> int:
    """Return the first number minus the second plus the third, and so on with alternating signs."""
    return sum(numbers[::2]) - sum(numbers[1::2])


@task(1, numbers=lists(SMALL, 0, 9))
def remove_duplicates(numbers: list[int]) -> list[int]:
    """Return the list without repeated numbers; the first of each stays in its place."""
    return list(dict.fromkeys(numbers))


@task(2, numbers=lists(whole(1, 5), 1, 9))
def most_common(numbers: list[int]) -> int:
    """Return the number that occurs most often; of several, the smallest."""
    return min(set(numbers), key=lambda number: (-numbers.count(number), number))


@task(1, k=whole(1, 5))
def rotate_left(numbers: list[int], *, k: int) -> list[int]:
    """Return the list turned left by {k} places: what falls out on the left comes in on the right.
    An empty list stays empty."""
    shift = k % len(numbers) if numbers else 0
    return numbers[shift:] + numbers[:shift]


@task(1)
def running_total(numbers: list[int]) -> list[int]:
    """Return the list of the sums of the first number, the first two, and so on up to all."""
    totals, total = [], 0
    for number in numbers:
        total += number
        totals.append(total)
    return totals


@task(1)
def running_maximum(numbers: list[int]) -> list[int]:
    """Return for each place the largest number up to and with this place."""
    return [max(numbers[: place + 1]) for place in range(len(numbers))]


@task(1)
def differences(numbers: list[int]) -> list[int]:
    """Return each number from the second on minus the one before it."""
    return [right - left for left, right in zip(numbers, numbers[1:])]


@task(2, k=whole(2, 4))
def chunks(numbers: list[int], *, k: int) -> list[list[int]]:
    """Cut the list into pieces of {k} numbers; the last piece may be shorter."""
    return [numbers[start : start + k] for start in range(0, len(numbers), k)]


@task(2, numbers=lists(SMALL, 4, 9), k=whole(2, 4))
def window_maxima(numbers: list[int], *, k: int) -> list[int]:
    """Return the largest number of every {k} neighbours, from left to right."""
    return [max(numbers[start : start + k]) for start in range(len(numbers) - k + 1)]


@task(2, numbers=lists(SMALL, 4, 9), k=whole(2, 4))
def best_window_sum(numbers: list[int], *, k: int) -> int:
    """Return the largest sum of {k} neighbours in the list, which has at least that many numbers."""
    return max(sum(numbers[start : start + k]) for start in range(len(numbers) - k + 1))


@task(3, numbers=lists(SMALL, 1, 9))
def best_run_sum(numbers: list[int]) -> int:
    """Return the largest sum of one or more neighbours in the list."""
    best = current = numbers[0]
    for number in numbers[1:]:
        current = max(number, current + number)
        best = max(best, current)
    return best


@task(2, numbers=lists(whole(0, 12), 0, 8), target=whole(6, 18))
def pair_with_sum(numbers: list[int], *, target: int) -> bool:
    """Return whether two numbers at different places add up to {target}."""
    return any(a + b == target for i, a in enumerate(numbers) for b in numbers[i + 1 :])


@task(2, numbers=lists(whole(0, 9), 0, 9), target=whole(5, 13))
def count_pairs_with_sum(numbers: list[int], *, target: int) -> int:
    """Return in how many ways one can choose two places whose numbers add up to {target}."""
    return sum(a + b == target for i, a in enumerate(numbers) for b in numbers[i + 1 :])


@task(3, numbers=lists(whole(1, 12), 0, 7), target=whole(8, 25))
def subset_sum(numbers: list[int], *, target: int) -> bool:
    """Return whether some of the numbers, each used at most once, add up to {target}."""
    reached = {0}
    for number in numbers:
        reached |= {total + number for total in reached}
    return target in reached


@task(2, a=ascending(SMALL, 0, 6), b=ascending(SMALL, 0, 6))
def merge_sorted(a: list[int], b: list[int]) -> list[int]:
    """Return all numbers of two ascending lists as one ascending list."""
    return sorted(a + b)


@task(1, a=lists(whole(0, 9)), b=lists(whole(0, 9)))
def common_numbers(a: list[int], b: list[int]) -> list[int]:
    """Return the numbers that occur in both lists, each once, in ascending order."""
    return sorted(set(a) & set(b))


@task(1, a=lists(whole(0, 9)), b=lists(whole(0, 9)))
def only_in_first(a: list[int], b: list[int]) -> list[int]:
    """Return the numbers of a that do not occur in b, in the order of a, repeated as they are there."""
    return [number for number in a if number not in b]


@task(2, numbers=lists(SMALL, 0, 6))
def is_ascending(numbers: list[int]) -> bool:
    """Return whether every number is greater than the one before it."""
    return all(left < right for left, right in zip(numbers, numbers[1:]))


@task(2, numbers=lists(SMALL, 3, 9))
def count_peaks(numbers: list[int]) -> int:
    """Return how many numbers are greater than both of their neighbours; the first and the last
    number have one neighbour only and don't count."""
    return sum(a < b > c for a, b, c in zip(numbers, numbers[1:], numbers[2:]))


@task(3, numbers=lists(SMALL, 0, 9))
def longest_increasing(numbers: list[int]) -> int:
    """Return the length of the longest strictly increasing sequence that is left when any numbers
    are taken out of the list."""
    lengths: list[int] = []
    for place, number in enumerate(numbers):
        lengths.append(1 + max((lengths[i] for i in range(place) if numbers[i] < number), default=0))
    return max(lengths, default=0)


@task(2, numbers=lists(whole(0, 3), 0, 9))
def move_to_end(numbers: list[int]) -> list[int]:
    """Return the list with all zeros moved to its end; the others keep their order."""
    return [number for number in numbers if number] + [0] * numbers.count(0)


@task(2, numbers=lists(whole(0, 12)), k=whole(2, 5))
def group_by_remainder(numbers: list[int], *, k: int) -> list[list[int]]:
    """Return {k} lists: the numbers that leave remainder 0 when divided by {k}, those that leave 1,
    and so on, each in the given order."""
    return [[number for number in numbers if number % k == rest] for rest in range(k)]


@task(2, numbers=lists(whole(1, 30)), k=whole(4, 9))
def nearest_to(numbers: list[int], *, k: int) -> int:
    """Return the number that is nearest to {k}; of two equally near ones the smaller, and {k} itself
    when the list is empty."""
    return min(numbers, key=lambda number: (abs(number - k), number), default=k)


@task(2, numbers=lists(whole(1, 5), 1, 9))
def longest_equal_run(numbers: list[int]) -> int:
    """Return the length of the longest run of equal neighbours."""
    best = run = 1
    for left, right in zip(numbers, numbers[1:]):
        run = run + 1 if left == right else 1
        best = max(best, run)
    return best


@task(2, numbers=lists(SMALL, 1, 8), place=choice(1, 2, 3))
def kth_largest_distinct(numbers: list[int], *, place: int) -> int:
    """Sort the different numbers of the list, largest first, and return the one in place {place}; if
    there are fewer, return the last of them."""
    ordered = sorted(set(numbers), reverse=True)
    return ordered[min(place, len(ordered)) - 1]
