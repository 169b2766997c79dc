"""An effect with its interval over seeds and problems, a paired test, and the verdict on a claim."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from report.sweep_results import t_central, t_quantile


class Verdict(StrEnum):
    HOLDS = "holds"
    REFUTED = "refuted"
    UNDECIDED = "undecided"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Effect:
    """The mean of a table of values [seeds, problems], with what is known about its error.

    low, high      its confidence interval; None for a single value
    p              of the two-sided t test that the mean is 0, 0..1; None for a single value
    freedom        degrees of freedom of the interval and of the test; 0 for a single value
    by_seed        the mean of each seed
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    freedom: int
    seeds: int
    problems: int
    by_seed: tuple[float, ...]


def estimate_effect(values: np.ndarray, confidence: float = 0.95, are_shares: bool = False) -> Effect:
    """Estimate the mean of values [seeds, problems], such as the differences of two arms, and its interval.

    Both the seeds and the problems are a sample: other seeds train other models, and other problems are easier or
    harder. With values x = mean + seed effect + problem effect + rest, the variance of the mean is estimated from the
    mean squares of the two-way table, of S seeds and P problems,

        var = max(MS_seeds + MS_problems - MS_rest, MS_seeds, MS_problems, MS_rest) / (S P),

    (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4). The maximum keeps an effect whose estimated
    variance is negative from narrowing the interval. The interval and the test are Student's t with S - 1 degrees of
    freedom, since a few seeds say little about the variance between seeds, even if they happen to agree: more degrees
    of freedom (Satterthwaite's) would contain the mean in 96% of intervals of 99.4%, and a bootstrap over three seeds
    in fewer still. Pairing by problem follows "Adding Error Bars to Evals" (arXiv 2411.00640). With a single seed the
    interval covers the choice of problems only, with P - 1 degrees of freedom, and with a single problem (a cost, say)
    that of seeds only.

    Without any variation the estimated error is 0, which is no interval. For shares and their differences
    (`are_shares`), the interval is then that of the share of problems whose value is another one, of which P problems
    have shown none: 0 to 1 - (alpha / 2)^(1 / P) (Clopper and Pearson 1934). A seed adds nothing, since it meets the
    same problems.
    """
    seeds, problems = values.shape
    mean, by_seed = float(values.mean()), tuple(values.mean(axis=1).tolist())
    if seeds * problems == 1:
        return Effect(mean, None, None, None, 0, seeds, problems, by_seed)
    freedom = (seeds if seeds > 1 else problems) - 1
    error = math.sqrt(_variance_of_mean(values))
    half = t_quantile((1 + confidence) / 2, freedom) * error
    if are_shares and not error:
        half = 1 - ((1 - confidence) / 2) ** (1 / problems)
    p = 1 - t_central(abs(mean) / error, freedom) if error else float(mean == 0)
    return Effect(mean, mean - half, mean + half, min(1.0, max(0.0, p)), freedom, seeds, problems, by_seed)


def _variance_of_mean(values: np.ndarray) -> float:
    """The estimated variance of the mean."""
    seeds, problems = values.shape
    if seeds == 1 or problems == 1:
        return float(values.var(ddof=1)) / values.size
    mean, by_seed, by_problem = values.mean(), values.mean(axis=1), values.mean(axis=0)
    rest = values - by_seed[:, None] - by_problem[None, :] + mean
    of_seeds = problems * float(((by_seed - mean) ** 2).sum()) / (seeds - 1)
    of_problems = seeds * float(((by_problem - mean) ** 2).sum()) / (problems - 1)
    of_rest = float((rest**2).sum()) / ((seeds - 1) * (problems - 1))
    return max(of_seeds + of_problems - of_rest, of_seeds, of_problems, of_rest) / values.size


def decide(
    effect: Effect, wide: Effect, at_least: float, is_lower_bound: bool = False, is_upper_bound: bool = False
) -> Verdict:
    """The verdict on "the effect is at least this": it holds if the whole interval is at least that, and is refuted if
    the whole interval of `wide` is below. Counts or costs without any variation say nothing about other seeds and
    problems: their interval is not one.

    wide                            the same effect, with the confidence that it takes to refute the claim
    is_lower_bound, is_upper_bound  the true effect is at least, or at most, the measured one, as when the cost of a
                                    route is only known to exceed what was spent
    """
    if effect.low is None or wide.high is None or effect.low == effect.high:
        return Verdict.UNDECIDED
    if effect.low >= at_least and not is_upper_bound:
        return Verdict.HOLDS
    return Verdict.REFUTED if wide.high < at_least and not is_lower_bound else Verdict.UNDECIDED


def combine(verdicts: Sequence[Verdict], how: str) -> Verdict:
    """The verdict on a claim of several comparisons.

    how  "all": all of them must hold, and one that is refuted refutes it; "any": one that holds is enough, and all must
         be refuted to refute it

    Not run if one of the comparisons has not been run.
    """
    if Verdict.NOT_RUN in verdicts:
        return Verdict.NOT_RUN
    decisive, other = (Verdict.REFUTED, Verdict.HOLDS) if how == "all" else (Verdict.HOLDS, Verdict.REFUTED)
    if decisive in verdicts:
        return decisive
    return other if set(verdicts) == {other} else Verdict.UNDECIDED
