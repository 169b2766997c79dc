"""The data of a run: whether it can be read. A dataset that must be downloaded first is checked in network.py."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from conf.sft import SftConfig, TrainingConfig
from envs.records import file_records, hub_records
from tools.doctor.facts import Unknown
from tools.doctor.findings import ERROR, OK, Finding
from tools.doctor.network import DATA_FILES, sources_of


def faults(cfg: TrainingConfig) -> tuple[str, ...] | Unknown:
    """What is wrong with the problems of the task, and with the files of examples for fine-tuning."""
    if any((source.kind, source.location) == ("dataset", "hub") for source in sources_of(cfg)):
        return Unknown("a dataset must be downloaded first")
    return tuple([*_task_faults(cfg), *(_file_faults(cfg) if isinstance(cfg, SftConfig) else ())])


def _task_faults(cfg: TrainingConfig) -> Iterator[str]:
    try:
        if not isinstance(cfg, SftConfig):
            cfg.env.problem(cfg.seed, "train", 0)
        cfg.env.eval_set(cfg.evaluation.num_problems)
    except ValueError as error:
        yield " ".join(str(error).split())


def _file_faults(cfg: SftConfig) -> Iterator[str]:
    for path in cfg.data.paths:
        is_file = Path(path).suffix in DATA_FILES
        records: list[tuple[int, Mapping[str, Any] | str]]
        try:
            # A dataset is validated when it is loaded; its first row shows that it has any.
            records = list(file_records(Path(path)) if is_file else islice(hub_records(path, None, cfg.data.split), 1))
        except (OSError, ValueError) as error:
            yield f"data.paths: {error}"
            continue
        malformed = [f"line {number}: {record}" for number, record in records if isinstance(record, str)]
        if malformed or not records:
            yield f"data.paths: {path}: {malformed[0] if malformed else 'has no rows'}"


def judge_data(faults: tuple[str, ...]) -> Finding:
    if faults:
        return Finding(ERROR, "; ".join(faults), "correct the data, or choose other files")
    return Finding(OK, "can be read")
