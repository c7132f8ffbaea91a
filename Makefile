# make help: what each target does. PYTHON=python3.12 make test: another interpreter (3.10 to 3.13).
PYTHON ?= python3
BIN = .venv/bin
# CPU builds install from here without gigabytes of CUDA; on a machine with a GPU name your own: make install TORCH=torch
TORCH ?= torch==2.13.0

help:           ## this list
	@grep -E '^[a-z]+: ' Makefile | sed 's/:[^#]*## /: /'

install: .venv/done  ## .venv with everything that the scripts and tests need

.venv/done: pyproject.toml Makefile
	@echo "making .venv and installing torch and the rest: one to two minutes, silent unless something is wrong"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q $(TORCH)
	$(BIN)/pip install -q -e '.[scripts,train,test]'
	touch $@

test: install   ## the whole test suite, under 10 minutes on 2 cores
	$(BIN)/python -m pytest -q

lint: install   ## ruff: is the code formatted, and without what it finds wrong; CI runs it first
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: install ## ruff format, and what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

speedrun: install  ## real workflows in, a trained tiny model and 50 valid workflows out, in 3 to 6 minutes on 2 cores
	$(BIN)/python prepare.py
	$(BIN)/python train.py config/tiny.py $(if $(wildcard out/ckpt.pt),--init_from=resume)
	$(BIN)/python sample.py --num_samples=50
	$(BIN)/python eval.py
	@echo; echo "Workflows: out/samples/   results: out/results.md   loss curve: out/loss.png"

.PHONY: help install test lint format speedrun
