import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.tools.benchmarks.test_floor import SHAPE
from tools.benchmarks.measurement import spread
from tools.benchmarks.tables import BEGIN, END, PAGE, all_tables, limit_cells, markdown, replaced, speed_tables

HEADER = {
    "date": "2026-11-26T18:00:00+00:00",
    "git": {"commit": "0123456789abcdef", "dirty": False},
    "machine": {"cpu": "EPYC", "cores": 2, "memory_gb": 25.0},
    "versions": {"ahazero": {"torch": "2.13.0"}, "trl": {"torch": "2.13.0", "trl": "1.16.0"}},
}
WORKLOAD = {
    "name": "w1",
    "model": "small",
    "num_prompts": 1,
    "group_size": 2,
    "max_completion_tokens": 2,
    "kl_coef": 0.0,
    "natural": False,
    "prompt_tokens": 3,
    "threads": 2,
}


def run(*seconds, generate=1.0):
    """Steps of which one second is generation; 7,776 operations per second make the floor of 15,552 two seconds."""
    steps = [
        {
            "seconds": value,
            "cpu_seconds": 2 * value,
            "tokens": 4,
            "generate": generate,
            "logprobs": 0.0,
            "update": value - generate,
            "weight_sync": 0.0,
        }
        for value in seconds
    ]
    return {"steps": steps, "peak_bytes": 3_000_000_000, "gemm_rate": 7_776.0}


def speed(*rounds):
    return {"benchmark": "speed", "name": "w1", "workload": WORKLOAD, "shape": asdict(SHAPE), "rounds": rounds} | HEADER


def test_a_spread_has_the_median_and_the_extremes():
    assert spread([3.0, 2.0, 10.0]) == "3.00 (2.00-10.00)"
    assert spread([150.4, 160.0]) == "155 (150-160)"
    assert spread([4.0]) == spread([4.0, 4.001]) == "4.00"


def test_markdown_has_a_line_per_row():
    assert markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_the_table_of_a_workload_compares_medians_over_all_rounds():
    text = speed_tables(speed({"ahazero": run(4.0, 6.0), "trl": run(10.0)}, {"trl": run(18.0), "ahazero": run(8.0)}))
    ours, theirs = (next(line for line in text.splitlines() if line.startswith(f"| {name}")) for name in ("Aha", "TRL"))
    assert ours.startswith("| AhaZero | 6.00 (4.00-8.00) | 1.00 | 0.00 | 5.00 (3.00-7.00) | 0.00 | 12.0 (8.0-16.0) |")
    assert theirs.startswith("| TRL | 14.0 (10.0-18.0) |")
    # By round: 10 / 5 and 18 / 8.
    assert "TRL's step / AhaZero's step, by round: 2.12 (2.00-2.25)." in text
    assert "commit 0123456789" in text and "trl 1.16.0" in text


def test_the_floor_and_the_useful_share_follow_from_the_rate():
    # Floor: 4 x 3,888 operations at 7,776 per second. Useful: 3 x 3,888 / 7,776 = 1.5 s of the update's 3 s.
    cells = limit_cells(speed(), [run(4.0)])
    assert cells[1:] == ["2.00", "2.00", "0.50"]


def test_one_side_alone_has_a_table_without_a_ratio():
    text = speed_tables(speed({"ahazero": run(4.0)}))
    assert "TRL" not in text.split("*")[0] and "| AhaZero | 4.00 |" in text


def test_all_results_of_a_folder_become_tables_by_benchmark(tmp_path):
    generation = {"rollout": {"tokens": 50, "seconds": 2.0}, "vLLM alone": {"tokens": 50, "seconds": 1.0}}
    results = [
        speed({"ahazero": run(4.0)}),
        {"benchmark": "generation", "name": "tiny", "workload": {"completions": 5}, "rounds": [generation]} | HEADER,
        {
            "benchmark": "growth",
            "name": "cpu",
            "tables": {
                "length": [{"completions": 8, "length": 64, "vocabulary": 8192, "seconds": [0.512]}],
                "replicas": [{"replicas": 2, "steps": [{"seconds": 3.0, "generate": 1.5, "weight_sync": 0.25}]}],
            },
        }
        | HEADER,
    ]
    for result in results:
        (tmp_path / f"{result['benchmark']}.json").write_text(json.dumps(result))
    text = all_tables(tmp_path)
    assert text.index("### w1") < text.index("### Generation") < text.index("### Growth")
    assert "| rollout | 2.00 | 25.0 | 2.00 |" in text
    assert "| 8 | 64 | 8,192 | 0.51 | 1,000 |" in text
    assert "| 2 | 1.50 | 0.25 | 3.00 |" in text


def test_the_tables_replace_what_is_between_the_comments():
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replaced(page, "new") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert replaced(replaced(page, "other"), "new") == replaced(page, "new")
    with pytest.raises(ValueError, match="must contain the lines"):
        replaced("before", "new")


def test_the_page_has_the_comments():
    text = Path(PAGE).read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index(END)
