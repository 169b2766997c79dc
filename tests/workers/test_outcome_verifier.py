import json
import math
import shutil
from dataclasses import replace

import pytest
import torch

from conf.compose import compose_evaluation
from conf.schema import ModelConfig
from workers.models import load_model
from workers.outcome_verifier import OutcomeVerifier, check_verifier, fingerprint, outcome_loss, verifier_id

TINY = ModelConfig("tiny", "envs/countdown/models/tiny", prompt_style="tiny")
WRITTEN = [((5, 9, 11), (4, 8, 15, 16)), ((7, 9), (23,)), ((5, 5, 6, 2), (3, 3, 9, 9, 9, 12, 40, 41))]


def moved(trains_backbone, seed=0):
    """A verifier whose weights are those of no checkpoint."""
    verifier = OutcomeVerifier(TINY, "cpu", trains_backbone, seed)
    with torch.no_grad():
        for parameter in [*verifier.head.parameters(), *verifier.backbone.parameters()]:
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape))
    return verifier


def scores(verifier, rows):
    return verifier.score_ids([prompt for prompt, _ in rows], [ids for _, ids in rows])


def test_the_loss_and_its_gradient_by_hand():
    # Two rows; the tokens that count have the logits 0 and ln 3 (right), and ln 3 (wrong).
    # sigmoid(0) = 1/2 and sigmoid(ln 3) = 3/4, so the losses are ln 2, ln 4/3 and ln 4: their mean is ln(32/3) / 3.
    three = math.log(3)
    logits = torch.tensor([[9.0, 0.0, three], [9.0, three, 9.0]], requires_grad=True)
    counts = torch.tensor([[False, True, True], [False, True, False]])
    loss = outcome_loss(logits, counts, torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx(math.log(32 / 3) / 3)
    loss.backward()
    # The gradient is (sigmoid - target) / 3 on those, 0 elsewhere.
    expected = torch.tensor([[0, -1 / 6, -1 / 12], [0, 1 / 4, 0]])
    assert logits.grad is not None and torch.allclose(logits.grad, expected)


def test_scores_do_not_depend_on_the_company_or_the_padding():
    verifier = moved(False)
    together = scores(verifier, WRITTEN)
    alone = [scores(verifier, [row])[0] for row in WRITTEN]
    assert together == pytest.approx(alone, abs=1e-6)
    assert scores(verifier, WRITTEN[::-1]) == pytest.approx(alone[::-1], abs=1e-6)
    assert len({round(score, 4) for score in alone}) == 3


def test_each_token_is_asked_and_the_score_is_the_last_ones():
    """So half a completion has the score that the whole one's logits have in its middle."""
    verifier = moved(False)
    prompt, ids = WRITTEN[2]
    logits, counts = verifier.logits([prompt], [ids])
    assert counts[0].tolist() == [False] * 4 + [True] * 8
    halves = [(prompt, ids[:length]) for length in range(1, 9)]
    assert scores(verifier, halves) == pytest.approx(logits[0, 4:].sigmoid().tolist(), abs=1e-6)


def test_a_frozen_backbone_stays_and_has_no_gradient():
    verifier = OutcomeVerifier(TINY, "cpu", trains_backbone=False)
    logits, counts = verifier.logits(*zip(*WRITTEN, strict=True))
    outcome_loss(logits, counts, torch.tensor([1.0, 0.0, 1.0])).backward()
    assert all(parameter.grad is not None for parameter in verifier.head.parameters())
    assert all(parameter.grad is None for parameter in verifier.backbone.parameters())


@pytest.mark.parametrize("trains_backbone", [False, True])
def test_saved_and_loaded_it_gives_the_same_scores_to_the_bit(tmp_path, trains_backbone):
    verifier = moved(trains_backbone)
    verifier.save(tmp_path / "verifier", TINY, {"seed": 3})
    loaded = OutcomeVerifier.load(tmp_path / "verifier", TINY, "cpu")
    assert scores(loaded, WRITTEN) == scores(verifier, WRITTEN)
    assert scores(loaded, WRITTEN) != scores(OutcomeVerifier(TINY, "cpu", trains_backbone), WRITTEN)
    assert (tmp_path / "verifier" / "backbone.safetensors").exists() == trains_backbone
    assert json.loads((tmp_path / "verifier" / "verifier.json").read_text())["seed"] == 3


def test_a_text_is_read_as_the_sampler_s_tokens():
    verifier = moved(False)
    prompt = verifier.tokenizer("make 12 from 3 4 5", add_special_tokens=False)["input_ids"]
    assert verifier.score([("make 12 from 3 4 5", (4, 8))]) == scores(verifier, [(prompt, (4, 8))])


def test_a_verifier_is_for_the_weights_it_was_trained_on(tmp_path):
    cfg = compose_evaluation(["strategy=best_of_n", "strategy.verifier=learned"], {})
    missing = r"nowhere holds no verifier; train one by `make verifier MODEL=tiny ENV=countdown`"
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
    for named in (TINY.source, str(tmp_path / "other"), "`make verifier RUN=my-run CKPT=step_000060`"):
        assert named in str(error.value)


def test_the_ids_of_a_model_and_of_a_verifier_are_those_of_their_weights(tmp_path):
    shutil.copytree("envs/countdown/models/tiny", tmp_path / "moved")
    assert fingerprint(str(tmp_path / "moved")) == fingerprint("envs/countdown/models/tiny")
    assert fingerprint("envs/countdown/models/tiny") != fingerprint("envs/multiplication/models/tiny-multiplication")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        OutcomeVerifier(TINY, "cpu", False, seed).save(tmp_path / name, TINY, {})
    a, b, c = (verifier_id(tmp_path / name) for name in "abc")
    assert a == b != c
