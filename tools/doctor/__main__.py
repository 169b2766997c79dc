"""Check in seconds whether a run would start and fit on this machine. Nothing is changed.

    make doctor                                    # the tiny model on countdown
    make doctor MODEL=qwen-3b ARGS="topology.ray_address=auto"

tools/doctor/gather.py collects the facts, pure functions judge them. The exit code is 1 if there is an error, else 0.
"""

import sys
from collections.abc import Sequence

from rich.console import Console

from conf.compose import compose_training
from conf.launch import checking_settings
from conf.sft import TrainingConfig
from tools.doctor import cluster, data, gpus, host, network, ports, software
from tools.doctor.facts import Facts, Hub, Unknown
from tools.doctor.findings import ERROR, WARNING, Checked, Finding, check, count, show
from tools.doctor.gather import gather, uses_gpus
from workers.nvidia import Driver


def examine(facts: Facts, cfg: TrainingConfig) -> dict[str, list[Checked]]:
    """Run every check, by group."""
    on_gpu = uses_gpus(cfg, facts.driver)
    groups = {
        "software": check_software(facts, cfg, on_gpu),
        "GPU" if on_gpu else "CPU": check_gpus(facts, cfg) if on_gpu else check_cpu(facts, cfg),
        "host": check_host(facts, cfg),
        "network": check_network(facts, cfg),
    }
    if cfg.topology.ray_address is not None:
        groups["cluster"] = check_cluster(facts, cfg.topology.ray_address)
    return groups


def check_software(facts: Facts, cfg: TrainingConfig, on_gpu: bool) -> list[Checked]:
    driver = facts.driver if isinstance(facts.driver, Driver) else None
    return [
        check("Python", software.judge_python, facts.python),
        check("packages", software.judge_packages, facts.packages),
        ("torch", software.judge_torch(facts.torch, driver, cfg.topology.device)),
        ("vLLM", software.judge_vllm(facts.vllm, cfg.rollout.backend, on_gpu)),
    ]


def check_gpus(facts: Facts, cfg: TrainingConfig) -> list[Checked]:
    driver = facts.driver
    assert isinstance(driver, Driver)
    checked = [check("driver", gpus.judge_driver, driver, facts.torch)]
    needed = facts.requirements
    for number, gpu in enumerate(driver.gpus):
        checked.append(check(f"GPU {gpu.index}", gpus.judge_architecture, gpu, facts.torch, cfg.model.dtype))
        vllm = needed if isinstance(needed, Unknown) else needed.vllm[number]
        checked.append(check("  memory", gpus.judge_gpu_memory, gpu, vllm))
    checked.append(check("topology", gpus.judge_topology, cfg, len(driver.gpus)))
    checked.append(check("fit", gpus.judge_fit, needed))
    if len(driver.gpus) > 1:
        checked.append(check("peer access", gpus.judge_peers, facts.peers))
    return checked


def check_cpu(facts: Facts, cfg: TrainingConfig) -> list[Checked]:
    chosen = cfg.topology.device == "cpu"
    why = facts.driver.why if isinstance(facts.driver, Unknown) and not chosen else "topology.device=cpu"
    return [
        check("GPU", gpus.judge_no_gpu, why, cfg, facts.requirements),
        check("CPU", host.judge_cpu, facts.cpu, cfg.model.dtype),
    ]


def check_host(facts: Facts, cfg: TrainingConfig) -> list[Checked]:
    joins_cluster = cfg.topology.ray_address is not None
    return [
        check("memory", host.judge_memory, facts.memory, facts.requirements),
        check("shared memory", host.judge_shared_memory, facts.shared_memory, facts.requirements),
        check("outputs", host.judge_outputs, facts.outputs, facts.requirements, cfg.checkpoint.keep),
        check("data", data.judge_data, facts.data),
        *check_ray(facts),
        check("open files", host.judge_open_files, facts.open_files),
        check("leftovers", host.judge_leftovers, facts.leftovers, joins_cluster),
    ]


def check_ray(facts: Facts) -> list[Checked]:
    """What a run itself checks before it starts Ray."""
    if isinstance(facts.obstacles, Unknown):
        return []
    return [(name, host.judge_obstacle(obstacle)) for name, obstacle in facts.obstacles.items()]


def check_network(facts: Facts, cfg: TrainingConfig) -> list[Checked]:
    hub = facts.hub
    sources = hub.sources if isinstance(hub, Hub) else ()
    return [
        *(check(source.kind, network.judge_source, source, hub) for source in sources),
        check("Hub cache", network.judge_hub_cache, facts.hub_cache, hub, facts.requirements),
        check("Hub token", network.judge_token, hub),
        check("wandb", network.judge_wandb, facts.wandb_account, cfg.tracker),
        check("clock", network.judge_clock, hub),
        check("open ports", ports.judge_listeners, facts.listeners),
    ]


def check_cluster(facts: Facts, address: str) -> list[Checked]:
    if isinstance(facts.cluster, Unknown):
        do = "run ray status there; use the same commit and run make setup on every node"
        return [("Ray", Finding(ERROR, f"topology.ray_address={address}: {facts.cluster.why}", do))]
    return [
        check("versions", cluster.judge_versions, facts.cluster, cluster.this_node()),
        check("clocks", cluster.judge_clocks, facts.cluster),
        check("token", cluster.judge_access, facts.cluster_is_open),
    ]


def main(overrides: Sequence[str]) -> int:
    with checking_settings():
        cfg = compose_training(overrides)
    console = Console(highlight=False)
    groups = examine(gather(cfg, overrides), cfg)
    show(console, groups)
    errors, warnings = count(groups, ERROR), count(groups, WARNING)
    console.print(f"{cfg.model.name} on {cfg.env.name}: errors {errors}, warnings {warnings}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
