"""Rebuild a tiny base model from its seeds: write its corpus, train it with train_sft.py, and measure its skills.

    python -m tools.tiny_base tiny-direct

Everything is written to outputs/<name>-base/. Hydra overrides of train_sft.py may follow the name.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from tools.countdown_rows import write_rows
from tools.tiny_base.bases import BASES, Base, Stage
from tools.tiny_base.skills import check_skills
from workers.checkpoint import list_checkpoints

ROOT = Path(__file__).resolve().parent.parent.parent
LONGEST_ROW = 512  # tokens, as many as the models have positions


def write_blank(folder: Path, base: Base) -> Path:
    """Write the untrained model and its tokenizer, and return their folder."""
    base.tokenizer().save_pretrained(folder)
    base.blank_model().save_pretrained(folder)
    return folder


def train_settings(stage: Stage, run: str, start: Path, corpus: Path) -> list[str]:
    """The Hydra overrides with which train_sft.py trains a stage from the model in `start`."""
    return [
        f"run={run}",
        f"model.path={start}",
        f"data.paths=[{corpus}]",
        f"data.max_tokens={LONGEST_ROW}",
        "batch_tokens=3000",  # about 64 examples
        "micro_batch_tokens=3000",
        f"optimizer.lr={stage.lr}",
        f"optimizer.warmup_steps={stage.warmup_steps}",
        "optimizer.beta2=0.99",
        "checkpoint.every=1000",
        "rollout.backend=transformers",  # nothing is generated, and it starts faster than vLLM
    ]


def train_stage(name: str, index: int, start: Path, overrides: list[str]) -> Path:
    """Train a stage of the base `name` from the model in `start`; return the folder of the trained model.

    Raises:
        subprocess.CalledProcessError: train_sft.py failed.
    """
    outputs, run = ROOT / "outputs", f"{name}-base/{index + 1}"
    corpus = write_rows(outputs / f"{name}-base" / f"corpus-{index + 1}", BASES[name].corpus(index))
    settings = train_settings(BASES[name].stages[index], run, start, corpus)
    subprocess.run([sys.executable, "train_sft.py", *settings, *overrides], cwd=ROOT, check=True)
    return list_checkpoints(outputs / run / "checkpoints")[-1] / "hf"


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m tools.tiny_base", description=__doc__, formatter_class=raw)
    parser.add_argument("name", choices=BASES)
    parser.add_argument("overrides", nargs="*", help="Hydra overrides of train_sft.py")
    args = parser.parse_args()
    model = write_blank(ROOT / "outputs" / f"{args.name}-base" / "blank", BASES[args.name])
    for index in range(len(BASES[args.name].stages)):
        model = train_stage(args.name, index, model, args.overrides)
    check_skills(args.name, str(model))
    print(f"to ship it, copy the files of {model}")


if __name__ == "__main__":
    main()
