# `make help` lists what there is. Everything built lies in ${XDG_CACHE_HOME:-~/.cache}/gpu-testbed and in .venv.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
SHELLCHECK = "$$($(PYTHON) -c 'from testbed import debian; print(debian.packages())')"/usr/bin/shellcheck
STACKS = $(patsubst config/Pulumi.%.yaml,%,$(wildcard config/Pulumi.*.yaml))
unnamed = $(if $(STACK),,$(filter preview up verify,$(MAKECMDGOALS)))
$(if $(unnamed),$(error which stack? make $(unnamed) STACK=NAME, of: $(STACKS)))

.PHONY: help
help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: venv
venv: .venv/ready  ## the Python environment in .venv, with the command gpuctl

.venv/ready: requirements-dev.txt pyproject.toml
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: policy
policy: policy/.venv/ready  ## the policy pack's own Python environment, in policy/.venv

policy/.venv/ready: policy/requirements.txt
	python3 -m venv policy/.venv
	policy/.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r policy/requirements.txt
	@touch $@

.PHONY: tools
tools: venv  ## build Kubernetes, Pulumi and the device plugin for the test bed (about 20 minutes, once)
	$(PYTHON) -m testbed tools

.PHONY: demo
demo: venv  ## two simulated RTX 3090 become nvidia.com/gpu: 8 on a real kubelet; TALOS=v1.13.9: on real Talos
	$(PYTHON) -m demo $(if $(TALOS),--talos $(TALOS) --name demo-talos)

.PHONY: demo-down
demo-down: venv  ## take the demo's cluster down
	$(PYTHON) -m testbed down --name $(if $(TALOS),demo-talos,demo)

.PHONY: test
test: venv policy  ## every test this machine can run; what is skipped says why
	$(PYTHON) -m testbed tools >/dev/null || echo "The tests that need what cannot be built say so and are skipped."
	.venv/bin/pytest -n 2 --dist loadgroup

.PHONY: test-talos
test-talos: venv  ## the tests on nodes that run Talos, by release: make test-talos TALOS="v1.10.6 v1.13.9"
	TALOS='$(or $(TALOS),v1.13.9)' .venv/bin/pytest tests/talos_node

.PHONY: test-dra
test-dra: venv  ## the tests on nodes with NVIDIA's DRA driver, which it builds
	DRA=all .venv/bin/pytest tests/dra_node

.PHONY: drills
drills: venv  ## faults on real kubelets while GPU pods run, and what came right when; half an hour; TALOS=v1.13.9
	DRILLS=all TALOS='$(TALOS)' .venv/bin/pytest tests/drills

.PHONY: test-unit
test-unit: venv  ## the tests of pure functions and of the Pulumi program under mocks
	.venv/bin/pytest -n 2 tests/unit tests/program

.PHONY: test-package
test-package: venv  ## the wheel, built and installed elsewhere
	.venv/bin/pytest tests/package

FUZZ = $(addprefix tests/unit/test_,fuzz.py hostile_cluster.py settings_fuzz.py settings_as_pulumi.py cli_manners.py)
.PHONY: fuzz
fuzz: venv  ## broken files, options and variables for half an hour: an answer or a message, and commands that repair
	FUZZ_SECONDS=200 FUZZ_FILES=20000 .venv/bin/pytest -rP --timeout 3600 $(FUZZ)

.PHONY: bench
bench: venv  ## what the project costs on this machine; prints figures and judges none
	$(PYTHON) -m bench

.PHONY: lint
lint: lint-style lint-imports lint-types lint-shell lint-workflows  ## all that is said of code without running it

.PHONY: lint-style
lint-style: venv  ## ruff
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

.PHONY: lint-imports
lint-imports: venv  ## who may import whom
	PYTHONPATH=.github .venv/bin/lint-imports --no-logo --no-cache

.PHONY: lint-types
lint-types: venv  ## pyright, strict
	.venv/bin/pyright
	.venv/bin/pyright --project .github/scripts  # hidden folders are no part of the other

.PHONY: lint-shell
lint-shell: venv  ## shellcheck
	$(SHELLCHECK) --external-sources gpuctl/desired/*/*.sh gpuctl/sharing/*.sh .github/scripts/*.sh

.PHONY: lint-workflows
lint-workflows: venv  ## actionlint and zizmor
	"$$($(PYTHON) -c 'from testbed import tools; print(tools.actionlint())')" -shellcheck $(SHELLCHECK)
	.venv/bin/zizmor --quiet --offline .github

.PHONY: hooks
hooks: venv  ## let git run the lint targets before each commit
	.venv/bin/pre-commit install

.PHONY: format
format: venv  ## let ruff fix what it can
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

.PHONY: preview
preview: venv policy  ## what `pulumi up` would change: make preview STACK=lab
	.github/scripts/pulumi.sh preview '$(STACK)'

.PHONY: up
up: venv policy  ## make a cluster what its stack file says, when you agree: make up STACK=lab
	.github/scripts/pulumi.sh up '$(STACK)'

.PHONY: verify
verify: venv  ## whether a cluster is what its stack file says: make verify STACK=lab
	$(PYTHON) -m gpuctl verify --stack '$(STACK)' --wait 10m

.PHONY: generate
generate: venv  ## write Pulumi.yaml, config/schema.json, two pages of docs and the dashboard from the code
	$(PYTHON) -m reference
	$(PYTHON) -m dashboard

.PHONY: requirements
requirements:  ## compile every requirements*.txt from pyproject.toml and requirements*.in (needs uv)
	uv pip compile --quiet --generate-hashes --python-version 3.11 pyproject.toml -o requirements-gpuctl.txt
	uv pip compile --quiet --generate-hashes --python-version 3.11 --extra pulumi pyproject.toml -o requirements.txt
	uv pip compile --quiet --generate-hashes --python-version 3.11 requirements-dev.in -o requirements-dev.txt
	uv pip compile --quiet --no-deps --generate-hashes --python-version 3.11 requirements-talos.in -o requirements-talos.txt
	uv pip compile --quiet --generate-hashes --python-version 3.11 policy/requirements.in -o policy/requirements.txt
