#!/bin/sh
# Importing dask-jobqueue 0.9.0 replaces the SIGINT handler of the whole process by one that exits with status 0: its module
# `runner` does so at import, also where only SLURMCluster is wanted. Ctrl-C, or Slurm's own interrupt before the wall time,
# then ends a program without KeyboardInterrupt, without a word and with success, and a chain of jobs with
# --dependency=afterok goes on.
# Exits 1 when the behaviour has changed. Needs python3 and the package registry.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env && env/bin/pip install -q dask-jobqueue==0.9.0 distributed==2026.8.0 dask==2026.8.0
cat >program.py <<'P'
import os, signal, sys
if sys.argv[1] == "with":
    from dask_jobqueue import SLURMCluster
os.kill(os.getpid(), signal.SIGINT)
P
status() { env/bin/python program.py "$1" >out 2>&1 && echo 0 || echo $?; }
without=$(status without)
with=$(status with)
echo "status after SIGINT: $without without the import, $with with it; output with it: '$(cat out)'"
test "$without" = 130 && test "$with" = 0 && test ! -s out
