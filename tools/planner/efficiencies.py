"""How much of the data sheet's figures software reaches, and the costs that do not scale with the hardware."""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path


@dataclass(frozen=True)
class Efficiencies:
    """A default is what `make gpu-check` measured (docs/gpu.md), or else within the range that is commonly reported for
    such software.

    decode_bandwidth  decoding in vLLM, of the memory bandwidth
    prefill_flops     prefill in vLLM, of the bfloat16 peak
    forward_flops     log-probabilities with transformers in eager mode, of the bfloat16 peak
    train_flops       forward and backward passes of the same
    lora_flops        the same with LoRA, whose adapters add many small operations
    touch_bandwidth   one pass over all weights, of the memory bandwidth
    link_bandwidth    between GPUs, of the link
    host_bandwidth    between a GPU and the host's memory, of the link
    host_copy_gbs     GB/s at which one process copies weights in host memory
    host_checksum_gbs GB/s of the checksum of weights in host memory, on one core
    decode_seconds    of the host per decoding step: scheduler, kernel launches
    sequence_seconds  of the host per generated token: vLLM's bookkeeping of each sequence, in Python
    load_seconds      of a transfer of weights, whatever their size: calls to the processes
    layer_seconds     per layer that vLLM loads
    step_seconds      per training step: Ray's messages, scoring, building the batch
    mean_prompt       mean length of a prompt, of its limit
    mean_completion   mean length of a completion, of its limit; the longest completion reaches it
    """

    decode_bandwidth: float = 0.6
    prefill_flops: float = 0.5
    forward_flops: float = 0.31
    train_flops: float = 0.3
    lora_flops: float = 0.24
    touch_bandwidth: float = 0.7
    link_bandwidth: float = 0.7
    host_bandwidth: float = 0.85
    host_copy_gbs: float = 5.0
    host_checksum_gbs: float = 3.5
    decode_seconds: float = 0.0017
    sequence_seconds: float = 0.000034
    load_seconds: float = 0.1
    layer_seconds: float = 0.01
    step_seconds: float = 2.0
    mean_prompt: float = 0.5
    mean_completion: float = 0.5

    @classmethod
    def measured(cls, report: Path, gpu: str) -> "Efficiencies":
        """Those that `make gpu-check` measured on this GPU, and the defaults for the others.

        gpu: the device name that the report must have.

        Raises:
            ValueError: the file is not a report of such a GPU.
        """
        try:
            found = json.loads(report.read_text())
            gpus, stages = set(found["gpus"]), found["stages"]
            known = {field.name for field in fields(cls)}
            measured = [each for stage in stages for each in stage["measurements"] if each["name"] in known]
            values = {each["name"]: float(each["value"]) for each in measured}
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"GPU_REPORT={report} is not a report.json of make gpu-check ({error!r})") from error
        if gpus != {gpu}:
            where = ", ".join(gpus) or "a CPU"
            raise ValueError(f"GPU_REPORT={report} is a report of {where}; run make gpu-check on a {gpu}")
        return replace(cls(), **values)


AT_LIMIT = Efficiencies(mean_prompt=1.0, mean_completion=1.0)  # prompts and completions are at their length limits
