import random

import pytest

from envs.behaviors import SHOWN
from run.aha import AhaMoment, AhaWatch, band, first_sample


def find_aha(rows):
    """The events of a run whose metric rows are these."""
    watch = AhaWatch()
    for row in rows:
        watch.add(row)
    return watch.moments()


def rows_of(shares, n=256, measure="backtracking"):
    return [{"step": i, "reflection/n": n, f"reflection/{measure}": share} for i, share in enumerate(shares)]


def test_the_band_by_hand():
    # 64 of 256: (64 + 2) / 260 = 0.2538, its error sqrt(0.2538 * 0.7462 / 260) = 0.02699, times 5.5 = 0.1484.
    assert band(0.25, 256) == pytest.approx((0.25 - 0.1484, 0.25 + 0.1484), abs=1e-4)
    # 0 of 256: 2 / 260 = 0.0077, error 0.00542, times 5.5 = 0.0298, so a single completion stays inside the band.
    assert band(0.0, 256) == pytest.approx((0.0, 0.0298), abs=1e-4)


def test_the_event_is_the_first_step_from_which_all_rates_are_outside_the_band():
    # The band is 0.10..0.40: step 2 is outside it but step 3 is not; from step 4 on all are.
    (moment,) = find_aha(rows_of([0.25, 0.3, 0.5, 0.35, 0.45, 0.6, 0.7]))
    assert (moment.step, moment.measure, moment.before, moment.after) == (4, "backtracking", 0.25, 0.7)
    assert moment.rose and moment.sentence == (
        "From step 4 on, backtracking stayed above 39.8%, the upper edge of the confidence band around its step-0 "
        "rate: it rose from 25.0% to 70.0% of completions."
    )


def test_an_event_needs_three_rows_and_is_withdrawn_when_the_rate_returns_to_the_band():
    assert find_aha(rows_of([0.25, 0.6, 0.6])) == []
    assert len(find_aha(rows_of([0.25, 0.6, 0.6, 0.6]))) == 1
    assert find_aha(rows_of([0.25, 0.6, 0.6, 0.6, 0.3])) == []


def test_all_rows_must_be_on_the_same_side_of_the_band():
    assert find_aha(rows_of([0.4, 0.8, 0.8, 0.1, 0.1])) == []
    (moment,) = find_aha(rows_of([0.4, 0.8, 0.8, 0.1, 0.1, 0.1]))
    assert moment.step == 3 and not moment.rose and "fell from 40.0% to 10.0%" in moment.sentence


def test_evaluation_rows_and_other_measures_are_ignored():
    rows = rows_of([0.25, 0.6, 0.6, 0.6])
    rows[2:2] = [{"step": 2, "eval/sampled": 0.5}]
    rows.append({"step": 4, "eval/sampled": 0.5})
    for row in rows:
        row["reflection/tries"] = row["step"] * 9.0
    assert [moment.step for moment in find_aha(rows)] == [1]


def test_without_step_0_there_is_no_event():
    assert find_aha([]) == [] == find_aha(rows_of([0.25, 0.6, 0.6, 0.6])[1:])
    assert find_aha(rows_of([0.25, 0.6, 0.6, 0.6], n=0)) == []


def test_events_are_ordered_by_step():
    rows = rows_of([0.25, 0.3, 0.6, 0.6, 0.6])
    for row, share in zip(rows, [0.0, 0.2, 0.2, 0.3, 0.4]):
        row["reflection/waits"] = share
    assert [(moment.step, moment.measure) for moment in find_aha(rows)] == [(1, "waits"), (2, "backtracking")]


@pytest.mark.parametrize("correlated", [False, True], ids=["independent", "correlated"])
def test_a_run_without_change_rarely_has_an_event(correlated):
    """The events are looked for at each of 60 steps, for six measures; at most two of 40 runs (5%) may have an event.

    Completions are independent or correlate by 0.1 within a problem, whose rate is then one standard deviation
    above or below that of the run."""
    rng = random.Random(0)
    false_alarms = 0
    for _ in range(40):
        rows = [{"step": step, "reflection/n": 256} for step in range(60)]
        for measure, rate in zip(SHOWN, [0.25, 0.5, 0.98, 0.02, 0.004, 0.1], strict=True):
            spread = (0.1 * rate * (1 - rate)) ** 0.5 if correlated else 0.0
            for row in rows:
                rates = [min(1.0, max(0.0, rng.choice([rate - spread, rate + spread]))) for _ in range(32)]
                row[f"reflection/{measure}"] = sum(sum(rng.random() < p for _ in range(8)) for p in rates) / 256
        false_alarms += any(find_aha(rows[: step + 1]) for step in range(60))
    assert false_alarms <= 2


MOMENT = AhaMoment(3, "backtracking", 0.2, 0.6, (0.1, 0.3))


def sample(step, kind, *behaviors, correct=True, key="1 17 17 -> 35"):
    return {"step": step, "kind": kind, "key": key, "behaviors": behaviors, "correct": correct}


def test_a_held_out_problem_that_was_failed_at_step_0_is_preferred_as_sample():
    other = "1 16 18 -> 35"
    samples = [
        sample(0, "eval", key=other),
        sample(0, "eval", correct=False),
        sample(2, "train", "backtracking"),
        sample(3, "train", "backtracking"),
        sample(4, "eval", "backtracking", key=other),
        sample(4, "eval", "verification"),
        sample(5, "eval", "backtracking", correct=False),
        sample(6, "eval", "verification", "backtracking"),
        sample(7, "eval", "backtracking"),
    ]
    assert first_sample(iter(samples), MOMENT) is samples[7]
    assert first_sample(samples[:7], MOMENT) is samples[4]
    assert first_sample(samples[:4], MOMENT) is samples[3]
    assert first_sample(samples[:3], MOMENT) is None


def test_the_sample_for_a_rate_that_fell_lacks_the_behaviour():
    fell = AhaMoment(3, "backtracking", 0.6, 0.1, (0.5, 0.7))
    samples = [sample(3, "eval", "backtracking"), sample(3, "eval")]
    assert first_sample(samples, fell) is samples[1]


def test_the_sample_shows_the_measure_of_the_event():
    waits = AhaMoment(3, "waits", 0.2, 0.6, (0.1, 0.3))
    samples = [sample(3, "eval", "backtracking"), sample(3, "eval", "waits")]
    assert first_sample(samples, MOMENT) is samples[0] and first_sample(samples, waits) is samples[1]
