"""The Hub, wandb, and clocks."""

from conf.trackers import TrackerConfig
from tools.doctor.facts import Hub, Reply, Source, Space, Unknown
from tools.doctor.findings import ERROR, OK, SKIPPED, WARNING, Finding

MOST_SECONDS_OFF = 60.0  # signed requests to object stores and wandb are refused from some minutes on
FORBIDDEN, MISSING = (401, 403), 404
LOGIN = "export HF_TOKEN=..., after asking for access on the page of the {kind}"


def judge_source(source: Source, hub: Hub) -> Finding:
    """Whether the run will have it."""
    if source.place != "hub":
        return Finding(OK, f"{source.name} is {'on disk' if source.place == 'disk' else 'in the cache'}")
    saw = f"{source.kind} {source.name} must be fetched"
    instead = "model.local_path=FOLDER" if source.kind == "model" else "env.path=FOLDER or env.data=FILE"
    if hub.offline:
        return Finding(ERROR, f"{saw}, and HF_HUB_OFFLINE is set", f"unset HF_HUB_OFFLINE, or give {instead}")
    reply = hub.replies.get(source.name, Unknown("not asked"))
    if isinstance(reply, Unknown):
        return Finding(ERROR, f"{saw}, and the Hub can't be reached: {reply.why}", f"the network, or give {instead}")
    if reply.status in FORBIDDEN or (reply.gated and not hub.has_token):
        token = "the token is not let in" if hub.has_token else "there is no token"
        return Finding(ERROR, f"{saw}; it is gated, private or not there, and {token}", LOGIN.format(kind=source.kind))
    if reply.status == MISSING:
        return Finding(ERROR, f"{saw}, and the Hub has none of that name", f"another name, or give {instead}")
    if reply.status != 200:
        return Finding(WARNING, f"{saw}; the Hub answered with status {reply.status}", "try again")
    return Finding(OK, saw + (", by your token" if reply.gated else ""))


def judge_hub_cache(space: Space, hub: Hub, weights_gb: float) -> Finding:
    wanted = weights_gb * sum(source.kind == "model" and source.place == "hub" for source in hub.sources)
    saw = f"{space.free_gb:.1f} GB free in {space.folder}"
    if not wanted:
        return Finding(OK, f"{saw}, no model must be fetched")
    if space.free_gb < wanted:
        return Finding(ERROR, f"{saw}, the model takes {wanted:.1f}", "export HF_HOME=/a/larger/disk")
    return Finding(OK, f"{saw}, {wanted:.1f} needed")


def judge_token(hub: Hub) -> Finding:
    if hub.has_token:
        return Finding(OK, "the Hub's token is there")
    return Finding(OK, "no token for the Hub; open models and data need none")


def judge_wandb(has_account: bool, tracker: TrackerConfig) -> Finding:
    if has_account:
        return Finding(OK, "an account is there")
    if tracker.mode == "online":
        return Finding(ERROR, "tracker.mode=online without an account", ".venv/bin/wandb login")
    return Finding(WARNING, "no account: the run is kept offline, to be synced later", ".venv/bin/wandb login")


def judge_clock(hub: Hub) -> Finding:
    """This machine's clock against the Date of the Hub's answers."""
    if hub.offline:
        return Finding(SKIPPED, "can't be checked: HF_HUB_OFFLINE is set")
    ahead = [r.seconds_ahead for r in hub.replies.values() if isinstance(r, Reply) and r.seconds_ahead is not None]
    if not ahead:
        return Finding(SKIPPED, "can't be checked: the Hub gave no time")
    return judge_seconds(ahead[0], "the Hub's")


def judge_seconds(ahead: float, whose: str) -> Finding:
    if abs(ahead) > MOST_SECONDS_OFF:
        saw = f"{abs(ahead):.0f} s {'before' if ahead > 0 else 'behind'} {whose}"
        return Finding(WARNING, saw, "sudo timedatectl set-ntp true")
    return Finding(OK, f"within {MOST_SECONDS_OFF:.0f} s of {whose}")
