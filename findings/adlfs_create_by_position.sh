#!/bin/sh
# adlfs 2026.8.0: `pipe_file(path, value, "create")` overwrites an object that is there. fsspec 2026.9.0, whose method it
# takes the place of, has `mode` as third argument ("create": only if there is none); adlfs has `overwrite` there, for which
# the text "create" is true. With `mode="create"` it is refused as it should be. A lock made in the first way has two holders.
# Seen with Azurite 3.37.0: by position: no error, b'second'; by name: FileExistsError, b'first'
# Exits 1 when the behaviour has changed. Needs python3, npm and the package registries.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env && env/bin/pip install -q adlfs==2026.8.0 fsspec==2026.9.0 azure-storage-blob==12.31.1
npm install --silent --no-audit --no-fund --ignore-scripts --no-save azurite@3.37.0
cat >try.py <<'P'
import socket, subprocess, sys, time
from importlib.metadata import version
import fsspec

# The account that Azurite has for everybody, from its documentation.
NAME = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = ["node_modules/.bin/azurite-blob", "--inMemoryPersistence", "--blobPort", str(port), "--silent"]
server = subprocess.Popen([*command, "--skipApiVersionCheck", "--disableTelemetry"])
try:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.1)
    files = fsspec.filesystem("abfs", connection_string=(
        f"DefaultEndpointsProtocol=http;AccountName={NAME};AccountKey={KEY};BlobEndpoint=http://127.0.0.1:{port}/{NAME};"
    ))
    files.mkdir("box")
    found = {}
    for how, arguments, named in (("by position", ("create",), {}), ("by name", (), {"mode": "create"})):
        files.pipe_file("box/lock", b"first")
        try:
            files.pipe_file("box/lock", b"second", *arguments, **named)
            said = "no error"
        except FileExistsError:
            said = "FileExistsError"
        found[how] = said, files.cat_file("box/lock")
        print(f"adlfs {version('adlfs')}, fsspec {version('fsspec')}, create {how}: {said}, {found[how][1]}")
finally:
    server.terminate()
    server.wait()
sys.exit(found != {"by position": ("no error", b"second"), "by name": ("FileExistsError", b"first")})
P
env/bin/python try.py
