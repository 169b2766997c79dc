"""How large a model is, before it is loaded."""

import json
import math
import re
from pathlib import Path

import huggingface_hub

UNITS = {"B": 10**9, "M": 10**6}


def parameters(source: str) -> int:
    """The number of parameters, from the headers of its files, where they are here, or from its name.

    Raises:
        ValueError: neither says it.
    """
    config = Path(source, "config.json")
    if not config.is_file():
        cached = huggingface_hub.try_to_load_from_cache(source, "config.json")
        config = Path(cached) if isinstance(cached, str) else config
    if files := sorted(config.parent.glob("*.safetensors")):
        return sum(map(count_in, files))
    if size := re.search(r"(\d+(?:\.\d+)?)([BM])(?![a-z])", source.rpartition("/")[2], re.IGNORECASE):
        return int(float(size[1]) * UNITS[size[2].upper()])
    raise ValueError(f"neither the files nor the name of {source} tell its size")


def count_in(file: Path) -> int:
    """Values in a safetensors file: eight bytes hold the length of a JSON header with every tensor's shape."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
