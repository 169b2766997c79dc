import json

import pytest

from conf.compose import compose_sft
from tools.doctor import data
from tools.doctor.facts import Unknown
from tools.doctor.network import sources_of

ROW = {"prompt": "1 + 1 = ", "completion": "2"}


def config_of(*paths):
    return compose_sft([f"data.paths=[{','.join(map(str, paths))}]", "env=none"])


def test_a_data_set_that_this_machine_lacks_must_be_downloaded_before_it_can_be_read():
    cfg = config_of("no/such-dataset")
    assert ("dataset", "no/such-dataset", "hub") in [(s.kind, s.name, s.location) for s in sources_of(cfg)]
    assert isinstance(data.faults(cfg), Unknown)


@pytest.mark.parametrize("name", ["rows.jsonl", "folder"])
def test_examples_in_files_and_folders_are_read(tmp_path, monkeypatch, name):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = tmp_path / name
    file = path / "train.jsonl" if name == "folder" else path
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(ROW) + "\n")
    assert data.faults(config_of(path)) == ()
    file.write_text("{")
    (fault,) = data.faults(config_of(path))
    assert fault.startswith("data.paths: ") and str(path) in fault
