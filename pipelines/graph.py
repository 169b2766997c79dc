"""The order of a pipeline's stages."""

from collections.abc import Mapping

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
    """The stages from which a stage takes its weights, its data, or what
    its overrides refer to."""
    stage = stages[name]
    return list(dict.fromkeys(each for each in (stage.model, *stage.data, *stage.referenced) if each in stages))


def with_evaluations(stages: Stages) -> dict[str, StageConfig]:
    """The stages in order, with an evaluation of each model that has none: of the given ones first, of a trained one
    right after its stage."""
    order = ordered(stages)
    evaluated = {stage.model for stage in order.values() if stage.kind == "evaluate"}
    given = [name for name in GIVEN_MODELS if any(stage.model == name for stage in order.values())]
    found: dict[str, StageConfig] = {}

    def evaluate(model: str, arm: str) -> None:
        if model not in evaluated:
            found[f"evaluate_{model}"] = StageConfig("evaluate", model, arm=arm)

    for model in given:
        evaluate(model, "")
    for name, stage in order.items():
        found[name] = stage
        if stage.kind in TRAINED:
            evaluate(name, stage.arm)
    return found
