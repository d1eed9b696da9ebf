#!/usr/bin/env bash
# What `make servers` needs beyond its lock, and says what is missing: servers.sh FOLDER (the environment)
# Azurite is installed below FOLDER. Slurm and the tools of the image are the system's: only looked for, their tests skip without.
set -euo pipefail
folder=$1
azurite=3.37.0

if [ ! -x "$folder/npm/node_modules/.bin/azurite-blob" ]; then
    if command -v npm >/dev/null; then
        echo "Azurite $azurite, from npm, into $folder/npm"
        npm install --silent --no-audit --no-fund --ignore-scripts --no-save --prefix "$folder/npm" "azurite@$azurite" ||
            echo "Azurite cannot be installed: its test is skipped"
    else
        echo "npm is not here: the test with Azurite is skipped (on Debian and Ubuntu: apt-get install npm)"
    fi
fi

look_for() { # WHAT PACKAGES PROGRAM...
    local what=$1 packages=$2 program
    shift 2
    for program in "$@"; do
        if ! PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null; then
            echo "$what: $program is not here, its tests are skipped (on Debian and Ubuntu: apt-get install --no-install-recommends $packages)"
            return
        fi
    done
}
look_for Slurm "munge slurmctld slurmd slurm-client" munged slurmctld slurmd sbatch
look_for "The image" "buildah podman runc debootstrap" buildah podman runc debootstrap
