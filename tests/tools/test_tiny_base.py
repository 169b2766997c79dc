from pathlib import Path

import pytest
from hydra import compose, initialize
from omegaconf import OmegaConf

from conf.sft import SftConfig
from tools.tiny_base.__main__ import train_settings, write_blank
from tools.tiny_base.bases import BASES
from tools.tiny_base.skills import BOUNDS
from workers.models import load_model, load_tokenizer


@pytest.mark.parametrize("name", BASES)
def test_every_stage_composes_with_train_sft_and_its_rows_fit(name, tmp_path):
    start = write_blank(tmp_path, BASES[name])
    tokenizer = load_tokenizer(str(start))
    for index, stage in enumerate(BASES[name].stages):
        with initialize(version_base=None, config_path="../../conf"):
            settings = train_settings(stage, f"{name}/{index}", start, Path("data.jsonl"))
            cfg = OmegaConf.to_object(compose("sft", settings))
        assert isinstance(cfg, SftConfig) and cfg.optimizer.lr == stage.lr and cfg.model.source == str(start)
        rows = [row for _, row in zip(range(200), BASES[name].corpus(index), strict=False)]
        ids = [tokenizer(row["prompt"] + row["completion"], add_special_tokens=False)["input_ids"] for row in rows]
        assert max(map(len, ids)) < (cfg.data.max_tokens or 0)
        assert all(tokenizer.unk_token_id not in row for row in ids)


def test_a_blank_model_can_be_loaded_with_its_tokenizer(tmp_path):
    start = str(write_blank(tmp_path, BASES["tiny-student"]))
    model, tokenizer = load_model(start, "float32"), load_tokenizer(start)
    assert model.config.hidden_size == 64 and model.config.vocab_size == len(tokenizer)


def test_every_base_has_bounds():
    assert BOUNDS.keys() == BASES.keys()
