"""Sentences and lists of words."""

from envs.code.problems.task import choice, lists, sentence, task, text, whole


@task(1)
def count_words(text: str) -> int:
    """Return the number of words in the text; words are separated by spaces."""
    return len(text.split())


@task(1)
def reverse_words(text: str) -> str:
    """Return the words of the text in reverse order, with one space between them."""
    return " ".join(reversed(text.split()))


@task(1)
def reverse_each_word(text: str) -> str:
    """Return the text with the letters of every word reversed; the words stay in their places."""
    return " ".join(word[::-1] for word in text.split())


@task(1, k=choice(3, 4))
def words_longer_than(words: list[str], *, k: int) -> list[str]:
    """Return the words that have more than {k} letters, in their order."""
    return [word for word in words if len(word) > k]


@task(
    1,
    words=lists(choice("ant", "art", "at", "axe", "bear", "bat", "car", "dog", "egg", "fish"), 0, 7),
    letter=choice(*"abcdef"),
)
def starting_with(words: list[str], *, letter: str) -> list[str]:
    """Return the words that start with the letter {letter}, in their order."""
    return [word for word in words if word.startswith(letter)]


@task(1, words=sentence(1, 5))
def initials(words: str) -> str:
    """Return the first letters of the words, in upper case and without anything between them."""
    return "".join(word[0].upper() for word in words.split())


@task(1)
def longest_word(text: str) -> str:
    """Return the longest word of the text; of several, the first."""
    return max(text.split(), key=len)


@task(1)
def word_lengths(words: list[str]) -> list[int]:
    """Return the number of letters of each word."""
    return [len(word) for word in words]


@task(2)
def sort_by_length(words: list[str]) -> list[str]:
    """Return the words sorted by length, those of the same length in alphabetical order."""
    return sorted(words, key=lambda word: (len(word), word))


@task(2, k=whole(1, 3))
def sort_by_letter(words: list[str], *, k: int) -> list[str]:
    """Each word has at least three letters. Return the words sorted by letter number {k}; those with
    the same one stay in their order."""
    return sorted(words, key=lambda word: word[k - 1])


@task(2, words=lists(choice("tea", "eat", "ate", "dog", "god", "cat", "act", "owl"), 0, 7))
def count_anagram_groups(words: list[str]) -> int:
    """Two words belong to one group when the one is a rearrangement of the other's letters. Return
    how many groups there are."""
    return len({tuple(sorted(word)) for word in words})


@task(1, words=lists(choice("a", "b", "c", "d"), 0, 4))
def join_with_and(words: list[str]) -> str:
    """Return the words joined by a comma and a space, but the last two by the word and between spaces,
    such as: a, b and c. No words give an empty text."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


@task(2, text=sentence(3, 8), width=whole(8, 16))
def wrap_lines(text: str, *, width: int) -> list[str]:
    """Fill lines with the words of the text, with one space between words, each line with as many
    words as fit in {width} characters. Return the lines."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines


@task(2)
def capitalise_alternate(text: str) -> str:
    """Return the text in lower case, but with every second word in upper case, starting with the
    second."""
    words = text.lower().split()
    words[1::2] = [word.upper() for word in words[1::2]]
    return " ".join(words)


@task(2, text=text("ab c", 1, 12))
def squeeze_spaces(text: str) -> str:
    """Return the text without spaces at its ends, and with every run of spaces inside as one space."""
    return " ".join(text.split())


@task(2, words=lists(choice("flow", "flower", "flight", "fly", "flown", "fleet"), 1, 4))
def shared_start(words: list[str]) -> str:
    """Return the longest text with which all of the words start."""
    start = words[0]
    while not all(word.startswith(start) for word in words):
        start = start[:-1]
    return start


@task(2, words=lists(choice("ab", "ba", "abc", "cab", "bb", "b"), 0, 5), k=whole(1, 2))
def repeated_words(words: list[str], *, k: int) -> list[str]:
    """Return the different words that occur more than {k} times, in alphabetical order."""
    return sorted(word for word in set(words) if words.count(word) > k)


@task(2, text=sentence(1, 4))
def pig_latin(text: str) -> str:
    """In lower case, move the first letter of every word to its end and add ay; words that start
    with a vowel (a, e, i, o, u) only get way added. Return the words with one space between them."""
    words = text.lower().split()
    return " ".join(word + "way" if word[0] in "aeiou" else word[1:] + word[0] + "ay" for word in words)


@task(2, phrase=sentence(1, 5))
def letter_counts(phrase: str) -> dict[str, int]:
    """Return how often each letter occurs in the phrase, in lower or upper case; spaces don't count."""
    from collections import Counter

    return dict(Counter(phrase.lower().replace(" ", "")))


@task(2, expression=lambda rng: "".join(f"{rng.choice('+-')}{rng.randint(0, 20)}" for _ in range(rng.randint(1, 4))))
def signed_sum(expression: str) -> int:
    """The text holds numbers with a sign before each, such as +3-12+4. Return their sum."""
    return sum(map(int, expression.replace("+", " +").replace("-", " -").split()))
