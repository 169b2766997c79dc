import pytest

from rewards.scripts import count_words, mixes_scripts


def test_words_are_counted_by_script():
    assert count_words("we 加三, 3 + 4 = 7 high") == {"LATIN": 2, "CJK": 2}
    assert count_words("мы складываем 12 = 12") == {"CYRILLIC": 2}
    assert count_words("3 + 4 = 7") == {}


@pytest.mark.parametrize("text", ["low 高", "我们 try 12", "мы try", "too low, 太低"])
def test_words_in_two_scripts_are_mixed(text):
    assert mixes_scripts(text)


@pytest.mark.parametrize(
    "text",
    ["", "low high yes", "低高对", "3 × 4 = 12", "the angle π is 3.14", "设 x = 3，所以 y = 4", "naïve café", "низкий"],
)
def test_text_in_one_script_with_symbols_is_not_mixed(text):
    assert not mixes_scripts(text)
