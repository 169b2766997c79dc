"""A learned verifier: a value head that predicts whether a completion leads to the correct answer.

This is the verifier of Cobbe et al. (arXiv 2110.14168, section 4), used as the outcome reward model of Lightman et al.
(arXiv 2305.20050). The final outcome is predicted at every token of a completion, so that a partial completion can be
scored; the score is the prediction at the last token. Unlike in Cobbe et al., the loss is cross-entropy, not squared
error, and there is no auxiliary language-modelling loss.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils.rnn import pad_sequence

from conf.strategies import FromRunConfig
from conf.workers import ModelConfig
from grpo.types import Chat
from run.files import read_json
from workers.checkpoint import sha256_of, write_atomically
from workers.models import load_config, load_model, load_tokenizer
from workers.tokenization import encode

MAX_BATCH_TOKENS = 8192  # of one forward pass without gradient, padding included
HEAD, BACKBONE, METADATA = "head.safetensors", "backbone.safetensors", "verifier.json"
TokenIds = Sequence[int]


def value_head(hidden_size: int) -> torch.nn.Module:
    """Return a float32 module that maps hidden states [..., H] to the logit [..., 1] of a correct final answer."""
    return torch.nn.Sequential(
        torch.nn.LayerNorm(hidden_size),
        torch.nn.Linear(hidden_size, hidden_size),
        torch.nn.GELU(),
        torch.nn.Linear(hidden_size, 1),
    )


class OutcomeVerifier:
    """A backbone, that is, a model without its output layer, and a value head on its last hidden states."""

    def __init__(self, model: ModelConfig, device: str, trains_backbone: bool, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.device, self.trains_backbone = torch.device(device), trains_backbone
        self.dtype: torch.dtype = getattr(torch, model.dtype)
        self.tokenizer = load_tokenizer(model.source)
        # As in the actor, trained weights are float32 and the computation uses the model's own dtype.
        weights_dtype = "float32" if trains_backbone else model.dtype
        self.backbone = load_model(model.source, weights_dtype).get_decoder().to(self.device)
        self.backbone.requires_grad_(trains_backbone)
        self.head = value_head(self.backbone.config.hidden_size).to(self.device)

    def logits(self, prompts: Sequence[TokenIds], completions: Sequence[TokenIds]) -> tuple[Tensor, Tensor]:
        """Return the logit after each token, float [B, L], and a mask of the completion tokens, bool [B, L].

        L is the longest prompt + completion. Padding is on the right, where causal attention does not reach it.
        """
        rows = [torch.tensor([*prompt, *ids]) for prompt, ids in zip(prompts, completions, strict=True)]
        input_ids = pad_sequence(rows, batch_first=True).to(self.device)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            hidden = self.backbone(input_ids=input_ids, use_cache=False).last_hidden_state
        logits = self.head(hidden.float()).squeeze(-1)
        position = torch.arange(input_ids.shape[1], device=self.device)
        begin = torch.tensor([len(prompt) for prompt in prompts], device=self.device)[:, None]
        end = torch.tensor([len(row) for row in rows], device=self.device)[:, None]
        return logits, (position >= begin) & (position < end)

    def score(self, prefixes: Sequence[tuple[str | Chat, tuple[int, ...]]]) -> list[float]:
        """Return the probability, 0..1, that each (prompt, completion so far) ends in the correct answer."""
        return self.score_ids([encode(self.tokenizer, prompt) for prompt, _ in prefixes], [ids for _, ids in prefixes])

    @torch.no_grad()
    def score_ids(self, prompts: Sequence[TokenIds], completions: Sequence[TokenIds]) -> list[float]:
        """`score` for prompts given as token ids."""
        lengths = torch.tensor([len(a) + len(b) for a, b in zip(prompts, completions, strict=True)])
        scores = torch.zeros(len(lengths))
        for index in rows_within(lengths, MAX_BATCH_TOKENS):
            rows = index.tolist()
            logits, _ = self.logits([prompts[row] for row in rows], [completions[row] for row in rows])
            last = logits.gather(1, lengths[index, None].to(self.device) - 1)
            scores[index] = last.squeeze(1).sigmoid().cpu()
        return scores.tolist()

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Return the trained weights, file name -> state dict; copies on the CPU."""
        parts: dict[str, torch.nn.Module] = {HEAD: self.head}
        if self.trains_backbone:
            parts[BACKBONE] = self.backbone
        return {
            name: {key: value.detach().to("cpu", copy=True) for key, value in part.state_dict().items()}
            for name, part in parts.items()
        }

    def set_state(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        self.head.load_state_dict(state[HEAD])
        if self.trains_backbone:
            self.backbone.load_state_dict(state[BACKBONE])

    def save(self, folder: Path, model: ModelConfig, metadata: Mapping[str, Any]) -> None:
        """Write the folder atomically; `metadata` becomes part of verifier.json."""

        def write(temporary: Path) -> None:
            for name, tensors in self.state().items():
                save_file(tensors, temporary / name)
            base = {"source": model.source, "weights": fingerprint(model.source)}
            content = {"model": base, "trains_backbone": self.trains_backbone, **metadata}
            (temporary / METADATA).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

        write_atomically(folder, write)

    @classmethod
    def load(cls, folder: Path, model: ModelConfig, device: str) -> "OutcomeVerifier":
        """Load the verifier that `save` wrote for this model."""
        verifier = cls(model, device, _read_metadata(folder)["trains_backbone"])
        names = [HEAD, BACKBONE] if verifier.trains_backbone else [HEAD]
        verifier.set_state({name: load_file(folder / name) for name in names})
        return verifier


def outcome_loss(logits: Tensor, is_completion: Tensor, right: Tensor) -> Tensor:
    """Return the mean cross-entropy of the final outcome over completion tokens, a scalar.

    logits         [B, L], the logit after each token
    is_completion  bool [B, L], the mask of the completion tokens
    right          float [B], 1 for a correct completion, 0 for a wrong one
    """
    targets = right[:, None].expand(logits.shape)
    return binary_cross_entropy_with_logits(logits[is_completion], targets[is_completion])


def fingerprint(source: str) -> str:
    """Identify the weights of a model: a sha256 over the weight files of a folder, or the commit of a Hub model."""
    if not Path(source).is_dir():
        return str(load_config(source)._commit_hash)
    files = sorted(path for path in Path(source).iterdir() if path.suffix in (".safetensors", ".bin"))
    return hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()


def verifier_id(folder: Path) -> str:
    """Identify a verifier by the sha256 of its head."""
    return sha256_of(folder / HEAD)


def check_verifier(folder: Path, cfg: FromRunConfig) -> None:
    """Check that the folder has a verifier for the model of the settings, before any process starts.

    Raises:
        ValueError: the folder has no verifier, or it was trained for other weights.
    """
    model = f"RUN={cfg.run}" if cfg.run else f"MODEL={cfg.model.name} ENV={cfg.env.name}"
    command = f"make verifier {model}" + (f" CKPT={cfg.ckpt}" if cfg.ckpt else "")
    if not (folder / METADATA).is_file():
        raise ValueError(f"strategy.verifier=learned: no verifier in {folder}; train one with `{command}`")
    trained = _read_metadata(folder)["model"]
    if trained["weights"] != (found := fingerprint(cfg.model.source)):
        raise ValueError(
            f"strategy.verifier=learned: {folder} was trained for {trained['source']} (weights "
            f"{trained['weights'][:12]}), but the model is {cfg.model.source} ({found[:12]}); "
            f"train one with `{command}`"
        )


def _read_metadata(folder: Path) -> dict[str, Any]:
    return read_json(folder / METADATA, "train the verifier again with make verifier", ("model", "trains_backbone"))


def rows_within(lengths: Tensor, max_tokens: int) -> list[Tensor]:
    """Indexes of rows with these lengths, shortest first, in parts of at most `max_tokens` padded tokens. A longer row
    is a part of its own."""
    order = lengths.argsort(stable=True)
    parts, start = [], 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end + 1 - start) * int(lengths[order[end]]) <= max_tokens:
            end += 1
        parts.append(order[start:end])
        start = end
    return parts
