import json
import math
import shutil
from dataclasses import replace

import pytest
import torch

from conf.compose import compose_evaluation
from conf.workers import ModelConfig
from workers.models import load_model
from workers.outcome_verifier import OutcomeVerifier, check_verifier, fingerprint, outcome_loss, verifier_id

TINY = ModelConfig("tiny", "envs/countdown/models/tiny", prompt_style="tiny")
ROWS = [((5, 9, 11), (4, 8, 15, 16)), ((7, 9), (23,)), ((5, 5, 6, 2), (3, 3, 9, 9, 9, 12, 40, 41))]


def perturbed(trains_backbone, seed=0):
    """A verifier whose weights differ from those of its model."""
    verifier = OutcomeVerifier(TINY, "cpu", trains_backbone, seed)
    with torch.no_grad():
        for parameter in [*verifier.head.parameters(), *verifier.backbone.parameters()]:
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape))
    return verifier


def scores(verifier, rows):
    return verifier.score_ids([prompt for prompt, _ in rows], [ids for _, ids in rows])


def test_loss_and_gradient_by_hand():
    # Two rows; the completion tokens have logits 0 and ln 3 (correct), and ln 3 (wrong).
    # sigmoid(0) = 1/2 and sigmoid(ln 3) = 3/4, so the losses are ln 2, ln 4/3 and ln 4: their mean is ln(32/3) / 3.
    three = math.log(3)
    logits = torch.tensor([[9.0, 0.0, three], [9.0, three, 9.0]], requires_grad=True)
    counts = torch.tensor([[False, True, True], [False, True, False]])
    loss = outcome_loss(logits, counts, torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx(math.log(32 / 3) / 3)
    loss.backward()
    # The gradient is (sigmoid - target) / 3 on these tokens, 0 elsewhere.
    expected = torch.tensor([[0, -1 / 6, -1 / 12], [0, 1 / 4, 0]])
    assert logits.grad is not None and torch.allclose(logits.grad, expected)


def test_scores_do_not_depend_on_the_batch_or_the_padding():
    verifier = perturbed(False)
    together = scores(verifier, ROWS)
    alone = [scores(verifier, [row])[0] for row in ROWS]
    assert together == pytest.approx(alone, abs=1e-6)
    assert scores(verifier, ROWS[::-1]) == pytest.approx(alone[::-1], abs=1e-6)
    assert len({round(score, 4) for score in alone}) == 3


def test_the_score_of_a_prefix_is_the_prediction_at_its_last_token():
    verifier = perturbed(False)
    prompt, ids = ROWS[2]
    logits, counts = verifier.logits([prompt], [ids])
    assert counts[0].tolist() == [False] * 4 + [True] * 8
    prefixes = [(prompt, ids[:length]) for length in range(1, 9)]
    assert scores(verifier, prefixes) == pytest.approx(logits[0, 4:].sigmoid().tolist(), abs=1e-6)


def test_a_frozen_backbone_has_no_gradient():
    verifier = OutcomeVerifier(TINY, "cpu", trains_backbone=False)
    logits, counts = verifier.logits(*zip(*ROWS, strict=True))
    outcome_loss(logits, counts, torch.tensor([1.0, 0.0, 1.0])).backward()
    assert all(parameter.grad is not None for parameter in verifier.head.parameters())
    assert all(parameter.grad is None for parameter in verifier.backbone.parameters())


@pytest.mark.parametrize("trains_backbone", [False, True])
def test_a_loaded_verifier_gives_bitwise_equal_scores(tmp_path, trains_backbone):
    verifier = perturbed(trains_backbone)
    verifier.save(tmp_path / "verifier", TINY, {"seed": 3})
    loaded = OutcomeVerifier.load(tmp_path / "verifier", TINY, "cpu")
    assert scores(loaded, ROWS) == scores(verifier, ROWS)
    assert scores(loaded, ROWS) != scores(OutcomeVerifier(TINY, "cpu", trains_backbone), ROWS)
    assert (tmp_path / "verifier" / "backbone.safetensors").exists() == trains_backbone
    assert json.loads((tmp_path / "verifier" / "verifier.json").read_text())["seed"] == 3


def test_a_prompt_is_tokenized_as_by_the_sampler():
    verifier = perturbed(False)
    prompt = verifier.tokenizer("make 12 from 3 4 5", add_special_tokens=False)["input_ids"]
    assert verifier.score([("make 12 from 3 4 5", (4, 8))]) == scores(verifier, [(prompt, (4, 8))])


def test_a_verifier_is_refused_for_other_weights(tmp_path):
    cfg = compose_evaluation(["strategy=best_of_n", "strategy.verifier=learned"], {})
    missing = r"no verifier in .*nowhere; train one with `make verifier MODEL=tiny ENV=countdown`"
    with pytest.raises(ValueError, match=missing):
        check_verifier(tmp_path / "nowhere", cfg)
    OutcomeVerifier(TINY, "cpu", False).save(tmp_path / "verifier", TINY, {})
    check_verifier(tmp_path / "verifier", cfg)
    other = load_model("envs/countdown/models/tiny", "float32")
    with torch.no_grad():
        other.get_input_embeddings().weight[0, 0] += 1
    other.save_pretrained(tmp_path / "other")
    changed = replace(cfg, run="my-run", ckpt="step_000060", model=replace(cfg.model, path=str(tmp_path / "other")))
    with pytest.raises(ValueError) as error:
        check_verifier(tmp_path / "verifier", changed)
    for name in (TINY.source, str(tmp_path / "other"), "`make verifier RUN=my-run CKPT=step_000060`"):
        assert name in str(error.value)


def test_models_and_verifiers_are_identified_by_their_weights(tmp_path):
    shutil.copytree("envs/countdown/models/tiny", tmp_path / "copy")
    assert fingerprint(str(tmp_path / "copy")) == fingerprint("envs/countdown/models/tiny")
    assert fingerprint("envs/countdown/models/tiny") != fingerprint("envs/multiplication/models/tiny-multiplication")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        OutcomeVerifier(TINY, "cpu", False, seed).save(tmp_path / name, TINY, {})
    a, b, c = (verifier_id(tmp_path / name) for name in "abc")
    assert a == b != c
