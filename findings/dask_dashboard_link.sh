#!/usr/bin/env bash
# distributed 2026.8.0: LocalCluster(processes=False, dashboard_address="127.0.0.1:0") gives a `dashboard_link` that names the
# address of the network card, where its dashboard does not listen: nobody can open it. The scheduler's services have the
# port, and the address that was asked for answers.
# Seen: link http://192.0.2.2:40013/status: refused; http://127.0.0.1:40013/status: 200
# Expected: the link is that of the address that was asked for.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet distributed==2026.8.0 dask==2026.8.0 bokeh==3.9.2
"$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version
from urllib.error import URLError
from urllib.request import urlopen

from distributed import LocalCluster

print(", ".join(f"{name} {version(name)}" for name in ("distributed", "bokeh")))


def answer(link):
    try:
        with urlopen(link, timeout=10) as response:
            return str(response.status)
    except URLError:
        return "refused"


with LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:
    port = cluster.scheduler.services["dashboard"].port
    asked = f"http://127.0.0.1:{port}/status"
    seen = answer(cluster.dashboard_link), answer(asked)
    print(f"link {cluster.dashboard_link}: {seen[0]}; {asked}: {seen[1]}")
raise SystemExit(int(seen != ("refused", "200")))
PYTHON
