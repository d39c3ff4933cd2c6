#!/usr/bin/env bash
# Set everything up and run the demo to its report: scripts/demo.sh [options of `nolabel demo`].
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
exec .venv/bin/nolabel demo "$@"
