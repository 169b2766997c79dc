import pytest

from envs.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),  # sets the title
        ("\x1b[2J\x1b[H", r"\x1b[2J\x1b[H"),  # clears the screen
        ("\x1b]52;c;cm0=\x07", r"\x1b]52;c;cm0=\x07"),  # writes to the clipboard
        ("\x9b2J", r"\x9b2J"),  # the same in a single character
        ("wrong\rright", r"wrong\rright"),
        ("rm\x08\x08ls", r"rm\x08\x08ls"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\ud800", r"\ud800"),
        ("\x00\x7f", r"\x00\x7f"),
    ],
)
def test_characters_that_a_terminal_obeys_are_written_out(text, shown):
    assert printable(text) == shown


def test_other_text_stays_as_it_is():
    text = "16 - 8 = 8,\n\t8 + 4 = 12 ≤ π ä 漢字 עברית 👩‍🔬 \\x1b </think>"
    assert printable(text) == text
