.PHONY: help test check startup
help:  ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*## /\t/'
test:  ## run all tests
	pytest
check:  ## style, types and layers
	ruff check . && ruff format --check . && mypy && lint-imports
startup:  ## time `medsimclr --help` against a bare Python
	python benchmarks/startup.py
