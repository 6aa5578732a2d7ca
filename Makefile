# Two commands do everything on a fresh machine: make demo, make test.
SHELL := /bin/bash
.DEFAULT_GOAL := help
WHAT ?=

.PHONY: help
help: ## this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: python
python:
	@tools/bootstrap

.PHONY: demo
demo: python ## a HyperPod site on real Kubernetes nodes, in a sandbox on this machine
	@python3 tools/demo.py up

.PHONY: demo-train
demo-train: python ## trains ResNet-50 over the demo's two workers; demo-untrain removes it
	@python3 tools/demo.py train

.PHONY: demo-untrain
demo-untrain: python ## removes what `make demo-train` made
	@python3 tools/demo.py untrain

.PHONY: demo-down
demo-down: python ## removes what `make demo` made
	@python3 tools/demo.py down

.PHONY: test
test: python ## all tests; WHAT="unit ruff" for some, WHAT=list for their names
	@python3 tests/gates.py $(WHAT)

.PHONY: bench
bench: python ## benchmarks: WHAT=site, WHAT=taint, WHAT=kubelet, WHAT=mig, WHAT=training; a table and a ratio with its goal
	@test -n "$(WHAT)" || { echo "say which: make bench WHAT=$$(basename -a tests/benchmarks/*/ | paste -sd'|')" >&2; exit 2; }
	@ANSIBLE_INTERNAL_POLL_INTERVAL=0.001 python3 tools/env.py dev -- python tests/benchmarks/$(WHAT)/run.py # what users have

.PHONY: clean
clean: python ## removes the sandbox and the caches of this project
	@python3 tools/demo.py clean
