"""A learned verifier: how likely a completion leads to the right answer, by a value head on the model that wrote it.

After Cobbe et al. (arXiv 2110.14168, section 4), as the outcome reward model of Lightman et al. (arXiv 2305.20050):
every token of a completion is asked for the final outcome, so that half a completion can be scored too, and the
score is that of the last token. Where this differs: the loss is cross-entropy, not squared error, and there is no
language-modelling loss beside it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from grpo.batching import rows_within
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig

from conf.schema import ModelConfig
from conf.strategies import OfRunConfig
from grpo.types import Chat
from workers.checkpoint import sha256_of, write_atomically
from workers.models import encode, load_model, load_tokenizer

SCORED_TOGETHER = 8192  # tokens of one forward pass, padding included
HEAD, BACKBONE, ABOUT = "head.safetensors", "backbone.safetensors", "verifier.json"
Ids = Sequence[int]


def value_head(hidden_size: int) -> torch.nn.Module:
    """From a hidden state [..., H] to the logit [..., 1] of "this ends in the right answer". It is float32."""
    return torch.nn.Sequential(
        torch.nn.LayerNorm(hidden_size),
        torch.nn.Linear(hidden_size, hidden_size),
        torch.nn.GELU(),
        torch.nn.Linear(hidden_size, 1),
    )


class OutcomeVerifier:
    """A model without its output layer, the backbone, and a value head on its last hidden states."""

    def __init__(self, model: ModelConfig, device: str, trains_backbone: bool, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.device, self.trains_backbone = torch.device(device), trains_backbone
        self.dtype: torch.dtype = getattr(torch, model.dtype)
        self.tokenizer = load_tokenizer(model.source)
        # As in the actor, what trains is float32, and the computation is in the model's own type.
        weights_dtype = "float32" if trains_backbone else model.dtype
        self.backbone = load_model(model.source, weights_dtype, model.attn_implementation).get_decoder().to(self.device)
        self.backbone.requires_grad_(trains_backbone)
        self.head = value_head(self.backbone.config.hidden_size).to(self.device)

    def logits(self, prompts: Sequence[Ids], completions: Sequence[Ids]) -> tuple[Tensor, Tensor]:
        """A logit after each token, and which tokens are the completion's: float [B, L] and bool [B, L], L the
        longest prompt + completion. Padding lies on the right, where causal attention never looks."""
        rows = [torch.tensor([*prompt, *ids]) for prompt, ids in zip(prompts, completions, strict=True)]
        input_ids = pad_sequence(rows, batch_first=True).to(self.device)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            hidden = self.backbone(input_ids=input_ids, use_cache=False).last_hidden_state
        logits = self.head(hidden.float()).squeeze(-1)
        place = torch.arange(input_ids.shape[1], device=self.device)
        begin = torch.tensor([len(prompt) for prompt in prompts], device=self.device)[:, None]
        end = torch.tensor([len(row) for row in rows], device=self.device)[:, None]
        return logits, (place >= begin) & (place < end)

    def score(self, written: Sequence[tuple[str | Chat, tuple[int, ...]]]) -> list[float]:
        """The probability, 0..1, that each (prompt, completion so far) ends in the right answer."""
        return self.score_ids([encode(self.tokenizer, prompt) for prompt, _ in written], [ids for _, ids in written])

    @torch.no_grad()
    def score_ids(self, prompts: Sequence[Ids], completions: Sequence[Ids]) -> list[float]:
        """`score` of token ids."""
        lengths = torch.tensor([len(a) + len(b) for a, b in zip(prompts, completions, strict=True)])
        scores = torch.zeros(len(lengths))
        for index in rows_within(lengths, SCORED_TOGETHER):
            places = index.tolist()
            logits, _ = self.logits([prompts[i] for i in places], [completions[i] for i in places])
            last = logits.gather(1, lengths[index, None].to(self.device) - 1)
            scores[index] = last.squeeze(1).sigmoid().cpu()
        return scores.tolist()

    def state(self) -> dict[str, dict[str, Tensor]]:
        """What training moves, as the files of the folder: copies on the CPU."""
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

    def save(self, folder: Path, model: ModelConfig, about: Mapping[str, Any]) -> None:
        """Write the folder, whole or not at all; `about` goes into verifier.json."""

        def write(temporary: Path) -> None:
            for name, tensors in self.state().items():
                save_file(tensors, temporary / name)
            read = {"source": model.source, "weights": fingerprint(model.source)}
            known = {"model": read, "trains_backbone": self.trains_backbone, **about}
            (temporary / ABOUT).write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")

        write_atomically(folder, write)

    @classmethod
    def load(cls, folder: Path, model: ModelConfig, device: str) -> "OutcomeVerifier":
        """The verifier that `save` wrote for this model."""
        verifier = cls(model, device, _about(folder)["trains_backbone"])
        names = [HEAD, BACKBONE] if verifier.trains_backbone else [HEAD]
        verifier.set_state({name: load_file(folder / name) for name in names})
        return verifier


def outcome_loss(logits: Tensor, is_completion: Tensor, right: Tensor) -> Tensor:
    """Mean cross-entropy of the final outcome over completion tokens (a scalar).

    logits         [B, L], a logit after each token
    is_completion  bool [B, L], true on the tokens that count
    right          float [B], 1 for a right completion, 0 for a wrong one
    """
    targets = right[:, None].expand(logits.shape)
    return binary_cross_entropy_with_logits(logits[is_completion], targets[is_completion])


def fingerprint(source: str) -> str:
    """What tells a model's weights from others': a sha256 over a folder's files of weights; for a name on the Hub
    its commit there."""
    if not Path(source).is_dir():
        return str(AutoConfig.from_pretrained(source)._commit_hash)
    files = sorted(path for path in Path(source).iterdir() if path.suffix in (".safetensors", ".bin"))
    return hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()


def verifier_id(folder: Path) -> str:
    """What tells a verifier from others: the sha256 of its head."""
    return sha256_of(folder / HEAD)


def check_verifier(folder: Path, cfg: OfRunConfig) -> None:
    """Fail early where there is no verifier for the model.

    Raises:
        ValueError: nothing was trained there, or it was for other weights.
    """
    whose = f"RUN={cfg.run}" if cfg.run else f"MODEL={cfg.model.name} ENV={cfg.env.name}"
    command = f"make verifier {whose}" + (f" CKPT={cfg.ckpt}" if cfg.ckpt else "")
    if not (folder / ABOUT).is_file():
        raise ValueError(f"strategy.verifier=learned: {folder} holds no verifier; train one by `{command}`")
    trained = _about(folder)["model"]
    if trained["weights"] != (found := fingerprint(cfg.model.source)):
        raise ValueError(
            f"strategy.verifier=learned: {folder} was trained for {trained['source']} (weights "
            f"{trained['weights'][:12]}), the model is {cfg.model.source} ({found[:12]}); train one by `{command}`"
        )


def _about(folder: Path) -> dict[str, Any]:
    about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    return about
