"""Which GPUs each role takes: topology settings and a count of GPUs become places."""

from dataclasses import dataclass

from conf.schema import Config, RolloutConfig, TopologyConfig


@dataclass(frozen=True)
class Layout:
    """A place is a GPU, or on a machine without any a share of its CPU; places are numbered from 0.

    actor    the place of each rank of the actor; the reference's are the same
    rollout  the places of each replica, one for each of its tensor-parallel ranks
    """

    actor: tuple[int, ...]
    rollout: tuple[tuple[int, ...], ...]

    @property
    def places(self) -> int:
        return 1 + max(*self.actor, *(place for replica in self.rollout for place in replica))


def make_layout(topology: TopologyConfig, rollout: RolloutConfig, gpus: int | None) -> Layout:
    """gpus: how many there are, real or pretended; None for a CPU, where there are as many places as asked for.

    Shared: every role is on every GPU. Not shared: training on the first GPUs, rollouts on the others, half of
    them where `rollout.replicas` is null.

    Raises:
        ValueError: the GPUs are not enough, or can't be divided so.
    """
    width = rollout.tensor_parallel_size
    if gpus is None:
        ranks, replicas = topology.actor_ranks or 1, rollout.replicas or 1
    else:
        gpus = _taken(topology, gpus)
        for_rollout = gpus if topology.colocate else (rollout.replicas or 0) * width or gpus // 2
        replicas = rollout.replicas or for_rollout // width
        ranks = topology.actor_ranks or (gpus if topology.colocate else gpus - for_rollout)
        needed = max(ranks, replicas * width) if topology.colocate else ranks + replicas * width
        if ranks < 1 or replicas < 1 or needed > gpus:
            raise ValueError(
                f"topology={topology.name}: {max(ranks, 0)} actor ranks and {replicas} rollout replicas of {width} "
                f"GPU(s) do not fit on {gpus} GPU(s); choose topology.actor_ranks, rollout.replicas and "
                "rollout.tensor_parallel_size that do, or topology=one_gpu"
            )
    first = 0 if topology.colocate else ranks
    engines = [range(first + start, first + start + width) for start in range(0, replicas * width, width)]
    return Layout(tuple(range(ranks)), tuple(tuple(engine) for engine in engines))


def check_ranks(cfg: Config, layout: Layout) -> None:
    """Fail early where the actor's ranks can't share the work.

    Raises:
        ValueError: it names the setting.
    """
    algorithm, ranks = cfg.algorithm, len(layout.actor)
    completions = algorithm.num_prompts * algorithm.group_size // algorithm.num_minibatches
    if completions % ranks:
        raise ValueError(
            f"algorithm.num_prompts x group_size / num_minibatches = {completions} completions an update can't be "
            f"shared by {ranks} actor ranks; choose numbers of which {ranks} is a divisor, or topology.actor_ranks"
        )
    if algorithm.optimizer.name == "adamw_8bit" and (ranks > 1 or cfg.topology.offload_actor):
        raise ValueError(
            "algorithm.optimizer.name=adamw_8bit can't hold a model in parts (several actor ranks, or "
            "topology.offload_actor=true); choose adamw"
        )


def _taken(topology: TopologyConfig, gpus: int) -> int:
    wanted = topology.num_gpus or gpus
    if wanted > gpus:
        raise ValueError(f"topology.num_gpus={wanted}, but there are {gpus}; choose at most that many")
    return wanted
