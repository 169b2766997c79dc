import os
import subprocess
import sys

import pytest

from conf.compose import compose_config
from rewards.judge import FormatJudge, JudgeConfig
from workers.judge import LocalJudge, ask_of, checked, local_judge
from workers.models import load_model, load_tokenizer

TEMPLATE = "{% for turn in messages %}{{ turn['content'] }}{% if not loop.last %}\n{% endif %}{% endfor %}"


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory):
    """The tiny model with a chat template: a chat model that follows no instructions."""
    folder = tmp_path_factory.mktemp("chat_model")
    tokenizer = load_tokenizer("envs/countdown/models/tiny")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    load_model("envs/countdown/models/tiny", "float32").save_pretrained(folder)
    return str(folder)


def test_a_local_judge_replies_to_every_question_in_order(chat_model):
    asked = []
    judge = FormatJudge(LocalJudge(JudgeConfig(chat_model), "cpu"))
    ask = judge.ask
    judge.ask = lambda questions: asked.append(ask(questions)) or asked[-1]
    assert len(judge.review(["one", "two", "three"])) == 3
    assert len(asked[0]) == 3 and all(isinstance(reply, str) for reply in asked[0])


def test_a_judge_that_cannot_score_an_example_is_rejected_at_the_start(chat_model):
    with pytest.raises(ValueError, match="returned no score for a plain example"):
        local_judge(JudgeConfig(chat_model))
    with pytest.raises(ValueError, match="requires a chat template"):
        local_judge(JudgeConfig("envs/countdown/models/tiny"))


def test_an_unreachable_server_is_rejected_at_the_start():
    with pytest.raises(ValueError, match="at reward.judge.base_url=http://127.0.0.1:9/v1, returned no score"):
        local_judge(JudgeConfig("any", "http://127.0.0.1:9/v1", timeout_s=1))


def test_a_judge_that_scores_the_example_is_accepted():
    judge = FormatJudge(lambda questions: ["SCORE: 4"] * len(questions))
    assert checked(judge, JudgeConfig("any")) is judge


IN_A_RUN = """
import psutil, sys, ray
from ray.util.placement_group import placement_group
from conf.compose import compose_config
from rewards.judge import JudgeConfig
from workers.judge import QUESTION, ask_of

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
ray.get(placement_group([{"CPU": 1}]).ready())
ask = ask_of(JudgeConfig(sys.argv[1]), "evaluation.judge", compose_config(["model=tiny"]), "cpu")
print(len(ask([QUESTION])))
for process in psutil.process_iter(["name"]):
    if process.info["name"] == "ray::LocalJudge":
        process.kill()
print(ask([QUESTION]) == [None], ask([QUESTION]) == [None])
ask_of(JudgeConfig("/nowhere"), "evaluation.judge", compose_config(["model=tiny"]), "cpu")
"""


def test_a_judge_starts_although_the_run_has_reserved_all_cpus(chat_model, request):
    environment = os.environ | {"PYTHONPATH": str(request.config.rootpath), "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-c", IN_A_RUN, chat_model]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    printed = done.stdout.splitlines()  # one that died is replaced for the next questions
    assert printed[0] == "1" and "True False" in printed, done.stderr
    assert "evaluation.judge.model=/nowhere, loaded by the run, does not answer; check that it exists" in done.stderr


def test_a_served_judge_that_does_not_answer_is_refused():
    cfg = compose_config(["model=tiny"])
    with pytest.raises(ValueError, match="judge.model=x, at judge.base_url=http://127.0.0.1:9/v1, does not answer"):
        ask_of(JudgeConfig("x", "http://127.0.0.1:9/v1", timeout_s=1), "judge", cfg, "cpu")
