PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Tests start hundreds of processes: without bytecode files, each would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help projects setup run test test-all object-store triggers-chaos check format lint types imports constraints docs first-run picture release chaos fuzz mutants bench adaptors browser schema vendor engine engine-check clean simulate simulate-mutants soak parity diff-check fuzz-check fuzz-samples

help:  ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	@touch $@

constraints: $(STAMP)  ## Write the versions that development and CI use
	$(BIN)/uv pip compile pyproject.toml --group dev --group docs --all-extras --universal --python-version 3.11 \
		--no-emit-index-url --no-header --no-annotate --quiet --upgrade --output-file constraints.txt

setup: $(STAMP)  ## Install into .venv

run: $(STAMP)  ## Run a sample workflow to its end
	$(BIN)/worker run graphs/referral.yaml --input graphs/referral.input.json

test: $(STAMP)  ## Run the tests of every day
	$(BIN)/pytest -q -n auto --dist loadgroup -m 'not slow'

test-all: $(STAMP)  ## Run all tests, with all their generated examples
	$(BIN)/pytest -q -n auto --dist loadgroup --hypothesis-profile $(or $(PROFILE),full)

# An environment of its own: the server needs an older python-dateutil than constraints.txt has.
OBJECT_STORE := .cache/object-store

$(OBJECT_STORE)/.installed: $(STAMP)
	$(BIN)/uv venv --quiet --clear $(OBJECT_STORE)
	grep -v '^python-dateutil==' constraints.txt > $(OBJECT_STORE)/constraints.txt
	$(BIN)/uv pip install --quiet --python $(OBJECT_STORE)/bin/python --constraint $(OBJECT_STORE)/constraints.txt \
		--editable . --group dev --group object-store
	@touch $@

object-store: $(OBJECT_STORE)/.installed  ## Replay recordings of an object store, which is served here
	$(OBJECT_STORE)/bin/pytest -q -n 0 tests/integration/test_object_store.py

format: $(STAMP)  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

lint-js: tools/javascript/node_modules/.installed  ## Lint and type-check our JavaScript (needs npm)
	npm --prefix tools/javascript run --silent lint
	npm --prefix tools/javascript run --silent types

tools/javascript/node_modules/.installed: tools/javascript/package-lock.json
	npm --prefix tools/javascript ci --no-audit --no-fund
	@touch $@

types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.14

imports: $(STAMP)
	$(BIN)/lint-imports

check: lint types imports test-all  ## Everything that must be green: format, lint, types, imports, tests

docs: $(STAMP)  ## Build the documentation into build/site (npm draws the diagrams)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group docs
	-npm install --prefix .cache/docs --no-save --no-package-lock --ignore-scripts --no-audit --no-fund --silent \
		mermaid@11.12.0 iframe-worker@1.0.4
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

first-run:  ## Measure the time from a fresh clone to the first own workflow, by the README
	$(PYTHON) tools/first_run.py

picture: $(STAMP)  ## Draw the run that the README shows
	$(BIN)/python -m tools.picture docs/images/run.svg

release: $(STAMP)  ## Check and build a release: make release VERSION=0.2.0
	$(BIN)/python -m tools.release $(VERSION)

chaos: $(STAMP)  ## Kill, stop, cut, skew and repeat; effects are counted outside (RUNS=2000, SEED=1)
	$(BIN)/python -m tests.support.chaos --runs $(or $(RUNS),2000) --seed $(or $(SEED),1)
	$(BIN)/python -m tests.support.chaos --runs $(or $(RUNS),2000) --seed $(or $(SEED),1) --planes 2
	$(BIN)/python -m tests.support.chaos --runs $(or $(RUNS),2000) --seed $(or $(SEED),1) --planes 3

soak: $(STAMP)  ## Run a fleet under load with restarts, and check what grows (DURATION=1800)
	$(BIN)/python -m tests.support.soak --duration $(or $(DURATION),1800)

triggers-chaos: $(STAMP)  ## Messages through a topic trigger while processes and broker end (RUNS=10000, SEED=1)
	$(BIN)/python -m tests.support.trigger_chaos --messages $(or $(RUNS),10000) --seed $(or $(SEED),1)
	$(BIN)/python -m tests.support.trigger_chaos --messages $(or $(RUNS),10000) --seed $(or $(SEED),1) --kill-broker

fuzz: $(STAMP)  ## Send changed inputs to everything that reads one, for ten minutes (SEED=1)
	$(BIN)/python -m tools.fuzz --seconds $(or $(SECONDS),600) --seed $(or $(SEED),1)
	$(BIN)/python -m tools.fuzz --self-check --seed $(or $(SEED),1)
	MESSAGES=10000 $(BIN)/pytest -q tests/integration/test_control_fuzz.py -k damaged_messages

mutants: $(STAMP)  ## Change the code and list the changes that no test notices, for twenty minutes
	$(BIN)/python -m tools.mutants --seconds $(or $(SECONDS),1200) --seed $(or $(SEED),1)

parity: $(STAMP)  ## Compare 2,100 generated programs with OpenFn's own runtime (needs Node; RUNS=, SEED=, KIT=FOLDER)
	$(BIN)/python -m tools.parity --runs $(or $(RUNS),2100) --seed $(or $(SEED),1) $(if $(KIT),--kit $(KIT))
	$(BIN)/python -m tools.parity --self-check --seed $(or $(SEED),1)

projects: $(STAMP)  ## Lint, validate, explore and run checkouts of public projects (PROJECTS="FOLDER ...")
	$(BIN)/python -m tools.projects $(PROJECTS)

simulate: $(STAMP)  ## Simulate fleets under faults on virtual time, 1,000 seeds
	$(BIN)/worker simulate --seeds 1000 --orders 200

simulate-mutants: $(STAMP)  ## Plant defects into the simulated fleet, and print the seed that finds each
	$(BIN)/python -m tests.support.planted_defects

diff-check: $(STAMP)  ## Tell each mutant of the samples and of 50 generated workflows apart (GENERATED=50)
	$(BIN)/python -m tools.diff_check --generated $(or $(GENERATED),50) --runs $(or $(RUNS),20)

fuzz-check: $(STAMP)  ## Find defects planted in ten generated workflows (RUNS=10)
	$(BIN)/python -m tools.fuzz_check --workflows $(or $(RUNS),10)

fuzz-samples: $(STAMP)  ## Fuzz each sample, and find the failures known of it alone (SECONDS=60)
	$(BIN)/python -m tools.fuzz_samples --seconds $(or $(SECONDS),60)

bench: $(STAMP)  ## Print the figures of this machine (PARTS="runners fleet")
	$(BIN)/python -m bench $(PARTS)

adaptors: $(STAMP)  ## Install the real adaptors that tests use (needs Node and npm)
	WORKER_CACHE=.cache/adaptors $(BIN)/worker adaptors install \
		common@3.3.4 http@7.2.10 fhir@5.0.15 collections@0.8.0 openmrs@5.5.0

browser:  ## Fetch what checks that reports are accessible (needs npm; Chromium comes from the system)
	npm install --prefix .cache/browser --no-save --no-package-lock axe-core@4.14.1

schema: $(STAMP)  ## Write the JSON Schema of case files and the AsyncAPI document anew
	$(BIN)/python -c 'import json; from worker.fleet.messaging.asyncapi import document; print(json.dumps(document(), indent=2))' > worker/fleet/messaging/asyncapi.json
	$(BIN)/python -c 'import json; from worker.testing.json_schema import case_schema; print(json.dumps(case_schema(), indent=2, ensure_ascii=False))' > worker/testing/cases.schema.json

vendor:  ## Rebuild the bundled JavaScript libraries (needs Node)
	npm --prefix tools/vendor install --no-package-lock
	node tools/vendor/build.mjs
	node tools/vendor/collation.mjs
	TZ=UTC node tools/vendor/agreement.mjs
	TZ=UTC node tools/vendor/locale-expressions.mjs
	npm --prefix tools/dagre install --no-package-lock
	node tools/dagre/build.mjs

engine: $(STAMP)  ## Build the engine anew from its pinned sources (some minutes)
	$(BIN)/python tools/engine/build.py

engine-check: $(STAMP)  ## Check that the engine is what its sources build to
	$(BIN)/python tools/engine/build.py --check

clean:  ## Remove everything that was built
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .cache build dist
