"""The Hugging Face Hub, wandb and the clock. Every request has a time-out."""

import json
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants

from conf.sft import SftConfig, TrainingConfig
from conf.trackers import TrackerConfig
from tools.doctor.facts import DiskSpace, Hub, Reply, Requirements, Source, Unknown
from tools.doctor.findings import ERROR, OK, SKIPPED, WARNING, Finding
from tools.doctor.probe import known, within
from workers.download import is_downloaded

SECONDS = 4.0
DATA_FILES = (".parquet", ".jsonl")
CLOCK = Source("dataset", "openai/gsm8k", "hub")  # requested for its time alone if nothing must be downloaded
MAX_CLOCK_OFFSET_SECONDS = 60.0  # beyond a few minutes, object stores and wandb reject signed requests
FORBIDDEN, MISSING = (401, 403), 404
LOGIN = "request access on the page of the {kind}, then export HF_TOKEN=..."


def hub(cfg: TrainingConfig) -> Hub:
    """Locate each source. The Hub is asked about those that must be downloaded, or otherwise about one dataset, to
    learn its time."""
    sources = sources_of(cfg)
    asked = [source for source in sources if source.location == "hub"] or [CLOCK]
    offline = bool(constants.HF_HUB_OFFLINE)
    replies = (
        {} if offline else {source.name: known(partial(within, SECONDS, partial(ask, source))) for source in asked}
    )
    return Hub(offline, huggingface_hub.get_token() is not None, sources, replies)


def sources_of(cfg: TrainingConfig) -> tuple[Source, ...]:
    """The models and datasets that the run loads."""
    judges = [judge.model for judge in (cfg.reward.judge, cfg.evaluation.judge) if judge.base_url is None]
    models = [cfg.model.source, *(model for model in judges if model)]
    tasks = list(getattr(cfg.env, "parts", {}).values()) or [cfg.env]
    datasets = [name for task in tasks if (name := _data_of(task))]
    if isinstance(cfg, SftConfig):
        datasets += [path for path in cfg.data.paths if Path(path).suffix not in DATA_FILES]
    return tuple([_source("model", name) for name in models] + [_source("dataset", name) for name in datasets])


def _data_of(task: object) -> str | None:
    """The dataset of a task: its `data`, or its `hub` name if it has no `path`."""
    if (data := getattr(task, "data", None)) is not None:
        return str(data)
    return getattr(task, "hub", None) if getattr(task, "path", None) is None else None


def _source(kind: str, name: str) -> Source:
    if Path(name).is_dir() or Path(name).suffix in DATA_FILES:
        return Source(kind, name, "disk")
    if kind == "model":
        cached = is_downloaded(name)
    else:
        folder = Path(constants.HF_HUB_CACHE, f"datasets--{name.replace('/', '--')}", "snapshots")
        cached = folder.is_dir() and any(folder.iterdir())
    return Source(kind, name, "cache" if cached else "hub")


def ask(source: Source) -> Reply:
    """Request the Hub's record of a source. The Date header of the answer gives its time."""
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
    """Connect to host:port.

    Raises:
        OSError: nothing listens there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS):
        pass


def has_wandb_account() -> bool:
    from run.trackers import wandb_run  # importing wandb takes seconds

    return wandb_run.has_account()


def judge_source(source: Source, hub: Hub) -> Finding:
    """Check that the run can load this model or dataset."""
    if source.location != "hub":
        return Finding(OK, f"{source.name} is {'on disk' if source.location == 'disk' else 'in the cache'}")
    saw = f"{source.kind} {source.name} must be downloaded"
    of_data = "env.path=FOLDER, env.data=FILE or data.paths=[FILE]"
    instead = "model.local_path=FOLDER" if source.kind == "model" else of_data
    if hub.offline:
        return Finding(ERROR, f"{saw}, and HF_HUB_OFFLINE is set", f"unset HF_HUB_OFFLINE, or set {instead}")
    reply = hub.replies.get(source.name, Unknown("not asked"))
    if isinstance(reply, Unknown):
        return Finding(
            ERROR, f"{saw}, and the Hub cannot be reached: {reply.why}", f"check the network, or set {instead}"
        )
    if reply.status in FORBIDDEN or (reply.gated and not hub.has_token):
        token = "the token has no access" if hub.has_token else "there is no token"
        return Finding(ERROR, f"{saw}; it is gated, private or missing, and {token}", LOGIN.format(kind=source.kind))
    if reply.status == MISSING:
        return Finding(ERROR, f"{saw}, but the Hub does not have it", f"correct the name, or set {instead}")
    if reply.status != 200:
        return Finding(WARNING, f"{saw}; the Hub answered with status {reply.status}", "try again")
    return Finding(OK, saw + (", with your token" if reply.gated else ""))


def judge_hub_cache(space: DiskSpace, hub: Hub, needed: Requirements) -> Finding:
    wanted = needed.weights * sum(source.kind == "model" and source.location == "hub" for source in hub.sources)
    saw = f"{space.free_gb:.1f} GB free in {space.folder}"
    if not wanted:
        return Finding(OK, f"{saw}, no model must be downloaded")
    if space.free_gb < wanted:
        return Finding(ERROR, f"{saw}, the model takes {wanted:.1f}", "export HF_HOME=/a/larger/disk")
    return Finding(OK, f"{saw}, {wanted:.1f} needed")


def judge_token(hub: Hub) -> Finding:
    if hub.has_token:
        return Finding(OK, "a Hub token is set")
    return Finding(OK, "no Hub token; public models and datasets need none")


def judge_wandb(has_account: bool, tracker: TrackerConfig) -> Finding:
    if has_account:
        return Finding(OK, "an account is configured")
    if tracker.mode == "online":
        return Finding(ERROR, "tracker.mode=online without an account", ".venv/bin/wandb login")
    return Finding(WARNING, "no account: the run is logged offline and can be synced later", ".venv/bin/wandb login")


def judge_clock(hub: Hub) -> Finding:
    """Compare this machine's clock with the Date of the Hub's answers."""
    if hub.offline:
        return Finding(SKIPPED, "cannot be checked: HF_HUB_OFFLINE is set")
    ahead = [r.seconds_ahead for r in hub.replies.values() if isinstance(r, Reply) and r.seconds_ahead is not None]
    if not ahead:
        return Finding(SKIPPED, "cannot be checked: the Hub did not tell the time")
    if abs(ahead[0]) > MAX_CLOCK_OFFSET_SECONDS:
        saw = f"{abs(ahead[0]):.0f} s {'ahead of' if ahead[0] > 0 else 'behind'} the Hub's"
        return Finding(WARNING, saw, "sudo timedatectl set-ntp true")
    return Finding(OK, f"within {MAX_CLOCK_OFFSET_SECONDS:.0f} s of the Hub's")
