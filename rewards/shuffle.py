"""A control for what rewards teach: the same rewards, but each for another completion."""

import random
from collections.abc import Sequence
from dataclasses import replace

from grpo.types import Score, request_seed


def shuffle_rewards(scores: Sequence[Score], keys: Sequence[str]) -> list[Score]:
    """Give each score the reward and the components of a randomly chosen one, each of them used once.

    The mean and the distribution of the rewards stay the same, but a reward says nothing about its completion any more.
    `correct`, `reason` and `error` stay where they are, so that accuracy is still measured.

    keys  of the problems of a step. They alone decide the permutation; as they depend on the run's seed and on the step
          alone, so does the permutation.
    """
    order = list(range(len(scores)))
    random.Random(request_seed("shuffle", *keys)).shuffle(order)
    return [
        replace(score, reward=scores[other].reward, components=scores[other].components)
        for score, other in zip(scores, order, strict=True)
    ]
