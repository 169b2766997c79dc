from dataclasses import replace

from conf.compose import compose_config
from conf.trackers import TrackerConfig
from tests.tools.doctor.made_facts import NEEDED
from tools.doctor.facts import DiskSpace, Hub, Reply, Source, Unknown
from tools.doctor.network import judge_clock, judge_hub_cache, judge_source, judge_wandb, sources_of

GATED = Source("model", "meta-llama/Llama-3.2-1B", "hub")
HUB = Hub(False, False, (GATED,), {GATED.name: Reply(200, True, 1.0)})


def test_a_gated_model_needs_a_token():
    found = judge_source(GATED, HUB)
    assert found.level == "error" and "there is no token" in found.saw and "export HF_TOKEN=" in found.do
    assert judge_source(GATED, replace(HUB, has_token=True)).level == "ok"
    refused = replace(HUB, has_token=True, replies={GATED.name: Reply(403, False, None)})
    assert "the token has no access" in judge_source(GATED, refused).saw


def test_only_sources_that_are_not_on_this_machine_need_the_hub():
    offline = replace(HUB, offline=True, replies={})
    assert "HF_HUB_OFFLINE is set" in judge_source(GATED, offline).saw
    assert judge_source(replace(GATED, location="cache"), offline).level == "ok"
    unreachable = replace(HUB, replies={GATED.name: Unknown("Name or service not known")})
    assert "cannot be reached: Name or service not known" in judge_source(GATED, unreachable).saw
    assert judge_source(GATED, replace(HUB, replies={GATED.name: Reply(404, False, None)})).level == "error"
    assert judge_source(GATED, replace(HUB, replies={GATED.name: Reply(503, False, None)})).level == "warning"


def test_the_hub_cache_must_hold_a_model_that_is_downloaded():
    assert judge_hub_cache(DiskSpace("/cache", 10, 5, True), HUB, NEEDED).level == "error"
    assert judge_hub_cache(DiskSpace("/cache", 10, 5, True), replace(HUB, sources=()), NEEDED).level == "ok"


def test_the_clock_is_compared_with_the_hub_s():
    assert judge_clock(HUB).level == "ok"
    behind = judge_clock(replace(HUB, replies={GATED.name: Reply(200, False, -300.0)}))
    assert behind.level == "warning" and behind.saw == "300 s behind the Hub's"
    assert judge_clock(replace(HUB, offline=True)).level == "skipped"
    assert judge_clock(replace(HUB, replies={GATED.name: Unknown("no network")})).level == "skipped"


def test_wandb_online_needs_an_account():
    assert judge_wandb(False, TrackerConfig(mode="online")).level == "error"
    assert judge_wandb(False, TrackerConfig()).level == "warning" and judge_wandb(True, TrackerConfig()).level == "ok"


def test_the_sources_of_a_run_follow_from_its_settings():
    mixed = compose_config(["env=mixed", "+env@env.parts.gsm8k=gsm8k", "+env.weights.gsm8k=1", "model=qwen-0.5b"])
    assert {s.name: s.kind for s in sources_of(mixed)} == {"Qwen/Qwen2.5-0.5B": "model", "openai/gsm8k": "dataset"}
    assert [s.location for s in sources_of(compose_config([]))] == ["disk"]
    judged = compose_config(["evaluation.judge.model=Qwen/Qwen2.5-7B-Instruct"])
    assert sources_of(judged)[1].name == "Qwen/Qwen2.5-7B-Instruct"
