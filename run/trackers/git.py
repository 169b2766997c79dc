"""Which commit of the code a run was made by."""

import subprocess
from pathlib import Path
from typing import Any


def git_commit(folder: Path) -> dict[str, Any] | None:
    """{"commit": the hash, "dirty": whether tracked files differ from it} of the checkout that holds
    `folder`; None where there is no checkout or no git."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
