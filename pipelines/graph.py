"""The order of a pipeline's stages."""

import re
from collections.abc import Mapping, Sequence

from conf.pipelines import GIVEN_MODELS, TRAINED, StageConfig

Stages = Mapping[str, StageConfig]


def ordered(stages: Stages) -> dict[str, StageConfig]:
    """The stages in an order in which each follows those it takes something from; otherwise as they are given.

    Raises:
        ValueError: stages take something from each other in a circle.
    """
    order: dict[str, StageConfig] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = " -> ".join([*path[path.index(name) :], name])
            raise ValueError(f"stages: {circle} need each other; change the model, data or overrides of one of them")
        if name not in order:
            for other in sources(stages, name):
                visit(other, (*path, name))
            order[name] = stages[name]

    for name in stages:
        visit(name, ())
    return order


def sources(stages: Stages, name: str) -> list[str]:
    """The stages from which a stage takes its weights, its data, or what its overrides refer to."""
    stage = stages[name]
    return list(dict.fromkeys(each for each in (stage.model, *stage.data, *stage.referenced) if each in stages))


def road_to(stages: Stages, name: str) -> set[str]:
    """The stages that the weights or the data of a stage come from, itself included. One of which it takes only a
    number, such as the tokens of another arm, is not on its road."""
    stage = stages[name]
    found = {name}
    for other in (stage.model, *stage.data, *stage.folders):
        if other in stages:
            found |= road_to(stages, other)
    return found


def selected(stages: Stages, names: Sequence[str]) -> dict[str, StageConfig]:
    """These stages and all that they need, in the order of `stages`; without a name all stages.

    Raises:
        ValueError: there is no stage with such a name.
    """
    needed: set[str] = set()
    waiting = list(names or stages)
    while waiting:
        name = waiting.pop()
        if name not in stages:
            raise ValueError(f"only={name}: there is no such stage; stages are {', '.join(stages)}")
        if name not in needed:
            needed.add(name)
            waiting += sources(stages, name)
    return {name: stage for name, stage in stages.items() if name in needed}


def with_evaluations(stages: Stages) -> dict[str, StageConfig]:
    """The stages in order, with an evaluation of each model that has none: of the given ones first, of a trained one
    right after its stage."""
    order = ordered(stages)
    evaluated = {stage.model for stage in order.values() if stage.kind == "evaluate"}
    found: dict[str, StageConfig] = {}

    def evaluate(model: str, arm: str) -> None:
        if model not in evaluated:
            found[re.sub(r"\W", "_", f"evaluate_{model}")] = StageConfig("evaluate", model, arm=arm)

    for model in given_models(order):
        evaluate(model, "")
    for name, stage in order.items():
        found[name] = stage
        if stage.kind in TRAINED:
            evaluate(name, stage.arm)
    return found


def given_models(stages: Stages) -> list[str]:
    """The models that no stage trains: the base, the teacher, then files of conf/model/."""
    given = dict.fromkeys(stage.model for stage in stages.values() if stage.model not in stages)
    return [*(model for model in GIVEN_MODELS if model in given), *(each for each in given if each not in GIVEN_MODELS)]
