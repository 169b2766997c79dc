"""Before a GPU is rented: what fits on it, how long a run takes and what it costs.

From the model's config alone; neither a GPU nor the weights are needed. docs/planning.md says how.

    make plan MODEL=qwen-3b GPU=a100-80gb N=2
    python tools/planner/__main__.py --gpu rtx4090 model=qwen-1.5b model.lora.rank=16
"""

import argparse
import json
from dataclasses import asdict

from rich.console import Console

from conf.compose import compose_config
from conf.launch import checking_settings
from tools.planner.choice import choose, make_planner
from tools.planner.hardware import check_count, gpu_named
from tools.planner.report import print_report


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gpu", default="a100-80gb")
    parser.add_argument("-n", "--count", type=int, default=1, help="GPUs of one machine")
    parser.add_argument("--json", action="store_true", help="the chosen plan alone, for a program")
    parser.add_argument("overrides", nargs="*", help="settings, as make train takes them")
    args = parser.parse_args()
    with checking_settings():
        gpu = gpu_named(args.gpu)
        check_count(args.count)
        planner = make_planner(compose_config(args.overrides), gpu, args.count)
    plans = planner.plans()
    chosen = choose(plans)
    if args.json:
        print(json.dumps(asdict(chosen) | {"overrides": planner.overrides(chosen)} if chosen else None))
    else:
        print_report(Console(), planner, plans, chosen, args.overrides)
    if chosen is None:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
