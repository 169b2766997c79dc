import pytest

from tools.doctor import software
from tools.doctor.facts import Packages, Torch, Unknown
from tools.doctor.software import judge_packages, judge_python, judge_torch, judge_vllm


@pytest.mark.parametrize(("version", "level"), [((3, 10, 4), "error"), ((3, 11, 0), "ok"), ((3, 15, 0), "error")])
def test_unsupported_versions_of_python_are_errors(version, level):
    assert judge_python(version).level == level


def test_packages_that_differ_from_the_lock_are_named(tmp_path):
    lock = tmp_path / "requirements.txt"
    lock.write_text(
        "# made by uv\nPyYAML==0.1 \\\n    --hash=sha256:ab\nnot-there==1.0\nwin==2 ; sys_platform == 'win32'\n"
    )
    found = software.packages(lock)
    assert found.count == 2 and found.wrong[1] == "not-there is missing, locked 1.0"
    assert found.wrong[0].startswith("PyYAML ") and found.wrong[0].endswith(", locked 0.1")
    assert judge_packages(found).level == "warning"
    assert judge_packages(Packages("requirements.txt", 200, ())).level == "ok"


def test_a_failing_import_is_an_error_and_a_slow_one_a_warning():
    assert judge_torch(Unknown("libcudart.so.13: cannot open"), None, "auto").level == "error"
    assert judge_vllm(Unknown("no answer within 60 s", timed_out=True), "vllm", False).level == "warning"
    assert judge_vllm(Unknown("undefined symbol"), "transformers", False).level == "warning"


def test_a_cuda_build_of_torch_is_fine_for_a_run_on_the_cpu():
    assert judge_torch(Torch("2.13.0+cu130", "13.0", (), 0), None, "cpu").level == "ok"
