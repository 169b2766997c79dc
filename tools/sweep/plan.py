"""Derive the jobs of a sweep and their names from its command-line overrides."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from conf.launch import one_line
from conf.schema import Config
from report.sweep_results import Job, read_jobs
from run.folder import FREE_KEYS, trains_off_policy

CONF = Path(__file__).resolve().parents[2] / "conf"
# Launchers that are Hydra plugins and not dependencies of this project.
LAUNCHERS = {
    "joblib": "hydra-joblib-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
    "ray": "hydra-ray-launcher",
}


def plan_sweep(overrides: Sequence[str]) -> list[Job]:
    """List the jobs that Hydra's sweeper will create from these overrides, in its order.

    Raises:
        ValueError: the overrides cannot be parsed, nothing varies, a plugin is missing, two jobs have the same name, or
            the baseline is neither part of the sweep nor among the jobs of an earlier start.
    """
    check_launcher(overrides)
    check_name(overrides)
    # Compose only the overrides about the sweep; the others may not compose without the values that vary.
    about_sweep = [text for text in overrides if re.match(r"\+*(sweep[.=]|hydra\.sweeper\.)", text)]
    try:
        with initialize_config_dir(str(CONF), version_base=None):
            cfg = compose("config", about_sweep, return_hydra_config=True)
            listed = dict(cfg.hydra.sweeper.params or {})
            parser = OverridesParser.create(GlobalHydra.instance().config_loader())
            of_file = parser.parse_overrides([f"{k}={v}" for k, v in listed.items()])
            parsed = [*of_file, *parser.parse_overrides(list(overrides))]
            combinations, of_file_alone = (BasicSweeper.split_arguments(each, None)[0] for each in (parsed, of_file))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(one_line(error, Config)) from error
    varied = [o for o in parsed if o.is_sweep_override() or o.get_key_element() in listed]
    if not varied:
        raise ValueError(
            "sweep: no key has several values; name a file of conf/sweep/, or give a key several values, as in seed=0,1"
        )
    if any(o.key_or_group == "run" for o in parsed) or any(o.key_or_group == "sweep" for o in varied):
        raise ValueError(
            "run=NAME and sweep=A,B are not allowed in a sweep, which names its runs itself; choose one sweep, "
            "and name it with sweep.name=NAME"
        )
    keys = list(dict.fromkeys(o.get_key_element() for o in varied))
    chosen = [{key: value for key, value in map(split, combination) if key in keys} for combination in combinations]
    planned = [dict(map(split, combination)) for combination in of_file_alone]  # of which `chosen` may be a part
    name = cfg.sweep.name or "-".join(last_part(key) for key in keys)
    if not re.fullmatch(r"\w[\w.+-]*", name, re.ASCII):
        raise ValueError(f"sweep.name={name}: only letters, digits and ._+- are allowed, since it names a folder")
    baseline = baseline_of(cfg.sweep.baseline, chosen, planned, Path("outputs", "sweeps", name))
    common = dict(split(str(o.input_line)) for o in parsed if o not in varied and affects(o))
    jobs = [Job(name, job_name(varying), variant_name(varying), varying, baseline, common=common) for varying in chosen]
    refuse_clashes(jobs)
    return jobs


def affects(override: Override) -> bool:
    """Whether an override affects the result of a job, rather than where and how it runs."""
    key = override.get_key_element().lstrip("+")
    counted = key in ("num_steps", "num_tokens", "evaluation.num_problems")
    off_policy = trains_off_policy(f"{key}={override.value()}")
    return counted or off_policy or key.split(".")[0] not in (*FREE_KEYS, "hydra")


def split(override: str) -> tuple[str, str]:
    """Split an override into key and value."""
    key, _, value = override.partition("=")
    return key, value


def job_name(overrides: Mapping[str, str]) -> str:
    """Name a job by what varies, as in "dapo-seed1" for algorithm=dapo and seed=1: the value alone for a choice of a
    config group, otherwise the last part of the key and the value."""
    return "-".join(
        tidy(value) if (CONF / key.lstrip("+")).is_dir() else last_part(key) + tidy(value)
        for key, value in overrides.items()
    )


def variant_name(overrides: Mapping[str, str]) -> str:
    """Name a job by everything that varies except the seed."""
    return job_name({key: value for key, value in overrides.items() if key != "seed"}) or "all"


def last_part(key: str) -> str:
    return tidy(key.rsplit(".", maxsplit=1)[-1])


def tidy(text: str) -> str:
    """Replace the characters that a folder name should not have."""
    return re.sub(r"[^\w.+-]+", "_", text.strip("'\"[]{}()+ "), flags=re.ASCII)


def baseline_of(
    text: str | None, chosen: Sequence[Mapping[str, str]], planned: Sequence[Mapping[str, str]], folder: Path
) -> dict[str, str]:
    """The overrides of the baseline.

    text     "algorithm=grpo" or the name of a variant; by default the first variant
    chosen   what varies in each job
    planned  the same of all jobs in the file of the sweep
    folder   of the sweep, in which an earlier start may have run the baseline

    Raises:
        ValueError: the sweep has no such variant.
    """
    variants = [{key: value for key, value in varying.items() if key != "seed"} for varying in chosen]
    if not text:
        return variants[0]
    for variant in variants:
        if text == variant_name(variant):
            return variant
    baseline = dict(map(split, text.split()))

    def is_among(jobs: Iterable[Mapping[str, str]]) -> bool:
        return any(baseline.items() <= varying.items() for varying in jobs)

    started = (folder / "sweep.json").is_file()
    is_known = is_among([*variants, *planned]) or (started and is_among(job.overrides for job in read_jobs(folder)))
    if not is_known or not baseline.keys() <= variants[0].keys():
        names = ", ".join(dict.fromkeys(map(variant_name, variants)))
        raise ValueError(
            f"sweep.baseline={text}: must be a variant of the sweep, one of {names}, or some of its overrides"
        )
    return baseline


def refuse_clashes(jobs: Sequence[Job]) -> None:
    """
    Raises:
        ValueError: two jobs would share a folder.
    """
    name, count = Counter(job.name for job in jobs).most_common(1)[0]
    if count > 1:
        clash = "; ".join(" ".join(f"{k}={v}" for k, v in job.overrides.items()) for job in jobs if job.name == name)
        raise ValueError(f"sweep: {count} jobs would be named {name} ({clash}); give each value once, without brackets")


def check_name(overrides: Sequence[str]) -> None:
    """
    Raises:
        ValueError: conf/sweep/ has no such file. (Hydra itself would ignore it, since the group is optional.)
    """
    known = sorted(path.stem for path in (CONF / "sweep").glob("*.yaml"))
    for key, value in map(split, overrides):
        if key == "sweep" and value not in known:
            raise ValueError(f"sweep={value}: unknown; allowed are {', '.join(known)}, or overrides such as seed=0,1")


def check_launcher(overrides: Sequence[str]) -> None:
    """
    Raises:
        ValueError: the requested launcher is a plugin that is not installed.
    """
    for override in overrides:
        key, value = split(override)
        if key == "hydra/launcher" and (package := LAUNCHERS.get(value)):
            try:
                metadata.distribution(package)
            except metadata.PackageNotFoundError as error:
                install = f".venv/bin/uv pip install --python .venv/bin/python {package}"
                raise ValueError(f"{override}: needs a Hydra plugin; install it with: {install}") from error
