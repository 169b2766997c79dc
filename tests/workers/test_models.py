import ast
import json
import shutil
from pathlib import Path

import pytest

from conf.workers import ModelConfig, RolloutConfig, TopologyConfig
from workers.models import (
    CPU_HEAD_SIZES,
    check_model,
    empty_model,
    load_config,
    load_model,
    load_tokenizer,
)


@pytest.mark.parametrize(("text", "problem"), [("{", "is not valid JSON"), ("{}", "names no model_type")])
def test_a_damaged_config_is_found_before_anything_starts(tmp_path, text, problem):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=f"config.json {problem}"):
        check_model(ModelConfig("m", str(tmp_path)), RolloutConfig(), TopologyConfig())


TINY = Path("envs/countdown/models/tiny")
CODE = """
from pathlib import Path
Path({marker!r}).write_text("executed")
from transformers import PretrainedConfig, Qwen2ForCausalLM, PreTrainedTokenizerFast
class Config(PretrainedConfig):
    model_type = "made_up"
class Model(Qwen2ForCausalLM):
    pass
class Tokenizer(PreTrainedTokenizerFast):
    pass
"""


def with_code(folder: Path, marker: Path, model_type: str) -> ModelConfig:
    """A copy of the tiny model that asks for Python code of its own."""
    shutil.copytree(TINY, folder)
    (folder / "own.py").write_text(CODE.format(marker=str(marker)))
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": model_type}))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer["auto_map"] = {"AutoTokenizer": [None, "own.Tokenizer"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return ModelConfig("m", str(folder), max_completion_tokens=64)


def test_the_code_of_a_model_is_never_executed(tmp_path):
    """Its own classes are ignored where transformers has the type of the model."""
    model = with_code(tmp_path / "model", tmp_path / "marker", "qwen2")
    check_model(model, RolloutConfig(), TopologyConfig())
    load_tokenizer(model.source)
    loaded = load_model(model.source, "float32")
    assert type(loaded).__module__.startswith("transformers.models.qwen2")
    empty_model(load_config(model.source), "float32")
    assert not (tmp_path / "marker").exists()


def test_a_model_that_needs_code_of_its_own_is_refused(tmp_path):
    model = with_code(tmp_path / "model", tmp_path / "marker", "made_up")
    with pytest.raises(ValueError, match="has Python code of its own .*, which is never executed"):
        check_model(model, RolloutConfig(), TopologyConfig())
    with pytest.raises(ValueError, match="model.path="):
        load_config(model.source)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("heads", [{"num_attention_heads": 8}, {"head_dim": 16}])
def test_heads_without_a_cpu_kernel_are_found_before_anything_starts(tmp_path, heads):
    shutil.copytree(TINY, tmp_path / "model")
    config = json.loads((TINY / "config.json").read_text())  # hidden size 128
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | heads))
    model = ModelConfig("m", str(tmp_path / "model"), max_completion_tokens=64)
    with pytest.raises(ValueError, match=r"attention heads of size 16, but on a CPU vLLM supports only 32, 64, .*"):
        check_model(model, RolloutConfig(), TopologyConfig(device="cpu"))
    check_model(model, RolloutConfig(backend="transformers"), TopologyConfig(device="cpu"))


def test_the_listed_head_sizes_are_those_of_vllm():
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    assert list(CPU_HEAD_SIZES) == CPUAttentionBackend.get_supported_head_sizes()


@pytest.mark.parametrize("folder", sorted(path.parent for path in Path("envs").glob("*/models/*/config.json")))
def test_vllm_can_generate_with_every_shipped_model_on_a_cpu(folder):
    check_model(ModelConfig("m", str(folder), max_completion_tokens=64), RolloutConfig(), TopologyConfig(device="cpu"))


def test_no_module_trusts_the_code_of_a_model():
    sources = [path for folder in ("workers", "tools", "envs", "inference") for path in Path(folder).rglob("*.py")]
    for path in [*sources, *Path().glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                pytest.fail(f"{path}:{node.lineno}")
