"""The claims of conf/claims/ and the pipeline that runs them."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from conf.compose import compose_claims, compose_pipeline
from conf.reproduce import ClaimConfig, ComparisonConfig, CurveConfig, TermConfig
from pipelines.commands import Pipeline
from tools.reproduce.__main__ import check_claims, check_overrides, main, pipeline_of, read_seeds, stages_of
from tools.reproduce.measures import MEASURES, Unit

NAMES = sorted(path.stem for path in Path("conf/claims").glob("*.yaml"))


@pytest.fixture(scope="module")
def claims():
    return compose_claims()


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline(compose_pipeline(["pipeline=reproduce"]))


def test_there_are_twelve_claims_in_order(claims):
    assert [claim.number for claim in claims.values()] == list(range(1, 13))


@pytest.mark.parametrize("name", NAMES)
def test_the_stages_and_measures_of_a_claim_exist(name, claims, pipeline):
    claim = claims[name]
    assert set(claim.stages) <= set(pipeline.stages)
    check_claims({name: claim})
    for comparison in claim.comparisons:
        factor = MEASURES[comparison.measure].unit is Unit.RATIO
        assert comparison.at_least is None or not factor or comparison.at_least > 0


def test_every_stage_is_needed_by_a_claim(claims, pipeline):
    needed = set(pipeline_of("reproduce", 0, stages_of(claims), []).stages)
    assert set(pipeline.cfg.stages) <= needed


def test_a_claim_runs_only_what_it_needs():
    stages = pipeline_of("reproduce", 4, stages_of(compose_claims(["narrowing"])), []).stages
    evaluated = ["base_256", "rl_256", "multiplication_256", "multiplication_rl_256"]
    assert list(stages) == ["tiny_rl", "multiplication_rl", *evaluated]


def test_an_unknown_claim_is_refused_by_name():
    with pytest.raises(ValueError, match="CLAIM=ahah: choose from aha, cheap, "):
        compose_claims(["ahah"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ComparisonConfig("x", "accuracy"), "comparison 'x': effect must have at least one term"),
        (lambda: ComparisonConfig("x", "accuracy", [TermConfig("a")], levels=[1]), "needs difficulty, an evaluation"),
        (
            lambda: ComparisonConfig("x", "accuracy", [TermConfig("a")], difficulty="a", levels=[6]),
            r"levels must be some of 1 to 5, got \[6\]",
        ),
        (lambda: CurveConfig("c", "accuracy", "k", [], ["a"]), "curve 'c' needs values and stages"),
        (lambda: CurveConfig("c", "accuracy", "level", [1], ["a"]), "over=level needs difficulty"),
        (lambda: ClaimConfig(1, "t"), "claim 't' needs a comparison with at_least"),
        (lambda: ClaimConfig(1, "t", combine="most"), "combine must be one of all, any, got most"),
    ],
)
def test_a_wrong_claim_is_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_a_measure_that_does_not_exist_or_has_wrong_options_is_refused_by_file():
    def made(measure, **options):
        comparison = ComparisonConfig("x", measure, [TermConfig("a")], 0.1, options)
        return {"made": ClaimConfig(1, "t", comparisons=[comparison])}

    with pytest.raises(ValueError, match=r"conf/claims/made.yaml: measure must be one of accuracy, .*, got acuracy"):
        check_claims(made("acuracy"))
    with pytest.raises(ValueError, match=r"made.yaml: measure=majority: missing a required argument: .k."):
        check_claims(made("majority"))
    with pytest.raises(ValueError, match=r"made.yaml: measure=pass_at: got an unexpected keyword argument .n."):
        check_claims(made("pass_at", k=2, n=3))
    other = ComparisonConfig("x", "accuracy", [TermConfig("tiny_rl")], pipeline="cold_start_smollm2")
    with pytest.raises(ValueError, match=r"conf/claims/made.yaml: stage must be one of .*cold_start_rl.*, got tiny_rl"):
        check_claims({"made": replace(made("accuracy")["made"], comparisons=[replace(other, at_least=0.1)])})
    check_claims(made("majority", k=4))


@pytest.mark.parametrize(
    ("text", "seeds"), [("1", [0]), ("3", [0, 1, 2]), ("3,4", [3, 4]), ("7,", [7]), ("0,", [0]), ("2,2", [2])]
)
def test_seeds_are_a_number_or_a_list(text, seeds):
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "0", "-1", "a", "1.5", "1,b"])
def test_other_seeds_are_refused(text):
    with pytest.raises(ValueError, match=f"SEEDS={text}: give their number"):
        read_seeds(text)


@pytest.mark.parametrize("override", ["seed=5", "run=x", "only=[tiny_rl]", "+seed=5"])
def test_overrides_of_the_pipeline_itself_are_refused(override):
    with pytest.raises(ValueError, match=r"the seeds, the folder and the claims are set by SEEDS, RUN and CLAIM"):
        check_overrides(["tiny_rl.num_steps=3", override])


def test_a_dry_run_lists_stages_minutes_and_dollars_and_starts_nothing(
    tmp_path, monkeypatch, request, capsys, pipeline
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "envs").symlink_to(request.config.rootpath / "envs")
    arguments = ["--dry", "--seeds", "2", "--claims", "narrowing", "--", "all.cost.watts=60"]
    monkeypatch.setattr(sys, "argv", ["reproduce", *arguments])
    monkeypatch.setenv("COLUMNS", "160")
    main()
    printed = capsys.readouterr().out
    minutes = pipeline.cfg.minutes
    needed = ("tiny_rl", "multiplication_rl", "base_256", "rl_256", "multiplication_256", "multiplication_rl_256")
    total = 2 * sum(minutes[name] for name in needed)
    rows = {line.split()[0]: line.split() for line in printed.splitlines() if line.strip()}
    assert rows["rl_256"][1:5] == ["evaluate", "11", "0", "of"]
    assert rows["total"][1:] == [f"{total:.1f}", f"{total / 60 * 0.1:.2f}", f"{total / 60 * 0.06:.3f}"]
    assert "2 seeds" in printed and "60 W" in printed and "claim 11 alone" in printed
    assert not Path("outputs").exists()


def test_all_claims_fit_into_the_time_that_the_documentation_states(claims, pipeline):
    """An hour for each seed on two quiet cores, by the minutes that the pipeline's file states."""
    stages = pipeline_of("reproduce", 0, stages_of(claims), []).stages
    total = sum(pipeline.minutes(name) or 0.0 for name in stages)
    assert total <= 60, total


def interrupted(*_):
    raise KeyboardInterrupt


def test_ctrl_c_while_the_settings_compose_ends_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr("tools.reproduce.__main__.compose_claims", interrupted)
    monkeypatch.setattr(sys, "argv", ["reproduce"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130 and capsys.readouterr().err.startswith("stopped at once; ")
