import json

import pytest

from pipelines.seeds import read_summaries, table


def write_summary(folder, seed, accuracies, **changes):
    """A pipeline whose stages have these accuracies; a stage with None was not evaluated."""
    folder.mkdir()
    stages = {
        name: {
            "arm": name.upper(),
            "accuracy": value
            and {"pass_at_1": {"mean": value}, "majority": {"mean": value + 0.1}, "length": 30 + seed, "mixed": 0.2},
            "tokens": 1000 * (seed + 1),
            "minutes": 2.0,
        }
        for name, value in accuracies.items()
    }
    summary = {"pipeline": "journey", "model": "tiny", "teacher": None, "env": "countdown", "seed": seed}
    (folder / "summary.json").write_text(json.dumps(summary | {"stages": stages} | changes))
    return folder


def test_the_table_has_means_over_seeds_and_differences_paired_by_seed(tmp_path):
    accuracies = [{"base": 0.10, "traces": None, "sft": 0.50}, {"base": 0.20, "traces": None, "sft": 0.62}]
    folders = [write_summary(tmp_path / str(seed), seed, found) for seed, found in enumerate(accuracies)]
    rows = [row.split(" | ") for row in table(read_summaries(folders))[2:]]
    assert [row[0] for row in rows] == ["| base", "| sft"]
    # t(0.975, 1) = 12.706: the half-widths are 12.706 * 0.06 for sft, and 12.706 * 0.01 for the differences 0.40, 0.42.
    assert rows[1][1:5] == ["SFT", "56.0% ± 76.2", "+41.0 ± 12.7", "66.0% ± 76.2"]
    assert rows[0][3] == "" and rows[1][5:] == ["30.5", "20.0%", "1,500", "2.0 |"]


def test_another_stage_can_be_the_baseline(tmp_path):
    folder = write_summary(tmp_path / "0", 0, {"base": 0.1, "sft": 0.5})
    assert "| -40.0 ± - |" in table(read_summaries([folder]), "sft")[2]
    with pytest.raises(ValueError, match="baseline=rl must be one of base, sft"):
        table(read_summaries([folder]), "rl")


def test_runs_that_differ_in_more_than_their_seed_are_refused(tmp_path):
    one = write_summary(tmp_path / "0", 0, {"base": 0.1})
    with pytest.raises(ValueError, match="different values of model: tiny, tiny-direct"):
        read_summaries([one, write_summary(tmp_path / "1", 1, {"base": 0.1}, model="tiny-direct")])
    long, longer = (
        write_summary(
            tmp_path / f"long{seed}", seed, {"base": 0.1}, overrides={"rl": [f"num_steps={steps}", "x=outputs/a"]}
        )
        for seed, steps in ((0, 12), (1, 36))
    )
    with pytest.raises(ValueError, match="different overrides of rl: num_steps=12; num_steps=36"):
        read_summaries([long, longer])
    with pytest.raises(ValueError, match="different values of teacher: None, tiny"):
        read_summaries([one, write_summary(tmp_path / "3", 3, {"base": 0.1}, teacher="tiny")])
    with pytest.raises(ValueError, match="must have different seeds, got 0, 0"):
        read_summaries([one, write_summary(tmp_path / "2", 0, {"base": 0.1})])
    with pytest.raises(ValueError, match="has no summary.json"):
        read_summaries([tmp_path / "none"])


def test_folders_without_a_comparable_result_are_refused_in_one_line(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "summary.json").write_text('{"accuracy": 0.5}')
    with pytest.raises(ValueError, match="run is not the folder of a pipeline"):
        read_summaries([run])
    begun = write_summary(tmp_path / "0", 0, {"base": None})
    other = write_summary(tmp_path / "1", 1, {"sft": 0.5})
    for folders in ([begun], [begun, other]):
        with pytest.raises(ValueError, match="no stage has been evaluated in all of these pipelines"):
            table(read_summaries(folders))


def test_a_single_sample_has_no_majority(tmp_path):
    folder = write_summary(tmp_path / "0", 0, {"base": 0.1})
    summary = json.loads((folder / "summary.json").read_text())
    summary["stages"]["base"]["accuracy"]["majority"] = None
    (folder / "summary.json").write_text(json.dumps(summary))
    assert table(read_summaries([folder]))[2].split(" | ")[4] == "-"
