import pytest

from tests.fake_nvidia_smi import HOLDER, install, saying, two_gpus
from workers.nvidia import Holder, driver, read_driver, visible_gpus

XORG = "GPU-5a1c9e2e-0a3f-7c46-9f7e-6f6b8a0a5f10, 4243, [N/A], /usr/bin/Xorg"
# The line has another form since driver 590.
NEW_BANNER = "| NVIDIA-SMI 610.57.04              KMD Version: 610.57.04     CUDA UMD Version: 13.3     |\n"
ONE_GPU = "0, GPU-5a1c9e2e, 610.57.04, 24564, 1, 8.9, NVIDIA GeForce RTX 4090\n"


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Installs this script as nvidia-smi."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def on_path(script):
        monkeypatch.setenv("PATH", install(tmp_path / "bin", script))

    return on_path


def test_the_output_of_nvidia_smi_is_parsed(nvidia_smi):
    nvidia_smi(two_gpus(free=4000, holders=f"{HOLDER}, really\n{XORG}"))
    found = driver()
    assert (found.version, found.cuda, len(found.gpus)) == ("580.95.05", (13, 0), 2)
    first = found.gpus[0]
    assert (first.name, first.capability) == ("NVIDIA GeForce RTX 4090", (8, 9))
    assert first.total_gb == pytest.approx(24564 / 1024) and first.free_gb == pytest.approx(4000 / 1024)
    assert first.holders == (Holder(4242, "python3, really", 20.0), Holder(4243, "Xorg", None))
    assert found.gpus[1].holders == ()
    assert read_driver(NEW_BANNER, ONE_GPU, "").cuda == (13, 3)


def test_output_in_an_unknown_format_is_rejected():
    with pytest.raises(ValueError, match="names no CUDA version"):
        read_driver("NVIDIA-SMI", ONE_GPU, "")
    with pytest.raises(ValueError, match="lists no GPU"):
        read_driver(NEW_BANNER, "No devices were found\n", "")


def test_an_nvidia_smi_without_a_gpu_is_quoted_and_means_no_gpu(nvidia_smi):
    nvidia_smi(saying("No devices were found", 6))
    with pytest.raises(OSError, match="nvidia-smi failed: No devices were found"):
        driver()
    assert visible_gpus() == []


@pytest.mark.parametrize(
    ("value", "indexes"), [("1", [1]), ("1,0", [1, 0]), ("GPU-77b0f1de", [1]), ("", []), ("-1", [])]
)
def test_cuda_visible_devices_names_gpus_by_index_or_uuid(nvidia_smi, monkeypatch, value, indexes):
    nvidia_smi(two_gpus())
    assert [gpu.index for gpu in visible_gpus()] == [0, 1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert [gpu.index for gpu in visible_gpus()] == indexes
