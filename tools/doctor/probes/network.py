"""The Hub, what of it is on this disk, and the port of a cluster. Every question has a time-out."""

import json
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants

from conf.schema import Config
from tools.doctor.facts import Hub, Reply, Source
from tools.doctor.probes import known, within

SECONDS = 4.0
DATA_FILES = (".parquet", ".jsonl")
CLOCK = Source("dataset", "openai/gsm8k", "hub")  # asked where nothing else is, for the time alone


def hub(cfg: Config) -> Hub:
    """Where each source is; the Hub is asked for those that must be fetched, or else, for its clock, for one."""
    sources = sources_of(cfg)
    asked = [source for source in sources if source.place == "hub"] or [CLOCK]
    offline = bool(constants.HF_HUB_OFFLINE)
    replies = {} if offline else {one.name: known(partial(within, SECONDS, partial(ask, one))) for one in asked}
    return Hub(offline, huggingface_hub.get_token() is not None, sources, replies)


def sources_of(cfg: Config) -> tuple[Source, ...]:
    """The models and data sets that the run loads."""
    judges = [judge.model for judge in (cfg.reward.judge, cfg.evaluation.judge) if judge.base_url is None]
    models = [cfg.model.source, *(model for model in judges if model)]
    tasks = list(getattr(cfg.env, "parts", {}).values()) or [cfg.env]
    datasets = [name for task in tasks if (name := _data_of(task))]
    return tuple([_source("model", name) for name in models] + [_source("dataset", name) for name in datasets])


def _data_of(task: Any) -> str | None:
    """A task names its data as `data`, or as `hub` where it has no `path`."""
    if (data := getattr(task, "data", None)) is not None:
        return str(data)
    return getattr(task, "hub", None) if getattr(task, "path", None) is None else None


def _source(kind: str, name: str) -> Source:
    if Path(name).is_dir() or Path(name).suffix in DATA_FILES:
        return Source(kind, name, "disk")
    if kind == "model":
        files = ("model.safetensors", "model.safetensors.index.json")
        cached = any(isinstance(huggingface_hub.try_to_load_from_cache(name, file), str) for file in files)
    else:
        folder = Path(constants.HF_HUB_CACHE, f"datasets--{name.replace('/', '--')}", "snapshots")
        cached = folder.is_dir() and any(folder.iterdir())
    return Source(kind, name, "cache" if cached else "hub")


def ask(source: Source) -> Reply:
    """The Hub's record of a source, whose Date tells its clock."""
    request = urllib.request.Request(f"{constants.ENDPOINT}/api/{source.kind}s/{urllib.parse.quote(source.name)}")
    if token := huggingface_hub.get_token():
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return Reply(answer.status, bool(json.load(answer).get("gated")), _ahead(answer.headers["Date"]))
    except urllib.error.HTTPError as error:
        return Reply(error.code, False, _ahead(error.headers["Date"]))


def _ahead(date: str | None) -> float | None:
    return None if date is None else time.time() - parsedate_to_datetime(date).timestamp()


def check_port(address: str) -> None:
    """Whether something listens at host:port.

    Raises:
        OSError: nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS):
        pass


def has_wandb_account() -> bool:
    from run.trackers import wandb_run  # wandb takes seconds to import, and only its users should wait

    return wandb_run.has_account()
