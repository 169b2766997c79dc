"""Downloads from a Hub on this machine."""

import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub.constants import DOWNLOAD_CHUNK_SIZE

from tests.loopback_hub import Hub, serving

ROOT = Path(__file__).parent.parent.parent
MODEL = "lab/model"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
FILES = {"config.json": b"{}", FIRST: bytes(200_000), SECOND: bytes(range(256)) * 120_000}
DOWNLOAD = """
import sys
from conf.launch import checking_settings
from workers.download import SETTINGS, WEIGHTS, download, is_downloaded
with checking_settings():
    print(download(sys.argv[1], SETTINGS + WEIGHTS))
assert is_downloaded(sys.argv[1])
"""


@pytest.fixture
def hub():
    with serving(Hub(MODEL, FILES)) as running:
        yield running


def start(hub: Hub, home: Path, source: str = MODEL, **variables: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", DOWNLOAD, source]
    environment = hub.environment(home, **variables)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def refusal(done: subprocess.CompletedProcess) -> str:
    """The error of a start that was refused in one line; libraries may warn before it."""
    assert done.returncode == 2, done.stdout + done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def test_a_connection_that_breaks_is_opened_again_where_it_was(hub, tmp_path):
    hub.cut = {SECOND}
    done = start(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [first for name, first in hub.fetched if name == SECOND] == [0, DOWNLOAD_CHUNK_SIZE]
    folder = Path(done.stdout.strip())
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES


def test_a_download_that_stopped_says_what_to_do_and_goes_on_with_the_missing_files(hub, tmp_path):
    hub.broken = {SECOND}
    message = refusal(start(hub, tmp_path))
    assert message.startswith(f"the download of model.path={MODEL} stopped (") and "503" in message
    assert message.endswith("run the same command again, which keeps the files that are complete")
    hub.broken, hub.fetched = set(), []
    assert start(hub, tmp_path).returncode == 0
    assert hub.fetched == [(SECOND, 0)]


def test_a_gated_model_names_its_licence_and_the_token(hub, tmp_path):
    hub.gated = True
    message = refusal(start(hub, tmp_path))
    assert message == (
        f"model.path={MODEL} is gated, and there is no Hub token; accept its licence at {hub.url}/{MODEL}, then "
        f"export HF_TOKEN=... ({hub.url}/settings/tokens)"
    )
    assert "your Hub token has no access to it; accept" in refusal(start(hub, tmp_path, HF_TOKEN="hf_other"))
    hub.accepted = ("hf_mine",)
    assert start(hub, tmp_path, HF_TOKEN="hf_mine").returncode == 0


def test_a_model_that_the_hub_does_not_have_is_named(hub, tmp_path):
    message = refusal(start(hub, tmp_path, "lab/modle"))
    assert message.startswith("model.path=lab/modle is neither a folder with a config.json nor a public model")


def test_without_network_a_complete_model_is_used_and_an_incomplete_one_is_refused(hub, tmp_path):
    offline = {"HF_HUB_OFFLINE": "1"}
    assert "and HF_HUB_OFFLINE is set" in refusal(start(hub, tmp_path, **offline))
    hub.broken = {SECOND}
    start(hub, tmp_path)
    assert "and HF_HUB_OFFLINE is set" in refusal(start(hub, tmp_path, **offline))
    hub.broken = set()
    start(hub, tmp_path)
    assert start(hub, tmp_path, **offline).returncode == 0
