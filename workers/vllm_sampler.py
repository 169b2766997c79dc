"""Generation by vLLM, the same class on the CPU and on a GPU."""

from collections.abc import Iterator, Sequence

from conf.schema import ModelConfig, RolloutConfig, TopologyConfig
from grpo.types import Completion, Request, SamplingParams
from workers.models import encode
from workers.weight_sync import SHM, Weights, transfer_of


class VllmSampler:
    """A vLLM engine in this process whose weights are replaced through vLLM's weight transfer."""

    def __init__(self, model: ModelConfig, rollout: RolloutConfig, device: str, topology: TopologyConfig) -> None:
        from vllm import LLM
        from vllm.config.weight_transfer import WeightTransferConfig
        from vllm.distributed.weight_transfer.base import WeightTransferInitRequest
        from vllm.platforms import current_platform

        import workers.shm_engine  # noqa: F401 - it makes itself known to vLLM

        on_cpu = device == "cpu"
        self.sleeps = topology.colocate and topology.enable_sleep_mode and current_platform.is_sleep_mode_available()
        transfer = transfer_of(topology, device)
        self.asleep = False
        width = rollout.tensor_parallel_size
        memory = {}
        cache_gb = rollout.cpu_cache_gb if on_cpu else rollout.kv_cache_gb
        if cache_gb is not None:
            memory["kv_cache_memory_bytes"] = int(cache_gb * 2**30)
        self.llm = LLM(
            model=model.source,
            dtype=model.dtype,
            seed=0,
            max_model_len=model.max_prompt_tokens + model.max_completion_tokens,
            max_num_seqs=rollout.max_num_seqs,
            gpu_memory_utilization=rollout.gpu_memory_utilization,
            tensor_parallel_size=width,
            # Ray places the ranks of an engine on GPUs; on a CPU vLLM starts processes of its own.
            distributed_executor_backend=None if width == 1 else "mp" if on_cpu else "ray",
            worker_extension_cls="workers.shm_engine.Registered",
            enable_sleep_mode=self.sleeps,
            enforce_eager=on_cpu,
            # A prompt read in parts has its first draws taken back, which a seeded generator on a CPU can't do.
            enable_chunked_prefill=not on_cpu,
            logprobs_mode="processed_logprobs",
            generation_config="vllm",
            weight_transfer_config=WeightTransferConfig(backend=transfer),
            disable_log_stats=True,
            **memory,
        )
        if transfer == SHM:
            self.llm.init_weight_transfer_engine(WeightTransferInitRequest(init_info={}))
        self.tokenizer = self.llm.get_tokenizer()
        self.version = 0

    def load_weights(self, weights: Weights) -> None:
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

        if weights.path:
            self.wake()
            self.llm.start_weight_update()
            self.llm.update_weights(WeightTransferUpdateRequest(update_info=vars(weights)))
            self.llm.finish_weight_update(weight_version=str(weights.version))
        if self.asleep:
            self.llm.wake_up(tags=["kv_cache"])
            self.asleep = False
        # Cached keys and values belong to the old weights, and an update does not drop them.
        assert self.llm.reset_prefix_cache()
        self.version = weights.version

    def sleep(self) -> None:
        if self.sleeps and not self.asleep:
            self.llm.sleep(level=2)  # weights are dropped, not kept in host memory: new ones come
            self.asleep = True

    def wake(self) -> None:
        if self.asleep:
            self.llm.wake_up(tags=["weights"])

    def generate(self, requests: Sequence[Request], sampling: SamplingParams) -> Iterator[tuple[int, Completion]]:
        import vllm
        from vllm.sampling_params import RequestOutputKind

        engine = self.llm.llm_engine
        for place, request in enumerate(requests):
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
                detokenize=bool(own.stop),
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            ids = [*encode(self.tokenizer, request.prompt), *request.prefix]
            prompt = vllm.TokensPrompt(prompt_token_ids=ids)
            engine.add_request(str(place), prompt, params)
        while engine.has_unfinished_requests():
            for output in engine.step():
                if output.finished:
                    yield int(output.request_id), self._completion(output)

    def _completion(self, output) -> Completion:  # type: ignore[no-untyped-def]
        first = output.outputs[0]
        token_ids = tuple(first.token_ids)
        return Completion(
            prompt_ids=tuple(output.prompt_token_ids),
            token_ids=token_ids,
            text=self.tokenizer.decode(token_ids, skip_special_tokens=True),
            behavior_logprobs=tuple(
                position[token].logprob for position, token in zip(first.logprobs, token_ids, strict=True)
            ),
            finish_reason=_why(first),
            weights_version=self.version,
        )


def _why(output) -> str:  # type: ignore[no-untyped-def]
    if output.finish_reason != "stop":
        return "length"
    return "stop_string" if isinstance(output.stop_reason, str) else "stop"
