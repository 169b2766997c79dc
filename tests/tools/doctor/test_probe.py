import sys
import time

from tests.tools.doctor.made_facts import NEEDED
from tools.doctor.facts import Unknown
from tools.doctor.findings import Finding, check
from tools.doctor.host import judge_memory
from tools.doctor.probe import known, output_of, within


def test_a_check_of_an_unknown_fact_is_skipped_with_the_reason():
    name, found = check("memory", judge_memory, Unknown("there is no nvidia-smi here"), NEEDED)
    assert (name, found) == ("memory", Finding("skipped", "cannot be checked: there is no nvidia-smi here"))


def test_a_failing_probe_gives_an_unknown_fact_with_its_message():
    assert known(lambda: output_of(["no-such-tool"], 1)) == Unknown("there is no no-such-tool here")
    failed = known(lambda: output_of([sys.executable, "-c", "raise SystemExit('broken')"], 20))
    assert isinstance(failed, Unknown) and failed.why.endswith("failed: broken")
    slow = known(lambda: within(0.05, lambda: time.sleep(1)))
    assert slow == Unknown("no answer within 0 s", timed_out=True)
