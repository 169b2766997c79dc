import json

import yaml
from datasets import load_dataset

from pipelines.data_card import data_card

SETTINGS = {"model": {"path": "tiny", "weights_sha256": "ab12"}, "seed": 3}
COUNTS = [("correct", 20, 8), ("at_most_k", 8, 5)]


def test_the_card_has_licence_settings_and_counts():
    text = data_card("apache-2.0", SETTINGS, COUNTS, "cd34")
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["license"] == "apache-2.0"
    assert "| correct | 20 | 8 |\n| at_most_k | 8 | 5 |" in body and "`cd34`" in body
    assert yaml.safe_load(body.partition("```yaml\n")[2].partition("```")[0]) == SETTINGS


def test_datasets_loads_the_rows_but_not_the_rejected_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "README.md").write_text(data_card("other", SETTINGS, COUNTS, ""))
    # Rows of different tasks, whose fields differ.
    fields = [{"numbers": [1, 2], "target": 3}, {"tests": [{"args": [1, "a"], "expected": None}]}]
    (folder / "data.jsonl").write_text("".join(json.dumps({"prompt": "p", "problem": one}) + "\n" for one in fields))
    (folder / "rejected.jsonl").write_text(json.dumps({"prompt": "p", "rejected_by": "correct"}) + "\n")
    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"] and list(loaded["train"]) == [{"prompt": "p", "problem": one} for one in fields]
