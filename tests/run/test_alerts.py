"""Each alert is raised by a synthetic run with its problem; a healthy run raises none."""

import pytest

from run.alerts import RULES, Alerts

HEALTHY = {
    "reward/mean": 0.3,
    "reward/equal_groups": 0.1,
    "reward/errors": 0.0,
    "reward/answered": 0.9,
    "policy/entropy": 0.2,
    "policy/grad_norm": 0.1,
    "policy/skipped": 0.0,
    "length/mean": 30.0,
    "length/truncated": 0.02,
    "mismatch/ratio_p01": 0.98,
    "mismatch/ratio_p99": 1.02,
}


def run(steps: int = 12, **changed) -> list[dict]:
    """A healthy run in which the given metrics (with _ for /) take the given values from step 6 on."""
    named = {name.replace("_", "/", 1): value for name, value in changed.items()}
    return [{"step": step, **HEALTHY, **(named if step >= 6 else {})} for step in range(steps)]


def alerts(rows: list[dict]) -> dict[str, int]:
    """The step at which each alert was first raised."""
    found: dict[str, int] = {}
    watch = Alerts()
    for row in rows:
        for alert in watch.add(row):
            found.setdefault(alert.name, row["step"])
    return found


def test_a_healthy_run_raises_no_alert():
    """Modelled on the tiny model on countdown: reward and length rise, some completions are truncated."""
    rows = [
        {
            **HEALTHY,
            "step": step,
            "reward/mean": 0.27 + 0.007 * step,
            "length/mean": 30.0 + step,
            "length/truncated": 0.15 * step / 60,
            "policy/grad_norm": 0.1 + 0.1 * (step % 3),
            **({"eval/sampled": 0.16 + 0.009 * step} if step % 10 == 0 else {}),
        }
        for step in range(61)
    ]
    assert alerts(rows) == {}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("entropy_collapse", {"policy_entropy": 0.01}),
        ("length_explosion", {"length_mean": 90.0, "length_truncated": 0.6}),
        ("length_collapse", {"length_mean": 5.0}),
        ("truncated", {"length_truncated": 0.7}),
        ("mismatch", {"mismatch_ratio_p99": 3.0}),
        ("mismatch", {"mismatch_ratio_p01": 0.2}),
        ("equal_groups", {"reward_equal_groups": 1.0}),
        ("no_format", {"reward_answered": 0.0}),
        ("grad_norm_spike", {"policy_grad_norm": 5.0}),
        ("skipped_updates", {"policy_skipped": 1.0}),
        ("grader_errors", {"reward_errors": 3.0}),
    ],
)
def test_each_problem_raises_its_alert_within_five_steps(name, changed):
    found = alerts(run(**changed))
    assert 6 <= found[name] <= 10, found


def test_reward_that_rises_without_accuracy_raises_an_alert_at_an_evaluation():
    rows = [{**HEALTHY, "step": step, "reward/mean": 0.2 + 0.02 * step} for step in range(31)]
    for step in (0, 10, 20, 30):
        rows[step]["eval/sampled"] = 0.15
    assert alerts(rows) == {"reward_without_accuracy": 20}
    for step in (0, 10, 20, 30):
        rows[step]["eval/sampled"] = 0.15 + 0.01 * step
    assert alerts(rows) == {}


def test_every_rule_has_a_test():
    parameters = test_each_problem_raises_its_alert_within_five_steps.pytestmark[0].args[1]
    tested = {name for name, _ in parameters}
    assert tested | {"reward_without_accuracy"} == {rule.__name__ for rule in RULES}


def test_an_alert_is_raised_once_and_again_when_its_condition_returns():
    rows = run(steps=30, reward_errors=1.0)
    for row in rows[12:20]:
        row["reward/errors"] = 0.0
    watch = Alerts()
    raised = [row["step"] for row in rows if watch.add(row)]
    assert raised == [6, 20]


def test_an_alert_states_the_observation_and_what_to_try():
    watch = Alerts()
    (alert,) = [alert for row in run(steps=7, reward_errors=3.0) for alert in watch.add(row)]
    assert "3 completions" in alert.message and "rewards score" in alert.advice


def test_steps_without_a_gradient_raise_no_spike():
    rows = [{**HEALTHY, "step": step, "policy/grad_norm": 0.1 * (step == 11)} for step in range(12)]
    assert alerts(rows) == {}


def test_a_skipped_update_is_no_spike_and_no_usual_value():
    norms = [0.1] * 8 + [float("nan")] + [0.1] * 3
    rows = [{**HEALTHY, "step": step, "policy/grad_norm": norm} for step, norm in enumerate(norms)]
    assert alerts(rows) == {}


def test_fine_tuning_may_become_certain_and_has_its_own_keys():
    sft = {"data/loss": 1.0, "policy/grad_norm": 0.1, "policy/skipped": 0.0}
    rows = [{**sft, "step": step, "policy/entropy": 2.0 if step < 6 else 0.1} for step in range(12)]
    assert alerts(rows) == {}
    watch = Alerts()
    (alert,) = [alert for row in [*rows, rows[-1] | {"policy/skipped": 1.0}] for alert in watch.add(row)]
    assert alert.advice == "try a lower optimizer.lr, or model.dtype=float32"


def test_what_is_kept_of_a_run_does_not_grow_with_it():
    watch = Alerts()
    for row in run(steps=500):
        watch.add(row | {"eval/sampled": 0.5})
    history = watch.history
    assert len(history.evaluations) == 3 and len(history.newest("policy/grad_norm")) == 21
    assert history.newest("weights/version") == []
