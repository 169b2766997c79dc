import random

import pytest

from envs.behaviors import SHOWN
from run.aha import AhaMoment, band, find_aha, first_sample


def rows_of(shares, n=256, measure="backtracking"):
    return [{"step": i, "reflection/n": n, f"reflection/{measure}": share} for i, share in enumerate(shares)]


def test_the_band_by_hand():
    # 64 of 256: (64 + 2) / 260 = 0.2538, its error sqrt(0.2538 * 0.7462 / 260) = 0.02699, times 5.5 = 0.1484.
    assert band(0.25, 256) == pytest.approx((0.25 - 0.1484, 0.25 + 0.1484), abs=1e-4)
    # None of 256: 2 / 260 = 0.0077, error 0.00542, times 5.5 = 0.0298: one completion is no event.
    assert band(0.0, 256) == pytest.approx((0.0, 0.0298), abs=1e-4)


def test_the_first_step_outside_for_good_is_the_event():
    # The band is 0.10..0.40; step 2 is outside and comes back, from step 4 on all are.
    (moment,) = find_aha(rows_of([0.25, 0.3, 0.5, 0.35, 0.45, 0.6, 0.7]))
    assert (moment.step, moment.measure, moment.before, moment.after) == (4, "backtracking", 0.25, 0.7)
    assert moment.rose and moment.sentence == (
        "From step 4 on, backtracking stayed above 39.8%, the bound of chance around its step 0: "
        "it rose from 25.0% to 70.0% of completions."
    )


def test_patience_and_a_return_take_it_back():
    assert find_aha(rows_of([0.25, 0.6, 0.6])) == []
    assert len(find_aha(rows_of([0.25, 0.6, 0.6, 0.6]))) == 1
    assert find_aha(rows_of([0.25, 0.6, 0.6, 0.6, 0.3])) == []
    assert len(find_aha(rows_of([0.25, 0.6]), patience=1)) == 1


def test_the_side_must_stay_the_same():
    assert find_aha(rows_of([0.4, 0.8, 0.8, 0.1, 0.1])) == []
    (moment,) = find_aha(rows_of([0.4, 0.8, 0.8, 0.1, 0.1, 0.1]))
    assert moment.step == 3 and not moment.rose and "fell from 40.0% to 10.0%" in moment.sentence


def test_evaluation_rows_and_other_measures_do_not_disturb():
    rows = rows_of([0.25, 0.6, 0.6, 0.6])
    rows[2:2] = [{"step": 2, "eval/sampled": 0.5}]
    rows.append({"step": 4, "eval/sampled": 0.5})
    for row in rows:
        row["reflection/tries"] = row["step"] * 9.0
    assert [moment.step for moment in find_aha(rows)] == [1]


def test_without_step_0_there_is_no_event():
    assert find_aha([]) == [] == find_aha(rows_of([0.25, 0.6, 0.6, 0.6])[1:])
    assert find_aha(rows_of([0.25, 0.6, 0.6, 0.6], n=0)) == []


def test_events_come_in_the_order_of_steps():
    rows = rows_of([0.25, 0.3, 0.6, 0.6, 0.6])
    for row, share in zip(rows, [0.0, 0.2, 0.2, 0.3, 0.4]):
        row["reflection/waits"] = share
    assert [(moment.step, moment.measure) for moment in find_aha(rows)] == [(1, "waits"), (2, "backtracking")]


def test_patience_must_be_positive():
    with pytest.raises(ValueError, match="patience must be >= 1, got 0"):
        find_aha([], patience=0)


@pytest.mark.parametrize("alike", [False, True], ids=["independent", "alike in a group"])
def test_a_run_without_change_rarely_has_an_event(alike):
    """Asked live at each of 60 steps, for six measures; of 40 runs two may be wrong, which is 5%.
    Completions of a problem are independent, or the problem has a rate of its own, one standard
    deviation above or below the run's, which makes them correlate by 0.1."""
    rng = random.Random(0)
    false_alarms = 0
    for _ in range(40):
        rows = [{"step": step, "reflection/n": 256} for step in range(60)]
        for measure, rate in zip(SHOWN, [0.25, 0.5, 0.98, 0.02, 0.004, 0.1], strict=True):
            spread = (0.1 * rate * (1 - rate)) ** 0.5 if alike else 0.0
            for row in rows:
                rates = [min(1.0, max(0.0, rng.choice([rate - spread, rate + spread]))) for _ in range(32)]
                row[f"reflection/{measure}"] = sum(sum(rng.random() < one for _ in range(8)) for one in rates) / 256
        false_alarms += any(find_aha(rows[: step + 1]) for step in range(60))
    assert false_alarms <= 2


BACKTRACKS = ["verification", "backtracking", "subgoals"]
STRAIGHT = ["verification", "subgoals"]
MOMENT = AhaMoment(3, "backtracking", 0.2, 0.6, (0.1, 0.3))


def sample(step, kind, behaviors, correct=True, key="1 17 17 -> 35"):
    return {"step": step, "kind": kind, "key": key, "behaviors": behaviors, "correct": correct}


def test_the_first_sample_is_a_held_out_problem_that_was_failed_before():
    other = "1 16 18 -> 35"
    samples = [
        sample(0, "eval", STRAIGHT, correct=True, key=other),
        sample(0, "eval", STRAIGHT, correct=False),
        sample(2, "train", BACKTRACKS),
        sample(3, "train", BACKTRACKS),
        sample(4, "eval", BACKTRACKS, key=other),
        sample(4, "eval", STRAIGHT),
        sample(5, "eval", BACKTRACKS, correct=False),
        sample(6, "eval", BACKTRACKS),
        sample(7, "eval", BACKTRACKS),
    ]
    assert first_sample(iter(samples), MOMENT) is samples[7]
    assert first_sample(samples[:7], MOMENT) is samples[4]
    assert first_sample(samples[:4], MOMENT) is samples[3]
    assert first_sample(samples[:3], MOMENT) is None


def test_a_measure_that_fell_is_shown_by_its_lack():
    fell = AhaMoment(3, "backtracking", 0.6, 0.1, (0.5, 0.7))
    samples = [sample(3, "eval", BACKTRACKS), sample(3, "eval", STRAIGHT)]
    assert first_sample(samples, fell) is samples[1]


def test_each_measure_is_looked_up_among_the_stored_behaviors():
    parts = AhaMoment(3, "subgoals", 0.2, 0.6, (0.1, 0.3))
    waits = AhaMoment(3, "waits", 0.2, 0.6, (0.1, 0.3))
    product = sample(3, "eval", ["subgoals"], key="38 * 47")
    words = sample(3, "eval", ["waits"], key="how many apples?")
    assert first_sample([words, product], parts) is product
    assert first_sample([product, words], waits) is words
