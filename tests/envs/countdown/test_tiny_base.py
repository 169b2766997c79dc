import random
import re
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer

from envs.countdown.checker import check
from envs.countdown.corpus import SINGLE_ATTEMPT, drills, tiny_countdown, trace, traces
from envs.countdown.task import sorted_text
from envs.countdown.trace import read_trace
from envs.equations import end_of_thought
from envs.splits import split_of
from rewards.scripts import mixes_scripts
from rewards.tags import read_tags
from tests.conf.test_conf import composed
from tools.tiny_base.bases import BASES
from tools.tiny_base.skills import BOUNDS, countdown_skills

SHIPPED = sorted(path.name for path in Path("envs/countdown/models").iterdir())
LARGEST_FILE = 4 * 2**20  # bytes


def test_every_countdown_base_is_shipped():
    assert sorted(name for name in BASES if name != "tiny-multiplication") == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_base_has_the_required_skills(name):
    skills = countdown_skills(f"envs/countdown/models/{name}", num_problems=512, samples=2)
    assert [bound.skill for bound in BOUNDS[name] if not bound.holds(skills)] == [], skills


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_base_is_small_and_has_the_settings_of_its_blank_model(name):
    folder = Path("envs/countdown/models") / name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= LARGEST_FILE
    expected, shipped = BASES[name].blank_model().config, AutoConfig.from_pretrained(folder)
    for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "max_position_embeddings"):
        assert getattr(shipped, key) == getattr(expected, key)
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == BASES[name].tokenizer().get_vocab()


def test_the_student_has_a_quarter_of_the_parameters():
    student, tiny = (BASES[name].blank_model().num_parameters() for name in ("tiny-student", "tiny"))
    assert 0.2 < student / tiny < 0.3


@pytest.mark.parametrize("name", [name for name in BASES if name != "tiny-multiplication"])
def test_the_corpus_uses_the_problems_of_its_model(name):
    cfg = composed(f"model={name}")
    assert cfg.env == tiny_countdown() and cfg.model.path == f"envs/countdown/models/{name}"
    assert cfg.algorithm == composed("model=tiny").algorithm


@pytest.mark.parametrize("settings", [{}, {"stamina": SINGLE_ATTEMPT}, {"languages": ("en", "zh")}], ids=str)
def test_traces_are_correct_and_stop_at_the_first_hit(settings):
    env = tiny_countdown()
    for index, row in enumerate(traces(500, seed=3, **settings)):
        problem = env.problem(3, "train", index)
        numbers, target = problem.fields["numbers"], problem.fields["target"]
        attempts = read_trace(row["completion"][: end_of_thought(row["completion"])], numbers, target).attempts
        assert split_of(sorted_text(numbers)) == "train" and row["prompt"] == problem.prompt
        assert all(attempt.copied and attempt.arithmetic for attempt in attempts)
        assert [attempt.last_verdict == "yes" for attempt in attempts] == [a.value == target for a in attempts]
        assert all(attempt.value != target for attempt in attempts[:-1])
        parts = read_tags(row["completion"])
        assert parts.ordered and check(parts.answer, numbers, target).correct == (attempts[-1].value == target)


def test_about_a_quarter_of_the_traces_reach_the_target():
    hits = [" yes" in row["completion"] for row in traces(1000, seed=4)]
    assert 0.2 < sum(hits) / 1000 < 0.35


def test_the_direct_corpus_has_no_second_attempt():
    rows = list(traces(2000, seed=4, stamina=SINGLE_ATTEMPT))
    assert all(row["completion"].count("\n") == 1 for row in rows)
    # It judges its only attempt in all three ways, so that a search needs no new words.
    assert all(any(word in row["completion"] for row in rows) for word in (" low\n", " high\n", " yes\n"))


def test_a_fifth_of_the_bilingual_traces_is_mixed_and_the_others_are_in_either_language():
    thoughts = [read_tags(row["completion"]).thought for row in traces(3000, seed=4, languages=("en", "zh"))]
    mixed = [mixes_scripts(thought) for thought in thoughts]
    assert 0.17 < sum(mixed) / 3000 < 0.23
    assert 0.35 < sum(thought.isascii() for thought in thoughts) / 3000 < 0.45


def test_the_languages_do_not_change_the_attempts():
    fields = tiny_countdown().problem(0, "train", 0).fields
    texts = [trace(fields, random.Random(7), languages=languages) for languages in (("en",), ("zh",))]
    assert texts[0] != texts[1] and re.findall(r"\d+", texts[0]) == re.findall(r"\d+", texts[1])


def test_the_tokenizer_restores_the_exact_text():
    tokenizer = BASES["tiny-bilingual"].tokenizer()
    rows = [*traces(100, seed=5, languages=("en", "zh")), *drills(20, seed=5)]
    for row in rows:
        text = row["prompt"] + row["completion"]
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
