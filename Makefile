# The two commands that matter: `make demo` and `make test`. Each does all set-up it needs.
SHELL := bash -o pipefail
KIND := $(if $(GPU),gpu,cpu)
PYTHON ?= python3.11
BIN := .venv/bin
# Compiled bytecode is kept whatever the shell says: without it every Ray worker compiles its imports again.
export PYTHONDONTWRITEBYTECODE =
export PYTHONUNBUFFERED = 1

.PHONY: help setup demo test test-fast test-full lint lock gpu-lock-check gpu-check

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup:  ## make .venv from the pinned lock (GPU=1 for the GPU lock)
	@PYTHON=$(PYTHON) requirements/setup.sh $(KIND)

demo: setup  ## run the main job on examples/quickstart: base, tuned, retrieval and both
	@$(BIN)/tandem demo

test: setup  ## every test but the full matrices, about 25 minutes on two cores
	@$(BIN)/python -m pytest -n 2 --no-loadscope-reorder -m "not matrix" tests

test-fast: setup  ## the tests that start no Ray, vLLM, DeepSpeed or Milvus, about three minutes
	@$(BIN)/python -m pytest -n 2 --no-loadscope-reorder -m "not slow and not matrix" tests

test-full: setup  ## everything, the kill-and-restart matrices too; its last result is tests/last-full-run.txt
	@$(BIN)/python -m pytest --disable-warnings --durations=15 tests | tee tests/last-full-run.txt

gpu-check:  ## what this machine's GPU can prove, see docs/gpu.md (CPU=1: tries the programs without one)
	@$(firstword $(wildcard $(BIN)/python) python3) -m benchmarks.gpu_check $(if $(CPU),--cpu)

lint: setup  ## ruff and mypy --strict
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

lock:  ## resolve requirements/*.txt again from pyproject.toml (needs uv; UV_FIND_LINKS or an index with torch for CPUs)
	UV_FIND_LINKS= uv pip compile pyproject.toml --extra gpu --extra dev --quiet --no-header --no-annotate \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_28 --output-file requirements/gpu.txt
	uv pip compile pyproject.toml --extra cpu --extra dev --quiet --no-header --no-annotate --python-version 3.11 \
	  --no-emit-package torchvision --no-emit-package torchaudio --no-emit-package torchcodec --no-emit-package triton \
	  --constraint requirements/gpu.txt --output-file requirements/cpu.txt

gpu-lock-check:  ## install the GPU lock into .gpu-lock (10 GB) and try its imports and its compiler; needs no GPU
	@PYTHON=$(PYTHON) VENV=.gpu-lock/venv PACKAGES_ONLY=1 requirements/setup.sh gpu
	@.gpu-lock/venv/bin/python requirements/gpu_lock/check.py
