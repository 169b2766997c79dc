"""The task folder for lm-evaluation-harness."""

import json
from pathlib import Path

import yaml

from conf.compose import compose_config
from tools.lm_eval_task import process_results, write_task

TINY = Path(__file__).parents[2] / "envs/countdown/models/tiny"
OVERRIDES = ["model=tiny", "env=countdown"]


def test_each_exported_problem_can_be_graded_on_its_own(tmp_path):
    name = write_task(compose_config(OVERRIDES), OVERRIDES, 3, tmp_path)
    docs = [json.loads(line) for line in (tmp_path / name / "problems.jsonl").read_text().splitlines()]
    assert len(docs) == 3 and all(doc["prompt"].startswith("make ") for doc in docs)
    for doc in docs:
        right = f"</think> <answer> {doc['answer']} </answer>"
        assert process_results(doc, [right]) == {"correct": 1.0}
        assert process_results(doc, [right.replace("<answer> ", "<answer> 1 + ")]) == {"correct": 0.0}
        assert process_results(doc, ["no answer"]) == {"correct": 0.0}


def test_problems_of_a_mix_are_graded_by_their_own_task(tmp_path):
    overrides = ["model=qwen-0.5b", "env=mixed", f"model.local_path={TINY}"]
    name = write_task(compose_config(overrides), overrides, 6, tmp_path)
    docs = [json.loads(line) for line in (tmp_path / name / "problems.jsonl").read_text().splitlines()]
    assert len({doc["fields"]["env"] for doc in docs}) > 1
    for doc in docs:
        assert process_results(doc, [f"</think> <answer>{doc['answer']}</answer>"]) == {"correct": 1.0}


def test_the_task_requests_greedy_completions_up_to_the_model_s_limit(tmp_path):
    name = write_task(compose_config(OVERRIDES), OVERRIDES, 1, tmp_path)
    text = (tmp_path / name / f"{name}.yaml").read_text()
    plain, _, function = text.rpartition("process_results: ")
    task = yaml.safe_load(plain)
    assert function.strip() == "!function grade.process_results"
    assert task["task"] == "ahazero_countdown" and task["doc_to_text"] == "{{prompt}}"
    assert task["generation_kwargs"] == {"until": [], "max_gen_toks": 192, "do_sample": False}
