#!/usr/bin/env bash
# Builds the image and runs it without a hub and without a daemon: build_without_hub.sh [FOLDER]   (as root, on Debian or Ubuntu)
# The base that the Dockerfile names is made here, by debootstrap, with Debian's own Python. Everything lies in FOLDER: a
# temporary one that is removed at the end, or the one named, which keeps base and image for the next time.
# Then the README's command is run as an ordinary user, on a read-only root, without capabilities, without a network: it stops
# within seconds of SIGTERM with status 143 and, started again, reaches the demo's report.
set -euo pipefail
umask 022

source=$(cd "$(dirname "$0")/.." && pwd)
image=ldas:0.1.0
suite=bookworm

missing=()
for tool in buildah podman runc debootstrap; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ "${#missing[@]}" -gt 0 ]; then
    echo "not here: ${missing[*]}; on Debian and Ubuntu: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 2
fi
if [ "$(id -u)" != 0 ]; then
    echo "debootstrap and podman with runc need root here: run it as root" >&2
    exit 2
fi

run=$(mktemp -d) # podman takes no longer path than 50 characters for what holds only while it runs
temporary=("$run")
if [ $# -gt 0 ]; then
    mkdir -p "$1"
    folder=$(cd "$1" && pwd)
else
    folder=$(mktemp -d)
    temporary+=("$folder")
fi
trap 'rm -rf "${temporary[@]}"' EXIT
storage=(--root "$folder/storage" --runroot "$run") # STORAGE_DRIVER=vfs where the kernel has no overlays
build() { buildah "${storage[@]}" "$@"; }
engine() { podman "${storage[@]}" --runtime runc --cgroup-manager cgroupfs "$@"; }
said() { printf '\n== %s\n' "$*"; }

base=$(sed -n 's/^FROM \([^ ]*\).*/\1/p' "$source/deploy/Dockerfile" | sort -u)
said "$(buildah --version); $(podman --version); $(runc --version | head -n 1); debootstrap $(debootstrap --version | cut -d ' ' -f 2)"

if ! build inspect --type image "$base" >/dev/null 2>&1; then
    said "base $base: Debian $suite with its own Python"
    debootstrap --variant=minbase --include=ca-certificates,netbase,python3,python3-pip,python3-venv "$suite" "$folder/base" >"$folder/base.log"
    ln -s /usr/bin/python3 "$folder/base/usr/local/bin/python"
    rm -rf "$folder"/base/usr/lib/python3*/EXTERNALLY-MANAGED "$folder"/base/var/cache/apt/* "$folder"/base/var/lib/apt/lists/*
    scratch=$(build from scratch)
    build copy --quiet "$scratch" "$folder/base" / >/dev/null
    build commit --quiet "$scratch" "$base" >/dev/null
    build rm "$scratch" >/dev/null
    rm -rf "$folder/base"
fi

said "image $image from deploy/Dockerfile as it is"
# How this machine reaches its package index: for the time of the build, and not part of the image.
mounts=()
for path in /etc/ssl/certs /etc/pip.conf /etc/xdg/pip; do
    [ -e "$path" ] && mounts+=(--volume "$path:$path:ro")
done
SECONDS=0
build bud --isolation chroot --pull-never "${mounts[@]}" --ignorefile "$source/deploy/Dockerfile.dockerignore" \
    --file "$source/deploy/Dockerfile" --tag "$image" "$source" >"$folder/build.log" 2>&1 || {
    tail -n 20 "$folder/build.log" >&2
    exit 1
}
size() { engine images --format '{{.Size}}' "$1"; }
echo "built in $SECONDS s: $(size "$image"), of which the base $(size "$base")"

user=4242 # nobody's number, in the image neither
mkdir -p "$folder/work"
rm -rf "$folder/work/runs" "$folder/work/cache"
install -d -o "$user" -g "$user" "$folder/work/runs" "$folder/work/cache"
# As in the README; limits that a machine grants which is a container itself.
run() {
    engine run --rm --read-only --cap-drop all --security-opt no-new-privileges --network none --user "$user:$user" --tmpfs /tmp \
        --ulimit nofile=4096:4096 --ulimit nproc=4096:4096 \
        -v "$folder/work/cache:/cache" -v "$folder/work/runs:/work" "$@"
}

said "every library that a run may need is whole"
run "$image" python -c 'import adlfs, ascat, cubed, dask_jobqueue, dask_kubernetes, gcsfs, icechunk, ismn, keras, s3fs, tensorflow'

said "SIGTERM"
demo=("$image" ldas demo --out /work/demo)
run --name ldas-stopped --detach "${demo[@]}" >/dev/null
for _ in $(seq 600); do # until something is stored
    [ -d "$folder/work/runs/demo/store.zarr/runs" ] && break
    sleep 1
done
engine wait ldas-stopped >"$folder/status" &
SECONDS=0
engine kill --signal TERM ldas-stopped >/dev/null
wait $!
echo "stopped after $SECONDS s with status $(cat "$folder/status")"
if [ "$(cat "$folder/status")" != 143 ] || [ "$SECONDS" -gt 20 ]; then
    echo "expected status 143 within 20 s" >&2
    exit 1
fi

said "the same command again, to the report"
SECONDS=0
run "${demo[@]}"
[ -s "$folder/work/runs/demo/store_report/index.html" ]
echo "the report is there after $SECONDS s; files belong to $(stat -c %u:%g "$folder/work/runs/demo/store_report/index.html")"
