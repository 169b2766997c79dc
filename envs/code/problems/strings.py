"""Single strings: letters, cases, patterns, ciphers."""

from envs.code.problems.task import choice, lists, sentence, task, text, whole

LETTERS = "abcde"
BRACKETS = ("[", "]", "(", ")", "()", "[]", "([])")


@task(1, letter=choice(*"aeinorst"))
def count_letter(text: str, *, letter: str) -> int:
    """Return how often the letter {letter} occurs in the text, in lower or upper case."""
    return text.lower().count(letter)


@task(1)
def count_vowels(text: str) -> int:
    """Return how many of the letters a, e, i, o and u the text holds, in lower or upper case."""
    return sum(character in "aeiou" for character in text.lower())


@task(1, text=text("abcd12", 0, 10))
def digits_only(text: str) -> str:
    """Return the digits of the text in their order, and nothing else."""
    return "".join(character for character in text if character.isdigit())


@task(1, text=text("abcdef", 0, 10), k=whole(2, 4))
def repeat_each(text: str, *, k: int) -> str:
    """Return the text with every character written {k} times."""
    return "".join(character * k for character in text)


@task(1, text=text(LETTERS, 0, 8), mark=choice("-", "_", "*", "+", ".", "/"))
def separate(text: str, *, mark: str) -> str:
    """Return the text with {mark} between all neighbouring characters."""
    return mark.join(text)


@task(1, text=text("ab", 0, 6))
def is_palindrome(text: str) -> bool:
    """Return whether the text reads the same backwards."""
    return text == text[::-1]


@task(1)
def swap_case(text: str) -> str:
    """Return the text with lower case letters in upper case and the other way round."""
    return text.swapcase()


@task(1, k=whole(3, 12))
def shorten(text: str, *, k: int) -> str:
    """Return the text, but if it is longer than {k} characters its first {k} followed by three dots."""
    return text if len(text) <= k else text[:k] + "..."


@task(1, text=text(LETTERS, 0, 7), width=whole(5, 12), mark=choice("0", "*", ".", "#"))
def pad_left(text: str, *, width: int, mark: str) -> str:
    """Return the text with as many {mark} in front that it has {width} characters; a longer text
    stays as it is."""
    return mark * (width - len(text)) + text


@task(2, shift=whole(1, 25))
def caesar_cipher(text: str, *, shift: int) -> str:
    """Move every lower case letter {shift} places on in the alphabet, from z on to a again; all other
    characters stay."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    return text.translate(str.maketrans(alphabet, alphabet[shift:] + alphabet[:shift]))


@task(2, text=text("aab", 0, 9))
def run_lengths(text: str) -> str:
    """Return the text with each run of equal characters written as the character and the length of
    the run, such as a3b1 for aaab."""
    from itertools import groupby

    return "".join(f"{character}{len(list(run))}" for character, run in groupby(text))


@task(2, pairs=lists(lambda rng: rng.choice("abc") + str(rng.randint(1, 9)), 0, 4))
def expand_runs(pairs: list[str]) -> str:
    """Each string is a character followed by a number, such as a3. Return each character as often as
    its number says, all in one text."""
    return "".join(pair[0] * int(pair[1:]) for pair in pairs)


@task(2, text=text("abc", 0, 9))
def first_unique(text: str) -> str:
    """Return the first character that occurs exactly once in the text, and an empty text if there is
    none."""
    return next((character for character in text if text.count(character) == 1), "")


@task(2, text=text("abcd", 1, 9))
def most_frequent_letter(text: str) -> str:
    """Return the character that occurs most often; of several, the first in the alphabet."""
    return min(set(text), key=lambda character: (-text.count(character), character))


@task(2, a=text("abc", 2, 4), b=text("abc", 2, 4))
def are_anagrams(a: str, b: str) -> bool:
    """Return whether b can be made by rearranging all characters of a."""
    return sorted(a) == sorted(b)


@task(2, text=text("()", 0, 6))
def is_balanced(text: str) -> bool:
    """Return whether every parenthesis is closed by a later one, and none closes what isn't open."""
    depth = 0
    for character in text:
        depth += 1 if character == "(" else -1
        if depth < 0:
            return False
    return depth == 0


@task(2, text=text("(a)", 0, 9))
def deepest_nesting(text: str) -> int:
    """Go through the text, adding 1 for an opening parenthesis and taking away 1 for a closing one.
    Return the largest value on the way, at least 0."""
    depth = deepest = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    return deepest


@task(3, text=lambda rng: "".join(rng.choice(BRACKETS) for _ in range(rng.randint(0, 4))))
def brackets_match(text: str) -> bool:
    """Return whether round and square brackets in the text are properly closed and nested."""
    opened: list[str] = []
    for character in text:
        if character in "([":
            opened.append(character)
        elif not opened or opened.pop() + character not in ("()", "[]"):
            return False
    return not opened


@task(2, text=text("ab", 1, 9))
def longest_palindrome_length(text: str) -> int:
    """Return the length of the longest part of the text, without gaps, that reads the same backwards."""
    ends = range(1, len(text) + 1)
    parts = [text[start:end] for end in ends for start in range(end)]
    return max(len(part) for part in parts if part == part[::-1])


@task(3, a=text("abc", 0, 7), b=text("abc", 0, 7))
def common_subsequence(a: str, b: str) -> int:
    """Return the length of the longest text that is left of both a and b when any characters are
    taken out of each."""
    row = [0] * (len(b) + 1)
    for left in a:
        previous = row
        row = [0]
        for place, right in enumerate(b):
            row.append(previous[place] + 1 if left == right else max(previous[place + 1], row[place]))
    return row[-1]


@task(3, a=text("abc", 0, 6), b=text("abc", 0, 6))
def edit_distance(a: str, b: str) -> int:
    """Return the smallest number of steps that turn a into b, where a step adds, removes or replaces
    one character."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        previous, row = row, [i]
        for j, right in enumerate(b, start=1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (left != right)))
    return row[-1]


@task(2, a=text("abc", 0, 6), b=text("abc", 0, 6))
def common_prefix(a: str, b: str) -> str:
    """Return the longest text with which both a and b start."""
    length = 0
    while length < min(len(a), len(b)) and a[length] == b[length]:
        length += 1
    return a[:length]


@task(2, text=text("abcabc", 0, 8))
def longest_without_repeat(text: str) -> int:
    """Return the length of the longest part of the text, without gaps, in which no character occurs
    twice."""
    best = start = 0
    for end in range(len(text)):
        while text[end] in text[start:end]:
            start += 1
        best = max(best, end - start + 1)
    return best


@task(2, text=text("abcdefgh", 0, 10), k=whole(2, 4))
def reverse_blocks(text: str, *, k: int) -> str:
    """Cut the text into pieces of {k} characters, the last may be shorter, and return them joined
    again with each piece reversed."""
    return "".join(text[start : start + k][::-1] for start in range(0, len(text), k))


@task(1, a=text("abc", 0, 6), b=text("123", 0, 6))
def interleave(a: str, b: str) -> str:
    """Return the first character of a, the first of b, the second of a and so on; when one is used
    up, the rest of the other follows."""
    length = min(len(a), len(b))
    return "".join(a[i] + b[i] for i in range(length)) + a[length:] + b[length:]


@task(2, text=sentence(1, 3), k=whole(2, 3))
def zigzag_rows(text: str, *, k: int) -> list[str]:
    """Deal the characters of the text out to {k} rows in turn, the first to row one, the next to row
    two and so on, again and again. Return the rows."""
    return [text[row::k] for row in range(k)]


@task(1, text=text("01", 1, 7))
def binary_value(text: str) -> int:
    """Return the number whose binary digits are the characters of the text."""
    return int(text, 2)


@task(2, name=lambda rng: "_".join(rng.sample(["max", "value", "of", "row", "next"], rng.randint(1, 4))))
def to_camel_case(name: str) -> str:
    """Turn a name such as max_value into one such as maxValue."""
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
