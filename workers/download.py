"""Download models from the Hugging Face Hub before a run starts its processes.

The processes could download a model themselves, but only within `topology.timeout_s`, and a worker would report errors.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from huggingface_hub import constants, get_token, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
)

SETTINGS = ("*.json", "*.jinja", "*.model", "*.txt")  # the config and the tokenizer
WEIGHTS = ("*.safetensors",)
DUPLICATES = ["original/*", "consolidated*"]  # the weights once more, in the format of their authors


def download(source: str, patterns: Sequence[str]) -> Path:
    """The folder of a model with the files that match a pattern: `source` itself, or the cache of the Hub, to which
    they are downloaded. A connection that breaks is opened again, and the download continues where it was. If it fails,
    the files that are complete are kept.

    Raises:
        ValueError: the model does not exist, is gated, or cannot be downloaded.
    """
    if (folder := Path(source)).is_dir():
        return folder
    try:
        return Path(snapshot_download(source, allow_patterns=list(patterns), ignore_patterns=DUPLICATES))
    except (HTTPError, OSError, HFValidationError) as error:
        raise ValueError(explanation(source, error)) from error


def is_downloaded(source: str) -> bool:
    """Whether all files of a model are in the cache of the Hub."""
    patterns = [*SETTINGS, *WEIGHTS]
    try:
        folder = snapshot_download(source, allow_patterns=patterns, ignore_patterns=DUPLICATES, local_files_only=True)
    except (OSError, HFValidationError):
        return False
    return any(Path(folder).glob("*.safetensors"))


def explanation(source: str, error: Exception) -> str:
    """What a failed download means and what to do, in one line."""
    model, token = f"model.path={source}", f"export HF_TOKEN=... ({constants.ENDPOINT}/settings/tokens)"
    causes = list(_causes(error))
    refusal = next((each for each in causes if isinstance(each, HfHubHTTPError)), None)
    status = refusal.response.status_code if refusal is not None else None
    if status == 403 or isinstance(refusal, GatedRepoError):
        lacks = "your Hub token has no access to it" if get_token() else "there is no Hub token"
        return f"{model} is gated, and {lacks}; accept its licence at {constants.ENDPOINT}/{source}, then {token}"
    if status == 401 and not isinstance(refusal, RepositoryNotFoundError):
        return f"the Hub rejects your token, with which {model} was requested; {token}"
    if status in (401, 404) or isinstance(error, HFValidationError):
        return f"{model} is neither a folder with a config.json nor a public model of the Hub; correct it, or {token}"
    if any(_is_full(each) for each in causes):
        return f"{model} does not fit into the Hub cache; free disk space, or export HF_HOME=/a/larger/disk"
    if constants.HF_HUB_OFFLINE:
        return f"{model} is not in the Hub cache, and HF_HUB_OFFLINE is set; unset it, or set model.local_path=FOLDER"
    reason = " ".join(f"{type(causes[-1]).__name__}: {causes[-1]}".split())[:200]
    return (
        f"the download of {model} stopped ({reason}); check the network and run the same command again, which keeps "
        "the files that are complete"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__


def _is_full(error: BaseException) -> bool:
    return any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT))
