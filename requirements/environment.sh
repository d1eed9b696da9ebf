#!/usr/bin/env bash
# Makes the environment: environment.sh FOLDER LOCKFILE [PYTHON]
# Does nothing when the folder already holds what the lock file says; builds it anew when the lock has changed.
set -euo pipefail
folder=$1 lock=$2 wanted=${3:-}

suitable() { # 3.11 to 3.13, able to make environments
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

if [ -x "$folder/bin/python" ] && suitable "$folder/bin/python" && cmp -s "$lock" "$folder/lock.txt"; then
    exit 0
fi

python=""
for candidate in ${wanted:-python3 python3.13 python3.12 python3.11 python}; do
    if command -v "$candidate" >/dev/null 2>&1 && suitable "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    found=$("${wanted:-python3}" --version 2>&1 | tail -n 1 || true)
    echo "ldas needs Python 3.11, 3.12 or 3.13 with the modules venv and ensurepip; found: ${found:-none}." >&2
    echo "Install one (on Debian and Ubuntu: python3.12 and python3.12-venv), or name it: make env PYTHON=/path/to/python3.12" >&2
    exit 2
fi

echo "Making $folder with $("$python" --version 2>&1) from $lock (some minutes, once)"
"$python" -m venv --clear "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --requirement "$lock"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
cp "$lock" "$folder/lock.txt" # last: an interrupted build is built again
