"""The jobs of a sweep, and what they are called, from the overrides that it is started with."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from conf.launch import one_line
from conf.schema import Config

CONF = Path(__file__).resolve().parent
# Launchers that are plugins of Hydra, and no dependency of this project.
LAUNCHERS = {
    "joblib": "hydra-joblib-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
    "ray": "hydra-ray-launcher",
}


@dataclass(frozen=True)
class PlannedJob:
    """overrides: what varies within the sweep, key to value; variant: the name of all of that but the
    seed; baseline: the overrides that turn a job into the one it is compared with."""

    sweep: str
    name: str
    variant: str
    overrides: dict[str, str]
    baseline: dict[str, str]


def plan_sweep(overrides: Sequence[str]) -> list[PlannedJob]:
    """The jobs that Hydra's sweeper will make of these overrides, in its order.

    Raises:
        ValueError: they do not parse, nothing varies, a plugin is missing, names or the baseline do not fit.
    """
    check_launcher(overrides)
    check_name(overrides)
    # Only what says how to sweep: the rest need not compose without the values that vary.
    about_sweep = [text for text in overrides if re.match(r"\+*(sweep[.=]|hydra\.sweeper\.)", text)]
    try:
        with initialize_config_dir(str(CONF), version_base=None):
            cfg = compose("config", about_sweep, return_hydra_config=True)
            listed = dict(cfg.hydra.sweeper.params or {})
            parser = OverridesParser.create(GlobalHydra.instance().config_loader())
            parsed = parser.parse_overrides([*(f"{k}={v}" for k, v in listed.items()), *overrides])
            combinations = BasicSweeper.split_arguments(parsed, None)[0]
    except OverrideParseException as error:
        raise ValueError(
            f"{error.override}: not an override of Hydra; quote a value with other signs, as key='a=b'"
        ) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(one_line(error, Config)) from error
    varied = [one for one in parsed if one.is_sweep_override() or one.get_key_element() in listed]
    if not varied:
        raise ValueError("sweep: nothing varies; give a name of conf/sweep/, or a key with values as seed=0,1")
    if any(one.key_or_group == "run" for one in parsed) or any(one.key_or_group == "sweep" for one in varied):
        raise ValueError(
            "run= and sweep=A,B: a sweep names its runs itself; give one sweep, with sweep.name=NAME if need be"
        )
    keys = list(dict.fromkeys(one.get_key_element() for one in varied))
    chosen = [{key: value for key, value in map(split, one) if key in keys} for one in combinations]
    name = cfg.sweep.name or "-".join(last_part(key) for key in keys)
    if not re.fullmatch(r"\w[\w.+-]*", name, re.ASCII):
        raise ValueError(f"sweep.name={name}: may hold letters, digits and ._+- alone, for it names a folder")
    baseline = baseline_of(cfg.sweep.baseline, chosen)
    jobs = [PlannedJob(name, job_name(one), variant_name(one), one, baseline) for one in chosen]
    refuse_clashes(jobs)
    return jobs


def split(override: str) -> tuple[str, str]:
    """Key and value."""
    key, _, value = override.partition("=")
    return key, value


def job_name(overrides: Mapping[str, str]) -> str:
    """ "dapo-seed1" of algorithm=dapo and seed=1: a choice of a config group names itself, another
    value comes after the last part of its key."""
    return "-".join(
        tidy(value) if (CONF / key.lstrip("+")).is_dir() else last_part(key) + tidy(value)
        for key, value in overrides.items()
    )


def variant_name(overrides: Mapping[str, str]) -> str:
    """The name of all that varies but the seed."""
    return job_name({key: value for key, value in overrides.items() if key != "seed"}) or "all"


def last_part(key: str) -> str:
    return tidy(key.rsplit(".", maxsplit=1)[-1])


def tidy(text: str) -> str:
    """What a folder may be called."""
    return re.sub(r"[^\w.+-]+", "_", text.strip("'\"[]{}()+ "), flags=re.ASCII)


def baseline_of(text: str | None, chosen: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The overrides of the baseline, given as "algorithm=grpo" or by a variant's name; the first
    variant where none is given.

    Raises:
        ValueError: it is none of this sweep.
    """
    variants = [{key: value for key, value in one.items() if key != "seed"} for one in chosen]
    if not text:
        return variants[0]
    for variant in variants:
        if text == variant_name(variant):
            return variant
    baseline = dict(map(split, text.split()))
    if not baseline.keys() <= variants[0].keys():
        names = ", ".join(dict.fromkeys(map(variant_name, variants)))
        raise ValueError(f"sweep.baseline={text}: must be a variant of the sweep, one of {names}")
    return baseline


def refuse_clashes(jobs: Sequence[PlannedJob]) -> None:
    """
    Raises:
        ValueError: two jobs would share a folder.
    """
    name, count = Counter(job.name for job in jobs).most_common(1)[0]
    if count > 1:
        clash = "; ".join(" ".join(f"{k}={v}" for k, v in job.overrides.items()) for job in jobs if job.name == name)
        raise ValueError(f"sweep: {count} jobs would be named {name} ({clash}); give each value once, and plain ones")


def check_name(overrides: Sequence[str]) -> None:
    """
    Raises:
        ValueError: conf/sweep/ has no such file (which Hydra would pass over, for the group is optional).
    """
    known = sorted(path.stem for path in (CONF / "sweep").glob("*.yaml"))
    for key, value in map(split, overrides):
        if key == "sweep" and value not in known:
            raise ValueError(f"sweep={value}: unknown; allowed are {', '.join(known)}, or give overrides as seed=0,1")


def check_launcher(overrides: Sequence[str]) -> None:
    """
    Raises:
        ValueError: the launcher asked for is a plugin that is not installed.
    """
    for override in overrides:
        key, value = split(override)
        if key == "hydra/launcher" and (package := LAUNCHERS.get(value)):
            try:
                metadata.distribution(package)
            except metadata.PackageNotFoundError as error:
                install = f".venv/bin/uv pip install --python .venv/bin/python {package}"
                raise ValueError(f"{override}: needs a plugin of Hydra; install it by: {install}") from error
