import json
import os
import sys
from pathlib import Path

import pytest

from tools.benchmarks.process_tree import Observed, observe
from tools.benchmarks.speed import measured_steps, without_end
from workers.models import load_config, load_tokenizer

TINY = "envs/countdown/models/tiny"


def test_the_warm_up_and_the_final_evaluation_are_not_steps():
    rows = [{"time/step": s, "rollout/tokens": 8.0, "time/generate": 1.0} for s in (9.0, 3.0, 4.0)]
    steps = measured_steps(Observed([*rows, {"eval/sampled": 0.5}], [20.0, 25.0, 31.0, 40.0], 0))
    assert [(step["seconds"], step["cpu_seconds"]) for step in steps] == [(3.0, 5.0), (4.0, 6.0)]
    assert steps[0]["generate"] == 1.0 and steps[0]["logprobs"] == 0.0


def test_a_model_without_end_has_an_end_token_that_it_cannot_generate(tmp_path):
    folder = str(without_end(Path(TINY), tmp_path / "model"))
    before, after = load_tokenizer(TINY), load_tokenizer(folder)
    assert after.eos_token_id >= load_config(folder).vocab_size
    assert after.pad_token_id == before.pad_token_id
    assert load_config(folder).eos_token_id is None
    assert after("16-8=8").input_ids == before("16-8=8").input_ids


def test_cpu_time_and_memory_include_those_of_child_processes(tmp_path):
    burn = "import time; data = bytearray(2**26)\nwhile time.process_time() < 1.5: pass"
    write = f"open('steps', 'a').write({json.dumps(json.dumps({'step': 0}))} + chr(10))"
    wait = "import time; time.sleep(1.5)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); {write}; {wait}"
    seen = observe([sys.executable, "-c", program], tmp_path / "steps", tmp_path, os.environ, tmp_path / "log")
    assert seen.rows == [{"step": 0}]
    assert 1.4 < seen.cpu_seconds[0] < 4
    assert seen.peak_bytes > 2**26


def test_a_command_that_fails_shows_the_end_of_its_log(tmp_path):
    program = "import sys; print('out of paper'); sys.exit(3)"
    with pytest.raises(RuntimeError, match=r"code 3:\nout of paper"):
        observe([sys.executable, "-c", program], tmp_path / "steps", tmp_path, os.environ, tmp_path / "log")
