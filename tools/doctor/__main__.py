"""What would go wrong with a run, in seconds and before it does; nothing is changed.

    make doctor                                    # the tiny model on countdown
    make doctor MODEL=qwen-3b ARGS="topology.ray_address=auto"

Facts are gathered in one place (tools/doctor/gather.py) and judged by pure functions (checks/*.py). The exit code is 1
where there is an error, else 0.
"""

import sys
from collections.abc import Sequence

from rich.console import Console

from conf.compose import compose_config
from conf.launch import checking_settings
from conf.schema import Config
from tools.doctor import cluster, gpus, machine, network, software
from tools.doctor.facts import Driver, Facts, Hub, Unknown
from tools.doctor.findings import ERROR, WARNING, Checked, Finding, check, count, show
from tools.doctor.gather import gather, here
from tools.doctor.needs import Needs, needs_of


def examine(facts: Facts, cfg: Config) -> dict[str, list[Checked]]:
    """Every check, by group."""
    on_gpu = isinstance(facts.driver, Driver) and cfg.topology.device != "cpu"
    size = facts.parameters
    needs = size if isinstance(size, Unknown) else needs_of(cfg, size, on_gpu)
    groups = {
        "software": of_software(facts, cfg, on_gpu),
        "GPU" if on_gpu else "CPU": of_gpus(facts, cfg, needs) if on_gpu else of_cpu(facts, cfg, needs),
        "host": of_host(facts, cfg, needs),
        "network": of_network(facts, cfg, needs),
    }
    if cfg.topology.ray_address is not None:
        groups["cluster"] = of_cluster(facts, cfg.topology.ray_address)
    return groups


def of_software(facts: Facts, cfg: Config, on_gpu: bool) -> list[Checked]:
    driver = facts.driver if isinstance(facts.driver, Driver) else None
    return [
        check("Python", software.judge_python, facts.python),
        check("packages", software.judge_packages, facts.packages),
        ("torch", software.judge_torch(facts.torch, driver, cfg.topology.device)),
        ("vLLM", software.judge_vllm(facts.vllm, cfg.rollout.backend, on_gpu)),
    ]


def of_gpus(facts: Facts, cfg: Config, needs: Needs | Unknown) -> list[Checked]:
    driver = facts.driver
    assert isinstance(driver, Driver)
    checked = [check("driver", gpus.judge_driver, driver, facts.torch)]
    for gpu in driver.gpus:
        checked.append(check(f"GPU {gpu.index}", gpus.judge_architecture, gpu, facts.torch, cfg.model.dtype))
        checked.append(check("  memory", gpus.judge_gpu_memory, gpu, cfg, needs))
    checked.append(check("fit", gpus.judge_fit, driver, cfg, needs))
    if len(driver.gpus) > 1:
        checked.append(check("peer access", gpus.judge_peers, facts.peers))
        checked.append(check("rendezvous", machine.judge_rendezvous, facts.rendezvous))
    return checked


def of_cpu(facts: Facts, cfg: Config, needs: Needs | Unknown) -> list[Checked]:
    why = facts.driver.why if isinstance(facts.driver, Unknown) else "topology.device=cpu"
    return [
        check("GPU", gpus.judge_no_gpu, why, cfg, needs),
        check("CPU", machine.judge_cpu, facts.cpu, cfg.model.dtype),
    ]


def of_host(facts: Facts, cfg: Config, needs: Needs | Unknown) -> list[Checked]:
    joins = cfg.topology.ray_address is not None
    return [
        check("memory", machine.judge_memory, facts.memory, needs),
        check("shared memory", machine.judge_shared_memory, facts.shared_memory, needs),
        check("outputs", machine.judge_outputs, facts.outputs, needs, cfg.checkpoint.keep),
        check("open files", machine.judge_open_files, facts.open_files),
        check("leftovers", machine.judge_leftovers, facts.leftovers, joins),
    ]


def of_network(facts: Facts, cfg: Config, needs: Needs | Unknown) -> list[Checked]:
    hub = facts.hub
    sources = hub.sources if isinstance(hub, Hub) else ()
    weights = needs if isinstance(needs, Unknown) else needs.weights
    return [
        *(check(source.kind, network.judge_source, source, hub) for source in sources),
        check("Hub cache", network.judge_hub_cache, facts.hub_cache, hub, weights),
        check("Hub token", network.judge_token, hub),
        check("wandb", network.judge_wandb, facts.wandb_account, cfg.tracker),
        check("clock", network.judge_clock, hub),
    ]


def of_cluster(facts: Facts, address: str) -> list[Checked]:
    if isinstance(facts.cluster, Unknown):
        do = "ray status there; the same commit and make setup on every node"
        return [("Ray", Finding(ERROR, f"topology.ray_address={address}: {facts.cluster.why}", do))]
    return [
        check("versions", cluster.judge_versions, facts.cluster, here()),
        check("clocks", cluster.judge_clocks, facts.cluster),
    ]


def main(overrides: Sequence[str]) -> int:
    with checking_settings():
        cfg = compose_config(overrides)
    console = Console(highlight=False)
    groups = examine(gather(cfg), cfg)
    show(console, groups)
    errors, warnings = count(groups, ERROR), count(groups, WARNING)
    console.print(f"{cfg.model.name} on {cfg.env.name}: errors {errors}, warnings {warnings}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
