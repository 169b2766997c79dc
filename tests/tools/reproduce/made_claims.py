"""Claims about the made-up stages of tests/made_pipeline.py."""

from conf.reproduce import ClaimConfig, ComparisonConfig, CurveConfig, TermConfig
from pipelines.ledger import Ledger
from run.cost import Price
from tests.made_pipeline import finish, small_pipeline
from tools.reproduce.experiment import Experiment
from tools.reproduce.outputs import SeedRun

ACCURACY = {"evaluate_base": 0.25, "evaluate_zero": 0.75, "evaluate_tuned": 0.75}
WORDS = dict.fromkeys(("title", "sentence", "source", "url", "done", "limits", "needed"), "words")


def comparison(label="RL against the base", at_least=0.1, **more):
    effect = [TermConfig("evaluate_zero"), TermConfig("evaluate_base", -1.0)]
    return ComparisonConfig(label, **({"measure": "accuracy", "effect": effect, "at_least": at_least} | more))


def claim(*comparisons, **more):
    curves = [CurveConfig("pass@k", "pass_at", "k", [1, 2, 4], ["evaluate_zero", "evaluate_base"])]
    return ClaimConfig(1, **WORDS, comparisons=list(comparisons), curves=curves, **more)


def experiment(seeds=2, until="evaluate_tuned"):
    """Seeds whose stages up to `until` have finished, in half an hour each."""
    runs = []
    for seed in range(seeds):
        ledger = Ledger(small_pipeline(seed=seed, run=f"small/seed{seed}"))
        for name in ledger.pipeline.stages:
            record = ledger.check(name)
            finish(record.command[0], record.command[1:], ACCURACY.get(name, 0.0))
            record.seconds = 1800.0
            if name == until:
                break
        runs.append(SeedRun(ledger))
    return Experiment(runs, Price(0.2, 50.0, "given"))
