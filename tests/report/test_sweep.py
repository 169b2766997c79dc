import json

import pytest

from report.sweep import main, signal_name, write_report
from report.sweep_picture import apart
from report.sweep_results import Job, curve, mean_curve, read_variants, seed_mean, t_quantile, write_plan


@pytest.mark.parametrize(
    ("freedom", "known"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (10, 2.2281), (30, 2.0423), (1000, 1.9623)],
)
def test_t_quantiles_are_those_of_the_tables(freedom, known):
    assert t_quantile(0.975, freedom) == pytest.approx(known, abs=5e-5)


def test_other_quantiles_of_t():
    assert t_quantile(0.5, 3) == pytest.approx(0, abs=1e-9)
    assert t_quantile(0.95, 2) == pytest.approx(2.9200, abs=5e-5)
    assert t_quantile(0.995, 5) == pytest.approx(4.0321, abs=5e-5)


def test_mean_and_interval_of_three():
    # s = sqrt((0.01 + 0 + 0.01) / 2) = 0.1, so half = 4.3027 * 0.1 / sqrt(3) = 0.24842
    found = seed_mean([0.5, 0.6, 0.7])
    assert found.mean == pytest.approx(0.6) and found.half == pytest.approx(0.24842, abs=1e-5) and found.n == 3


def test_a_single_value_has_no_interval():
    assert seed_mean([0.5]).half is None


def add(folder, overrides, final, status="finished", baseline=None, **changed):
    """Add a job to a made-up sweep and return it."""
    variant = "-".join(value for key, value in overrides.items() if key != "seed")
    baseline = {"algorithm": "grpo"} if baseline is None else baseline
    job = Job("made", f"{variant}-seed{overrides['seed']}", variant, overrides, baseline, status)
    job.exit_code = changed.get("exit_code", 0)
    job.write(folder)
    path = folder / job.name
    if status == "finished":
        accuracy = {"step0": {"sampled": 0.2}, "final": {"sampled": final}}
        (path / "summary.json").write_text(
            json.dumps({"accuracy": accuracy, "steps": 1, "tokens": 1500, "seconds": 90, "usd": 0.5})
        )
        rows = [{"step": 0, "eval/sampled": 0.2, "rollout/tokens": 1500}, {"step": 1, "eval/sampled": final}]
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return job


def made(folder, finals):
    """Make up a sweep over algorithms. finals: algorithm -> final accuracy of seeds 0, 1, ..."""
    jobs = [
        add(folder, {"algorithm": name, "seed": str(seed)}, final)
        for name, values in finals.items()
        for seed, final in enumerate(values)
    ]
    write_plan(folder, jobs)


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_difference_is_paired_by_seed(tmp_path):
    # By seed: +0.1, +0.1, +0.4; mean 0.2, s = sqrt((0.01 + 0.01 + 0.04) / 2) = 0.17321, half = 4.3027 * 0.1
    made(tmp_path, {"grpo": [0.5, 0.6, 0.1], "dapo": [0.6, 0.7, 0.5]})
    dapo, grpo = read_variants(tmp_path)
    assert dapo.difference.mean == pytest.approx(0.2) and dapo.difference.half == pytest.approx(0.43027, abs=1e-5)
    assert grpo.is_baseline and grpo.difference is None


def test_seeds_without_a_baseline_job_do_not_count_in_the_difference(tmp_path):
    made(tmp_path, {"grpo": [0.5, 0.6], "dapo": [0.6, 0.7, 0.9]})
    dapo, _ = read_variants(tmp_path)
    assert dapo.difference.mean == pytest.approx(0.1) and dapo.difference.n == 2
    assert "+10.0 ± 0.0 (2 pairs)" in write_report(tmp_path)


def test_paired_jobs_differ_in_the_baseline_key_only(tmp_path):
    finals = {("grpo", "4"): 0.3, ("dapo", "4"): 0.4, ("grpo", "8"): 0.5, ("dapo", "8"): 0.8}
    for (name, size), final in finals.items():
        add(tmp_path, {"algorithm": name, "group_size": size, "seed": "0"}, final)
    variants = {variant.name: variant for variant in read_variants(tmp_path)}
    assert variants["dapo-4"].difference.mean == pytest.approx(0.1)
    assert variants["dapo-8"].difference.mean == pytest.approx(0.3)
    assert variants["grpo-4"].is_baseline and variants["grpo-8"].is_baseline


def test_the_report_is_a_table_with_the_best_variant_first(tmp_path):
    made(tmp_path, {"grpo": [0.5, 0.6, 0.7], "dapo": [0.6, 0.7, 0.8]})
    write_report(tmp_path)
    lines = (tmp_path / "sweep.md").read_text().splitlines()
    table = [cells(line) for line in lines if line.startswith("|")]
    assert table[0][:5] == ["variant", "seeds", "step 0", "final", "vs. baseline (points)"]
    assert table[2] == ["dapo", "3", "20.0% ± 0.0", "70.0% ± 24.8", "+10.0 ± 0.0", "1,500", "90", "0.50"]
    assert table[3] == ["grpo", "3", "20.0% ± 0.0", "60.0% ± 24.8", "baseline", "1,500", "90", "0.50"]
    assert "Not in the table" not in "".join(lines) and (tmp_path / "sweep.png").stat().st_size > 10_000


def test_the_report_notes_that_a_single_seed_has_no_interval(tmp_path):
    made(tmp_path, {"grpo": [0.5], "dapo": [0.6]})
    assert "| 60.0% ± - |" in write_report(tmp_path)
    assert "a single seed has no interval (± -)" in (tmp_path / "sweep.md").read_text()


def test_unfinished_jobs_are_listed_with_the_reason(tmp_path):
    made(tmp_path, {"grpo": [0.5, 0.6]})
    jobs = [
        add(tmp_path, {"algorithm": "dapo", "seed": "0"}, 0, "failed", exit_code=1),
        add(tmp_path, {"algorithm": "dapo", "seed": "1"}, 0, "failed", exit_code=-11),
        add(tmp_path, {"algorithm": "rloo", "seed": "0"}, 0, "stopped"),
    ]
    (tmp_path / jobs[0].name / "job.log").write_text("Traceback\nValueError: too warm\n\n")
    write_plan(tmp_path, [Job("made", "rloo-seed1", "rloo", {"algorithm": "rloo", "seed": "1"}, {"algorithm": "grpo"})])
    report = write_report(tmp_path)
    assert f"- dapo-seed0: failed: ValueError: too warm ({tmp_path}/dapo-seed0/job.log)" in report
    assert "- dapo-seed1: failed: killed by SIGSEGV" in report
    assert "- rloo-seed0: stopped" in report and "- rloo-seed1: not started" in report
    assert "| grpo" in report and "| dapo" not in report


def test_the_note_on_the_baseline_names_what_it_fixes(tmp_path):
    made(tmp_path, {"grpo": [0.5], "dapo": [0.6]})
    write_report(tmp_path)
    assert "\nvs. baseline (algorithm=grpo): final accuracy minus" in (tmp_path / "sweep.md").read_text()


def test_a_sweep_over_seeds_alone_has_no_note_on_its_baseline(tmp_path):
    for seed in "01":
        add(tmp_path, {"algorithm": "grpo", "seed": seed}, 0.5, baseline={})
    write_report(tmp_path)
    assert "vs. baseline (" not in (tmp_path / "sweep.md").read_text().replace("vs. baseline (points)", "")


def test_the_report_notes_an_unfinished_baseline(tmp_path):
    made(tmp_path, {"dapo": [0.5]})
    write_report(tmp_path)
    assert "No job of the baseline algorithm=grpo has finished." in (tmp_path / "sweep.md").read_text()


def test_a_sweep_without_results_has_no_picture(tmp_path):
    add(tmp_path, {"algorithm": "grpo", "seed": "0"}, 0, "failed", exit_code=1)
    assert "- grpo-seed0: failed: exit code 1" in write_report(tmp_path)
    assert (tmp_path / "sweep.md").is_file() and not (tmp_path / "sweep.png").exists()


def test_the_report_command_rejects_other_folders(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["report.sweep", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert (
        capsys.readouterr().err == f"error: {tmp_path}: not the folder of a sweep; give a folder outputs/sweeps/NAME\n"
    )
    made(tmp_path, {"grpo": [0.5]})
    main()
    assert str(tmp_path / "sweep.md") in capsys.readouterr().out


def test_an_evaluation_precedes_the_tokens_of_its_row():
    rows = [{"eval/sampled": 0.1, "rollout/tokens": 10}, {"rollout/tokens": 20}, {"eval/sampled": 0.4}]
    assert list(curve(rows)) == [(0, 0.1), (30, 0.4)]


def test_the_mean_curve_ends_with_the_shortest_seed():
    # At 10 the second seed is half-way between 0 and 20: (0.2 + 0.6) / 2 = 0.4.
    tokens, accuracy = mean_curve([[(0, 0.0), (10, 0.2)], [(0, 0.2), (20, 0.6)]])
    assert tokens.tolist() == [0, 10] and accuracy.tolist() == pytest.approx([0.1, 0.3])


def test_labels_are_spread_apart_in_their_order():
    assert apart([0.5, 0.1, 0.52], 0.1, top=1) == pytest.approx([0.46, 0.1, 0.56])
    assert apart([0.0, 0.0, 0.15], 0.1, top=1) == pytest.approx([-0.05, 0.05, 0.15])
    assert apart([0.95, 0.95, 0.7], 0.1, top=0.95) == pytest.approx([0.85, 0.95, 0.7])


def test_signals_are_named():
    assert signal_name(-9) == "killed by SIGKILL" and signal_name(-99) == "killed by signal 99"
