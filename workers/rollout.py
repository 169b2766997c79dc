"""Generation: vLLM engines in Ray actors, and the pool through which the driver calls them.

The pool is one generator over several replicas. A replica holds no state but a version of the weights: if it dies, it
is restarted, loads the weights again, and receives the same requests with the same seeds.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import ray
import torch

from conf.workers import ModelConfig, RolloutConfig, TopologyConfig
from grpo.types import Completion, Request, SamplingParams
from workers.placement import bundle_indexes
from workers.rank_group import ALONE, RankInfo, Worker, WorkerDied, answer_of
from workers.sampler import Sampler
from workers.session import Session, WorkerSettings
from workers.tokenization import encode
from workers.transformers_sampler import TransformersSampler
from workers.weights import Transfer, Weights, verify

MAX_RESTARTS = 5
# vLLM reads these when it is imported, PyTorch when it first compiles.
VLLM_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine runs in the Ray actor itself
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",  # it is compiled at the start and returns no processed log-probabilities
}
VLLM_CPU_ENVIRONMENT = {
    "TORCHDYNAMO_DISABLE": "1",  # otherwise the first log-probabilities compile a kernel for minutes
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


class VllmSampler(Sampler):
    """A vLLM engine whose weights are replaced in place through vLLM's weight transfer."""

    def __init__(
        self, model: ModelConfig, rollout: RolloutConfig, topology: TopologyConfig, info: RankInfo = ALONE
    ) -> None:
        super().__init__(info)
        width, on_cpu = rollout.tensor_parallel_size, info.device == "cpu"
        os.environ |= VLLM_ENVIRONMENT | (VLLM_CPU_ENVIRONMENT if on_cpu else {})
        os.environ["OMP_NUM_THREADS"] = str(rollout.threads)  # for processes that the engine starts
        torch.set_num_threads(rollout.threads)
        if width > 1:
            # This actor reserves no GPU, from which some versions of Ray hide them all; it leads the workers that do.
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        from vllm import LLM
        from vllm.config.weight_transfer import WeightTransferConfig
        from vllm.distributed.weight_transfer.base import WeightTransferInitRequest
        from vllm.platforms import current_platform

        import workers.transfer_engines  # noqa: F401 - registers the engines with vLLM

        cache_gb = rollout.cpu_cache_gb if on_cpu else rollout.kv_cache_gb
        self.can_sleep = topology.colocate and topology.enable_sleep_mode and current_platform.is_sleep_mode_available()
        self.is_asleep = False
        transfer = Transfer.of(topology, info.device)
        self.llm = LLM(
            model=model.source,
            dtype=model.dtype,
            seed=0,
            max_model_len=model.max_prompt_tokens + model.max_completion_tokens,
            max_num_seqs=rollout.max_num_seqs,
            gpu_memory_utilization=rollout.gpu_memory_utilization,
            tensor_parallel_size=width,
            # On GPUs Ray places the ranks of an engine; on a CPU vLLM starts processes of its own.
            distributed_executor_backend=None if width == 1 else "mp" if on_cpu else "ray",
            worker_extension_cls="workers.transfer_engines.VllmExtension",
            enable_sleep_mode=self.can_sleep,
            enforce_eager=on_cpu or rollout.enforce_eager,
            # Chunked prefill discards the first draws of a chunked prompt; seeded CPU generators cannot rewind.
            enable_chunked_prefill=not on_cpu,
            logprobs_mode="processed_logprobs",
            generation_config="vllm",
            weight_transfer_config=WeightTransferConfig(backend=str(transfer)),
            disable_log_stats=True,
            **({} if cache_gb is None else {"kv_cache_memory_bytes": int(cache_gb * 2**30)}),
        )
        if transfer is not Transfer.NCCL:  # which connects all replicas with the actor at once
            settings = {"packed": True} if transfer is Transfer.IPC else {}
            self.llm.init_weight_transfer_engine(WeightTransferInitRequest(init_info=settings))
        self.tokenizer = self.llm.get_tokenizer()

    def load_weights(self, weights: Weights) -> None:
        """Replace the weights in place, unless they were sent directly, and generate with this version from now on.
        Raises what `verify` raises, for any process of the engine."""
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

        if weights.transfer is Transfer.SHARED_MEMORY:
            self.wake()
            self.llm.start_weight_update()
            self.llm.update_weights(WeightTransferUpdateRequest(update_info={"path": weights.path}))
            self.llm.finish_weight_update(weight_version=str(weights.version))
        for found in self.llm.collective_rpc("received_checksum"):
            verify(weights, found)
        if self.is_asleep:
            self.llm.wake_up(tags=["kv_cache"])
            self.is_asleep = False
        # Cached keys and values belong to the old weights, and an update does not drop them.
        assert self.llm.reset_prefix_cache()
        self.version = weights.version

    def sleep(self) -> None:
        if self.can_sleep and not self.is_asleep:
            self.llm.sleep(level=2)  # drops the weights instead of copying them to the host: new ones arrive
            self.is_asleep = True

    def wake(self) -> None:
        if self.is_asleep:
            self.llm.wake_up(tags=["weights"])

    def generate(self, requests: Sequence[Request], sampling: SamplingParams) -> Iterator[tuple[int, Completion]]:
        import vllm
        from vllm.sampling_params import RequestOutputKind

        engine = self.llm.llm_engine
        for index, request in enumerate(requests):
            own = request.sampling or sampling
            params = vllm.SamplingParams(
                temperature=own.temperature,
                top_p=own.top_p,
                top_k=own.top_k,
                max_tokens=own.max_tokens,
                stop=list(own.stop),
                include_stop_str_in_output=True,
                seed=request.seed,
                logprobs=0,
                flat_logprobs=True,
                detokenize=bool(own.stop),
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            ids = [*encode(self.tokenizer, request.prompt), *request.prefix]
            engine.add_request(str(index), vllm.TokensPrompt(prompt_token_ids=ids), params)
        while engine.has_unfinished_requests():
            for output in engine.step():
                if output.finished:
                    yield int(output.request_id), self._completion(output)

    def _completion(self, output) -> Completion:  # type: ignore[no-untyped-def]
        generated = output.outputs[0]
        token_ids = tuple(generated.token_ids)
        stop = "stop_string" if isinstance(generated.stop_reason, str) else "stop"
        return Completion(
            prompt_ids=tuple(output.prompt_token_ids),
            token_ids=token_ids,
            text=self.tokenizer.decode(token_ids, skip_special_tokens=True),
            behavior_logprobs=tuple(generated.logprobs.logprobs),  # of the sampled tokens alone
            finish_reason=stop if generated.finish_reason == "stop" else "length",
            weights_version=self.version,
        )

    # vLLM's sender calls these methods when it sends weights from GPU to GPU.

    def init_weight_transfer_engine(self, request: Any) -> None:
        self.llm.init_weight_transfer_engine(request)

    def start_weight_update(self) -> None:
        self.llm.start_weight_update()

    def update_weights(self, request: Any) -> None:
        self.llm.update_weights(request)

    def finish_weight_update(self) -> None:
        self.llm.finish_weight_update()


class RolloutPool:
    """The replicas, called as one generator of completions."""

    def __init__(self, cfg: WorkerSettings, session: Session) -> None:
        self.cfg, self.session = cfg, session
        self.replicas = len(session.placement.rollout)
        self.workers = [self._start(replica) for replica in range(self.replicas)]
        self.group = session.group(self.workers)
        self.sender: Any = None  # the actor's RankGroup, if it sends weights directly
        self.weights: Weights | None = None
        self.restarts = 0

    def ready(self) -> None:
        """Wait until all replicas have loaded the model."""
        self.group.call("ready", phase="start", interruptible=True)

    def generate(
        self, requests: Sequence[Request], sampling: SamplingParams, phase: str = "generate"
    ) -> Iterator[tuple[int, Completion]]:
        """Deal the requests out to the replicas, which begin at once; yield (request index, completion) as each one
        finishes."""
        streams = {self._stream(replica, requests, sampling): worker for replica, worker in enumerate(self.workers)}
        return self._finished(streams, requests, sampling, phase)

    def load_weights(self, weights: Weights) -> Weights:
        """Load a version into every replica, once it has finished the generation in progress. Returns the version with
        its checksum, which direct transfers compute as they send."""
        if weights.transfer is not Transfer.SHARED_MEMORY:
            # With NCCL, engines have GPUs of their own and never sleep, but may still generate for the next step.
            self.group.call("wake", phase="generate" if weights.transfer is Transfer.NCCL else "sleep")
            handles = [worker.handle for worker in self.workers]
            weights = replace(weights, checksum=self.sender.call("send_weights", handles, phase="weight_sync"))
        self.weights = weights
        self.group.call("load_weights", weights, phase="weight_sync", on_death=lambda w: self._restart(w.info.rank))
        return weights

    def sleep(self) -> None:
        """Let colocated replicas release the memory that the actor needs, until new weights arrive."""
        topology = self.cfg.topology
        if self.session.device == "cuda" and topology.colocate and topology.enable_sleep_mode:
            self.group.call("sleep", phase="sleep")

    def _stream(self, replica: int, requests: Sequence[Request], sampling: SamplingParams) -> Any:
        method = self.workers[replica].handle.stream.options(num_returns="streaming")
        return method.remote(requests[replica :: self.replicas], sampling)

    def _finished(
        self, streams: dict[Any, Worker], requests: Sequence[Request], sampling: SamplingParams, phase: str
    ) -> Iterator[tuple[int, Completion]]:
        seen: set[int] = set()
        while streams:
            stream = self.group.next_stream(streams, phase)
            replica = streams[stream].info.rank
            try:
                chunk = answer_of(next(stream), streams[stream], {})
            except StopIteration:
                del streams[stream]
                continue
            except WorkerDied:
                if streams.pop(stream) is self.workers[replica]:  # otherwise it has been replaced already
                    self._restart(replica)
                streams[self._stream(replica, requests, sampling)] = self.workers[replica]
                continue
            for position, completion in chunk:
                index = replica + position * self.replicas
                if index not in seen:
                    seen.add(index)
                    yield index, completion

    def _restart(self, replica: int) -> None:
        """Replace a dead worker.

        Raises:
            WorkerDied: the run must resume from its checkpoint: the worker's node is gone, NCCL cannot connect a single
                replica again, the actor no longer has the version to be sent, or replacing workers does not help.
        """
        self.restarts += 1
        transfer = self.weights and self.weights.transfer
        if self.session.lost_a_node() or transfer is Transfer.NCCL:
            raise WorkerDied(f"{self.workers[replica].name} died")
        if self.restarts > MAX_RESTARTS:
            raise WorkerDied(f"rollout replicas died more than {MAX_RESTARTS} times; see the Ray logs")
        self.workers[replica] = self._start(replica)
        if self.weights is None:
            return
        group = self.session.group([self.workers[replica]])
        if transfer is Transfer.IPC:
            group.call("ready", phase="restart")
            sent = self.sender.call("send_weights", [self.workers[replica].handle], phase="restart")
            if sent != self.weights.checksum:
                raise WorkerDied(f"{self.workers[replica].name} died, and the actor has been trained since")
        group.call("load_weights", self.weights, phase="restart")

    def _start(self, replica: int) -> Worker:
        bundles = [self.session.bundles[bundle] for bundle in self.session.placement.rollout[replica]]
        share = self.cfg.topology.rollout_gpu_share
        # An engine of several GPUs has a Ray worker on each of them; this actor only leads those.
        is_single = len(bundles) == 1
        options: dict[str, Any] = {
            "num_cpus": 1 if is_single else 0,
            "num_gpus": share if self.session.has_gpus and is_single else 0,
            "scheduling_strategy": bundles[0],
        }
        if not is_single:
            on_ray = {"VLLM_RAY_BUNDLE_INDICES": bundle_indexes(bundles), "VLLM_RAY_PER_WORKER_GPUS": str(share)}
            options["runtime_env"] = {"env_vars": on_ray}
        info = RankInfo("rollout", replica, self.replicas, "", self.session.device, self.session.folder)
        sampler = ray.remote(VllmSampler if self.cfg.rollout.backend == "vllm" else TransformersSampler)
        handle = sampler.options(**options).remote(self.cfg.model, self.cfg.rollout, self.cfg.topology, info)
        return Worker(info, handle, bundles[0])
