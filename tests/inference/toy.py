"""A toy language model over a few tokens, given by a table, and problems for it.

The next token depends on the prompt and on the last two tokens. The vocabulary has the difficulties of a real one:
`</think>` is spelled by one token or by two, and a token may contain text before and after a stop string. Like a tiny
vocabulary, it silently drops text that it cannot spell.
"""

import math
import random
from collections.abc import Iterable, Sequence

from grpo.types import Chat, Completion, Problem, Request, Score
from inference.runner import run
from inference.types import Candidate, Item, Strategy, StrategyOutput, Verifier
from inference.verifiers import LogprobVerifier
from inference.voting import answer_key

END = "<eos>"
Weights = dict[str, float]
THOUGHT: Weights = {
    " so": 3,
    " no": 3,
    "\n": 3,
    ".\n\n so": 1,
    "</think>": 2,
    "</th": 1.5,
    END: 0.5,
    "Wait": 0.2,
    " 1": 1,
    " 2": 1,
    " 3": 1,
}
NEXT: dict[str, Weights] = {
    "</th": {"ink>": 3, "ink>\n<": 2, " no": 1},
    "</think>": {" <answer>": 6, "\n": 1},
    "ink>": {" <answer>": 6, "\n": 1},
    "ink>\n<": {"answer>": 5, " no": 1},
    " <answer>": {" 1": 3, " 2": 3, " 3": 3, " no": 1},
    "answer>": {" 1": 3, " 2": 3, " 3": 3, " no": 1},
    " </answer>": {END: 8, "\n": 1},
}
CLOSE: Weights = {" </answer>": 8, " 1": 1, " so": 1}
VOCABULARY = [END, "<", ">", *THOUGHT, *NEXT, *CLOSE, "ink>", "ink>\n<", "answer>", " ", "!", "!</think>"]
TOKENS = sorted(set(VOCABULARY))
IDS = {token: index for index, token in enumerate(TOKENS)}
END_ID = IDS[END]


class ToyEngine:
    """Records the requests, the sizes of their batches, and the number of generated tokens.

    longest_prompt  in characters
    """

    def __init__(self, seed: int = 0, window: int = 10_000, longest_prompt: int = 10_000) -> None:
        self.seed, self.window, self.longest_prompt = seed, window, longest_prompt
        self.batches: list[int] = []
        self.tokens = 0
        self.requests: list[Request] = []

    def encode(self, text: str) -> tuple[int, ...]:
        ids: list[int] = []
        while text:
            fitting = [token for token in TOKENS if token != END and text.startswith(token)]
            if fitting:
                ids.append(IDS[max(fitting, key=len)])
            text = text[len(max(fitting, key=len)) if fitting else 1 :]
        return tuple(ids)

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(TOKENS[token] for token in token_ids if token != END_ID)

    def fits(self, prompt: str | Chat) -> bool:
        return len(str(prompt)) <= self.longest_prompt

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        completions = [self._complete(request) for request in requests]
        self.requests += requests
        self.batches.append(len(requests))
        self.tokens += sum(len(one.token_ids) for one in completions)
        return completions

    def probabilities(self, prompt: str | Chat, prefix: Sequence[int], temperature: float) -> dict[int, float]:
        before, last = (["", ""] + [TOKENS[token] for token in prefix])[-2:]
        weights = NEXT.get(last, CLOSE if before in (" <answer>", "answer>") else THOUGHT)
        logits = {}
        for token, weight in weights.items():
            noise = random.Random(f"{self.seed}/{prompt}/{before}/{last}/{token}").gauss(0, 1)
            logits[IDS[token]] = (math.log(weight) + noise) / (temperature or 1.0)
        total = sum(map(math.exp, logits.values()))
        return {token: math.exp(logit) / total for token, logit in logits.items()}

    def _complete(self, request: Request) -> Completion:
        sampling = request.sampling
        assert sampling is not None and sampling.max_tokens >= 1
        rng = random.Random(request.seed)
        new: list[int] = []
        logprobs = []
        reason = "length"
        for _ in range(min(sampling.max_tokens, self.window - len(request.prefix))):
            table = self.probabilities(request.prompt, [*request.prefix, *new], sampling.temperature)
            if sampling.temperature == 0:
                token = max(table, key=lambda candidate: table[candidate])
            else:
                token = rng.choices(list(table), list(table.values()))[0]
            new.append(token)
            logprobs.append(math.log(table[token]))
            if token == END_ID or any(stop in self.decode(new) for stop in sampling.stop):
                reason = "stop" if token == END_ID else "stop_string"
                break
        return Completion((), tuple(new), self.decode(new), tuple(logprobs), reason, 0)


class ScriptedEngine(ToyEngine):
    """Returns the given texts, one per request, in order; a text that ends with END finishes with "stop"."""

    def __init__(self, pieces: Iterable[str]) -> None:
        super().__init__()
        self.pieces = list(pieces)

    def _complete(self, request: Request) -> Completion:
        assert request.sampling is not None
        piece = self.pieces.pop(0)
        ids = self.encode(piece.removesuffix(END)) + ((END_ID,) if piece.endswith(END) else ())
        assert self.decode(ids) == piece.removesuffix(END), f"the toy vocabulary cannot spell {piece!r}"
        ids = ids[: request.sampling.max_tokens]
        stopped = any(stop in self.decode(ids) for stop in request.sampling.stop)
        reason = "stop" if ids[-1] == END_ID else "stop_string" if stopped else "length"
        return Completion((), ids, self.decode(ids), (-0.5,) * len(ids), reason, 0)


def problems(count: int = 12) -> list[Problem]:
    """Problems with a correct digit of three; two of three prompts have a user turn."""
    return [Problem("toy", f"p{n}", _prompt(n), str(n % 3 + 1), {}) for n in range(count)]


def _prompt(n: int) -> str | Chat:
    if n % 3 == 0:
        return Chat("You solve.", f"Problem {n}?", "Let me solve.\n<think>")
    if n % 3 == 1:
        return f"Talk.\nUser: Problem {n}?\nAssistant: Let me solve.\n<think>"
    return f"p {n}\n<think>\n"


def outputs(
    strategy: Strategy,
    count: int = 12,
    verifier: Verifier | None = None,
    engine: ToyEngine | None = None,
) -> list[StrategyOutput]:
    """The outputs for the first `count` problems, in order; the verifier is the model's own certainty by default."""
    found = run(strategy, problems(count), engine or ToyEngine(), verifier or LogprobVerifier())
    return [output for _, output in sorted(found)]


def right(problem: Problem, candidate: Candidate) -> bool:
    return answer_key(candidate) == problem.answer


def grades(items: Sequence[Item]) -> list[Score]:
    """Grade candidates for the oracle."""
    correct = [right(problem, candidate) for problem, candidate in items]
    return [Score(float(is_correct), is_correct, {}, "") for is_correct in correct]
