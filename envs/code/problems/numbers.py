"""Whole numbers: digits, divisors, bases, small formulas."""

from envs.code.problems.task import choice, task, whole


@task(1, k=whole(2, 60))
def add_constant(n: int, *, k: int) -> int:
    """Return n plus {k}."""
    return n + k


@task(1, a=whole(2, 9), b=whole(1, 20))
def scale_and_shift(n: int, *, a: int, b: int) -> int:
    """Return {a} times n, minus {b}."""
    return a * n - b


@task(1, low=whole(-10, 0), high=whole(3, 12))
def clamp(n: int, *, low: int, high: int) -> int:
    """Return n, but {low} if n is smaller than {low}, and {high} if n is larger than {high}."""
    return max(low, min(high, n))


@task(1, k=whole(2, 7))
def is_multiple(n: int, *, k: int) -> bool:
    """Return whether n is divisible by {k}."""
    return n % k == 0


@task(1, k=whole(3, 12))
def round_down_to_multiple(n: int, *, k: int) -> int:
    """Return the largest multiple of {k} that is not greater than n, which may be negative."""
    return n - n % k


@task(1, n=whole(0, 99999))
def digit_sum(n: int) -> int:
    """Return the sum of the decimal digits of n, which is not negative."""
    return sum(int(digit) for digit in str(n))


@task(1, n=whole(0, 99999), d=whole(0, 9))
def count_digit(n: int, *, d: int) -> int:
    """Return how often the digit {d} occurs in the decimal form of n, which is not negative."""
    return str(n).count(str(d))


@task(1, n=whole(-9999, 9999))
def reverse_digits(n: int) -> int:
    """Return the number whose decimal digits are those of n in reverse order; its sign stays."""
    return (-1 if n < 0 else 1) * int(str(abs(n))[::-1])


@task(2, n=whole(0, 99999))
def digital_root(n: int) -> int:
    """Replace n by the sum of its decimal digits until one digit is left, and return that."""
    while n > 9:
        n = sum(int(digit) for digit in str(n))
    return n


@task(2, n=whole(-5, 60))
def is_prime(n: int) -> bool:
    """Return whether n is a prime number."""
    return n > 1 and all(n % k for k in range(2, int(n**0.5) + 1))


@task(2, n=whole(1, 120))
def divisors(n: int) -> list[int]:
    """Return all positive divisors of n in ascending order."""
    return [k for k in range(1, n + 1) if n % k == 0]


@task(2, n=whole(2, 400))
def prime_factors(n: int) -> list[int]:
    """Return the prime factors of n in ascending order, each as often as it divides n."""
    found, k = [], 2
    while n > 1:
        if n % k == 0:
            found.append(k)
            n //= k
        else:
            k += 1
    return found


@task(1, a=whole(1, 120), b=whole(1, 120))
def greatest_common_divisor(a: int, b: int) -> int:
    """Return the greatest number that divides both a and b, which are positive."""
    while b:
        a, b = b, a % b
    return a


@task(2, a=whole(1, 40), b=whole(1, 40))
def least_common_multiple(a: int, b: int) -> int:
    """Return the smallest positive number that both a and b divide."""
    from math import gcd

    return a * b // gcd(a, b)


@task(2, n=whole(0, 400), base=whole(2, 9))
def to_base(n: int, *, base: int) -> str:
    """Return n, which is not negative, written in base {base}."""
    digits = ""
    while n >= base:
        digits = str(n % base) + digits
        n //= base
    return str(n) + digits


@task(2, n=whole(0, 255), base=whole(3, 9))
def digit_sum_in_base(n: int, *, base: int) -> int:
    """Return the sum of the digits of n, which is not negative, when it is written in base {base}."""
    total = 0
    while n:
        total += n % base
        n //= base
    return total


@task(1, n=whole(0, 500))
def count_set_bits(n: int) -> int:
    """Return the number of ones in the binary form of n."""
    return bin(n).count("1")


@task(2, n=whole(1, 60))
def collatz_steps(n: int) -> int:
    """Halve n if it is even, otherwise replace it by 3n + 1. Return how many such steps lead to 1."""
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


@task(2, n=lambda rng: rng.choice([rng.randint(0, 200), rng.randint(0, 6) ** rng.randint(2, 4)]), k=whole(2, 4))
def is_perfect_power(n: int, *, k: int) -> bool:
    """Return whether n is the {k}-th power of a whole number; 0 and 1 are."""
    return any(root**k == n for root in range(n + 1))


@task(1, n=whole(0, 900))
def integer_root(n: int) -> int:
    """Return the largest whole number whose square is not greater than n."""
    root = 0
    while (root + 1) ** 2 <= n:
        root += 1
    return root


@task(2, n=whole(0, 60), a=choice(3, 4, 5), b=choice(6, 7, 8))
def sum_multiples_of_either(n: int, *, a: int, b: int) -> int:
    """Return the sum of all numbers from 1 to n that are divisible by {a} or by {b}, or by both."""
    return sum(k for k in range(1, n + 1) if k % a == 0 or k % b == 0)


@task(1, n=whole(1, 20), k=whole(2, 4))
def sum_of_powers(n: int, *, k: int) -> int:
    """Return 1 to the power of {k} plus 2 to the power of {k} and so on, up to n to the power of {k}."""
    return sum(i**k for i in range(1, n + 1))


@task(2, n=whole(5, 400))
def digits_ascend(n: int) -> bool:
    """Return whether no decimal digit of n is smaller than the digit before it."""
    return list(str(n)) == sorted(str(n))


@task(1, year=whole(1590, 2420))
def is_leap_year(year: int) -> bool:
    """Return whether the year has 366 days: those divisible by 4, but of the whole centuries only
    those divisible by 400."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


@task(2, amount=whole(0, 99), a=choice(20, 25, 30), b=choice(7, 10, 12))
def fewest_coins_greedy(amount: int, *, a: int, b: int) -> list[int]:
    """Pay an amount with coins of {a}, {b} and 1, always taking the largest coin that still fits.
    Return how many of each are used, in this order."""
    return [amount // a, amount % a // b, amount % a % b]


@task(3, amount=whole(0, 40), a=whole(3, 5), b=whole(6, 8))
def fewest_coins(amount: int, *, a: int, b: int) -> int:
    """Return the smallest number of coins that make up the amount, with coins of 1, {a} and {b}."""
    best = [0]
    for total in range(1, amount + 1):
        best.append(1 + min(best[total - coin] for coin in (1, a, b) if coin <= total))
    return best[amount]


@task(3, n=whole(0, 20), a=whole(2, 3), b=whole(4, 5))
def ways_to_climb(n: int, *, a: int, b: int) -> int:
    """Return in how many ways one can climb n steps by going up 1, {a} or {b} steps at a time; the
    order matters, and there is one way to climb none."""
    ways = [1]
    for step in range(1, n + 1):
        ways.append(sum(ways[step - size] for size in (1, a, b) if size <= step))
    return ways[n]


@task(2, n=whole(1, 3999))
def to_roman(n: int) -> str:
    """Return n, from 1 to 3999, as a Roman numeral such as MCMXCIV."""
    values = [1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1]
    names = ["M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I"]
    text = ""
    for value, name in zip(values, names, strict=True):
        text += name * (n // value)
        n %= value
    return text


@task(1, seconds=whole(0, 90000))
def clock_time(seconds: int) -> str:
    """Return a number of seconds as hours, minutes and seconds such as 1:02:03, the hours without a
    leading zero and without an upper bound."""
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


@task(1, x=whole(-9, 9), y=whole(-9, 9), k=whole(2, 6))
def weighted_distance(x: int, y: int, *, k: int) -> int:
    """Return the absolute value of x plus {k} times the absolute value of y."""
    return abs(x) + k * abs(y)
