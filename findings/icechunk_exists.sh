#!/bin/sh
# icechunk 1.1.21: Repository.exists() says False of a repository that icechunk 2 wrote, and Repository.open() says the true
# cause ("this repository uses Icechunk v2 format"). A program that asks exists() first takes good data for absent.
# Seen with repositories of 2.0.0a4, whose format is that of version 2. Exits 1 when the behaviour has changed.
# Needs Python 3.11 (2.0.0a4 has wheels for it) and the package registry.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv old && old/bin/pip install -q icechunk==1.1.21
python3 -m venv new && new/bin/pip install -q icechunk==2.0.0a4
mkdir repository
new/bin/python - <<'P' 2>/dev/null
import icechunk, zarr
repository = icechunk.Repository.create(icechunk.local_filesystem_storage("repository"))
session = repository.writable_session("main")
zarr.create_group(session.store)
session.commit("a group")
P
old/bin/python - <<'P' 2>/dev/null
import sys
import icechunk
storage = icechunk.local_filesystem_storage("repository")
found = icechunk.Repository.exists(storage)
try:
    icechunk.Repository.open(storage)
    said = "opened"
except icechunk.IcechunkError as error:
    said = str(error).strip().splitlines()[0]
print(f"icechunk {icechunk.__version__} of a repository of version 2: exists() -> {found}; open() -> {said}")
sys.exit(not (found is False and "v2 format" in said))
P
