"""Compare planned memory with the memory of a real update, as counted by the kernel."""

from pathlib import Path

import pytest

from tools.benchmarks.memory import CASES, EMBEDDINGS_DOMINATE, MemoryCase, measure, predict
from workers.models import load_config


def skip_unless_built(case: MemoryCase) -> None:
    if not Path(case.model, "config.json").is_file():
        pytest.skip(f"{case.model} is not built: make smollm2")


def close(case: MemoryCase) -> bool:
    return predict(case).peak == pytest.approx(measure(case), rel=0.15)


def test_the_tiny_model_uses_the_planned_memory():
    assert close(CASES["tiny"][1])


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for cases in CASES.values() for case in cases], ids=str)
def test_activations_dominate_the_compared_peaks(case):
    """Otherwise agreement would say nothing about activations."""
    skip_unless_built(case)
    if case == EMBEDDINGS_DOMINATE:
        pytest.skip("compared for the gradients of the embeddings")
    embeddings = 4 * load_config(case.model).vocab_size * load_config(case.model).hidden_size
    assert predict(case).passes.total > max(1.5 * 3 * embeddings, predict(case).step)


@pytest.mark.slow
@pytest.mark.parametrize("case", [*CASES["tiny"], *CASES["smollm2"], *CASES["qwen"]], ids=str)
def test_larger_models_use_the_planned_memory(case):
    skip_unless_built(case)
    assert close(case)
