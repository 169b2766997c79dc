"""The choice of trials."""

from conf.compose import compose_config
from tools.soak import faults
from tools.soak.plan import DAMAGES, make_trial, possible_kinds
from tools.soak.runs import MOMENTS, PROCESSES, SETTINGS, STEPS

KINDS = possible_kinds()
LAP = len(KINDS)


def test_the_settings_of_the_runs_compose():
    assert compose_config(SETTINGS).num_steps == STEPS


def test_trials_are_a_function_of_the_seed_and_their_number():
    first = [make_trial(3, number, KINDS) for number in range(2 * LAP)]
    assert first == [make_trial(3, number, KINDS) for number in range(2 * LAP)]
    assert first != [make_trial(4, number, KINDS) for number in range(2 * LAP)]


def test_every_kind_of_fault_comes_once_in_a_lap_and_laps_differ():
    laps = [[make_trial(0, LAP * lap + each, KINDS) for each in range(LAP)] for lap in range(2)]
    for lap in laps:
        assert {(trial.fault, trial.target) for trial in lap} == set(KINDS)
    assert [trial.name for trial in laps[0]] != [trial.name for trial in laps[1]]


def test_every_process_is_killed_and_every_moment_is_hit():
    trials = [make_trial(0, number, KINDS) for number in range(50 * LAP)]
    assert {trial.target for trial in trials if trial.fault is faults.killed} == set(PROCESSES)
    assert {trial.moment for trial in trials} == set(MOMENTS)
    assert {trial.step for trial in trials} == set(range(STEPS))
    assert all(0 <= trial.fraction < 1 for trial in trials)


def test_a_checkpoint_is_damaged_only_after_one_was_written():
    trials = [make_trial(0, number, KINDS) for number in range(50 * LAP)]
    assert all(trial.step >= 2 and trial.moment != "start" for trial in trials if trial.fault in DAMAGES)
