#!/usr/bin/env bash
# Make .venv with this checkout and its extras in it: scripts/setup.sh [EXTRAS]. Needs Python 3.11+ and pip, nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
extras="${1:-}"
python="${PYTHON:-python3}"
[ -x .venv/bin/python ] || "$python" -m venv .venv
# uv installs the same packages several times faster than pip; where it cannot be had, pip does it.
if .venv/bin/python -m pip install --quiet --disable-pip-version-check uv; then
    install=(.venv/bin/uv pip install --quiet --python .venv/bin/python)
else
    install=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
fi
"${install[@]}" --editable ".${extras:+[$extras]}"
