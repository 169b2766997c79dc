from dataclasses import replace

import pytest

from conf.compose import compose_verifier
from conf.verifiers import VerifierConfig
from conf.workers import ModelConfig, RolloutConfig
from grpo.types import Group, Request, Rollout, SamplingParams, Score, in_request_order, request_seed
from inference.calibration import auc, auc_within
from rewards.tags import read_tags
from tests.builders import PROBLEM, completion, group_of
from workers.interrupt import Interrupt, Interrupted
from workers.outcome_verifier import OutcomeVerifier
from workers.transformers_sampler import TransformersSampler
from workers.verifier_training import GradedCompletion, graded_completions, mean_loss, split_by_problem, train

TINY = ModelConfig("tiny", "envs/countdown/models/tiny", prompt_style="tiny")


def ignore(epoch):
    pass


def named(count):
    return [replace(group_of([1.0, 0.0]), problem=replace(PROBLEM, key=f"p{index}")) for index in range(count)]


@pytest.mark.parametrize(("count", "share", "size"), [(10, 0.2, 2), (10, 0.01, 1), (3, 0.99, 2), (2, 0.5, 1)])
def test_the_split_is_by_problem_and_complete(count, share, size):
    training, held_back = split_by_problem(named(count), share)
    assert len(held_back) == size
    assert [group.problem.key for group in [*training, *held_back]] == [f"p{index}" for index in range(count)]


def test_a_completion_whose_grader_failed_is_omitted():
    scores = [Score(1.0, True, {}, ""), Score(0.0, False, {}, "", error="died"), Score(0.0, False, {}, "")]
    group = Group(PROBLEM, tuple(Rollout(completion([4, 5 + index]), one) for index, one in enumerate(scores)))
    assert graded_completions([group]) == [
        GradedCompletion((1, 2, 3), (4, 5), True),
        GradedCompletion((1, 2, 3), (4, 7), False),
    ]


def easy(count):
    """Completions that are correct if their first token is 5."""
    return [GradedCompletion((1, 2, i % 7), (5 + i % 2, 8 + i % 3, 9), i % 2 == 0) for i in range(count)]


def test_a_head_on_a_frozen_backbone_learns_an_easy_rule():
    verifier = OutcomeVerifier(TINY, "cpu", trains_backbone=False)
    before = {name: value.clone() for name, value in verifier.backbone.state_dict().items()}
    cfg = VerifierConfig(num_epochs=30, patience=30, batch_tokens=64, head_lr=3e-3)
    epochs = train(verifier, easy(60), easy(20), cfg, 0, ignore, Interrupt())
    # A constant prediction has a loss of 0.69; the first token determines the outcome.
    assert epochs[0].validation_loss > epochs[-1].validation_loss and epochs[-1].validation_loss < 0.2
    assert all(bool((value == before[name]).all()) for name, value in verifier.backbone.state_dict().items())


@pytest.mark.parametrize("trains_backbone", [False, True])
def test_the_best_epoch_is_restored_and_patience_ends_training(trains_backbone):
    # Validation labels are the opposite of training labels, so that the validation loss rises with each epoch.
    flipped = [replace(one, right=not one.right) for one in easy(20)]
    verifier = OutcomeVerifier(TINY, "cpu", trains_backbone)
    cfg = VerifierConfig(num_epochs=20, patience=2, batch_tokens=64, head_lr=3e-3, lr=1e-4)
    epochs = train(verifier, easy(60), flipped, cfg, 0, ignore, Interrupt())
    losses = [epoch.validation_loss for epoch in epochs]
    assert len(losses) == losses.index(min(losses)) + 3 < 20
    assert mean_loss(verifier, flipped, cfg.batch_tokens) == pytest.approx(min(losses), abs=1e-6)


def test_training_is_reproducible_bit_for_bit():
    def train_once():
        verifier = OutcomeVerifier(TINY, "cpu", True, seed=1)
        return train(verifier, easy(30), easy(10), VerifierConfig(num_epochs=2, batch_tokens=64), 1, ignore, stop)

    stop = Interrupt()
    assert train_once() == train_once()


def test_training_stops_on_interrupt():
    stop = Interrupt()
    stop.requested = True
    with pytest.raises(Interrupted):
        train(OutcomeVerifier(TINY, "cpu", False), easy(9), easy(9), VerifierConfig(), 0, ignore, stop)


@pytest.mark.slow
def test_a_trained_verifier_separates_correct_from_wrong_completions_of_new_problems():
    cfg = compose_verifier(["verifier.num_epochs=6", "verifier.patience=6", "verifier.batch_tokens=1024"], {})
    problems = {p.key: p for p in (cfg.env.problem(5, "train", index) for index in range(320))}
    requests = [Request(p.prompt, request_seed("test", p.key, index)) for p in problems.values() for index in range(8)]
    sampler = TransformersSampler(TINY, RolloutConfig())
    written = iter(in_request_order(sampler.generate(requests, SamplingParams(1.0, 192))))

    def graded(problem):
        one = next(written)
        right = cfg.env.check(problem, read_tags(one.text).answer).correct
        return Rollout(one, Score(float(right), right, {}, ""))

    groups = [Group(problem, tuple(graded(problem) for _ in range(8))) for problem in problems.values()]
    training, held_back = split_by_problem(groups, 0.25)
    verifier = OutcomeVerifier(TINY, "cpu", trains_backbone=True)
    train(verifier, graded_completions(training), graded_completions(held_back), cfg.verifier, 0, ignore, Interrupt())
    rows = [graded_completions([group]) for group in held_back]
    flat = [one for row in rows for one in row]
    scores = verifier.score_ids([one.prompt_ids for one in flat], [one.token_ids for one in flat])
    assert auc(scores, [one.right for one in flat]) > 0.8
    assert auc_within([scores[8 * n : 8 * n + 8] for n in range(len(rows))], [[o.right for o in r] for r in rows]) > 0.8
