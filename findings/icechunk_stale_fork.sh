#!/bin/sh
# icechunk 1.1.21: two sessions that write the same chunk conflict when the second is committed (ConflictError). Two forks
# do not, if the second is merged into a session that was opened after the first was committed: a fork remembers no
# version that it began with, so its chunk silently replaces the committed one. Whoever keeps forks beyond a commit must
# make sure that they do not overlap. Exits 1 when the behaviour has changed. Needs the package registry.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env && env/bin/pip install -q icechunk==1.1.21 zarr==3.1.6
mkdir repository
env/bin/python - <<'P' 2>/dev/null
import sys
import icechunk, zarr
repository = icechunk.Repository.create(icechunk.local_filesystem_storage("repository"))
session = repository.writable_session("main")
zarr.create_array(session.store, shape=4, chunks=4, dtype="int32")
session.commit("an array")

def write(session, value):
    zarr.open_array(session.store, mode="r+")[...] = value
    return session

first, second = (write(repository.writable_session("main"), value) for value in (1, 2))
first.commit("1")
try:
    second.commit("2")
    of_sessions = "accepted"
except icechunk.ConflictError:
    of_sessions = "ConflictError"
base = repository.writable_session("main")
first, second = (write(base.fork(), value) for value in (3, 4))
for fork in (first, second):
    session = repository.writable_session("main")
    session.merge(fork)
    session.commit("a fork")
left = zarr.open_array(repository.readonly_session("main").store, mode="r")[...]
print(f"icechunk {icechunk.__version__}: the second session: {of_sessions}; the second fork: accepted, {left} is left of 3 and 4")
sys.exit(not (of_sessions == "ConflictError" and (left == 4).all()))
P
