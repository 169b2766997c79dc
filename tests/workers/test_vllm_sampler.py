import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers.rollout import VLLM_CPU_ENVIRONMENT, VLLM_ENVIRONMENT

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_vllm_agrees_with_transformers():
    """For greedy decoding, top-k, top-p, stop strings and prefixes."""
    command = [sys.executable, "-m", "tests.workers.vllm_against_transformers"]
    environment = os.environ | VLLM_ENVIRONMENT | VLLM_CPU_ENVIRONMENT | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("vLLM agrees with transformers\n"), done.stderr
