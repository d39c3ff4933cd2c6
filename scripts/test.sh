#!/usr/bin/env bash
# Set everything up and run all checks: scripts/test.sh [pytest arguments].
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh test
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1  # two test processes share the cores
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/lint-imports
.venv/bin/mypy
NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet --site-dir "$(mktemp -d)"
exec .venv/bin/python -m pytest -n "${NOLABEL_TEST_PROCESSES:-2}" --dist worksteal "$@"
