"""The files of deploy/ against pinned schemas and checkers; and for each of them, a broken one that must be refused."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from ldas.pipeline.errors import ConfigurationError
from ldas.pipeline.settings.experiment import ExperimentConfig, load_experiment
from tests.support import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
KUBERNETES_VERSION = "1.33"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
MANIFESTS = ["experiment.yaml", "report.yaml", "run.yaml"]


def checked(tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A checker of this environment on a file."""
    command = [str(Path(sys.executable).parent / tool), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def changed(source: Path, target: Path, old: str, new: str) -> Path:
    """A copy of a file with something in it replaced."""
    text = source.read_text(encoding="utf-8")
    assert old in text
    target.write_text(text.replace(old, new), encoding="utf-8")
    return target


def manifest(name: str) -> dict[str, Any]:
    """A Kubernetes manifest."""
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes" / name).read_text(encoding="utf-8"))
    return content


def test_the_container_file(tmp_path: Path) -> None:
    found = checked("hadolint", DEPLOY / "Dockerfile")
    assert found.returncode == 0, found.stdout
    broken = changed(DEPLOY / "Dockerfile", tmp_path / "Dockerfile", "python:3.12.12-slim-bookworm", "python")
    refused = checked("hadolint", broken)
    assert refused.returncode != 0
    assert "DL3006" in refused.stdout  # an image without a version


def test_the_image_is_pinned_and_not_root() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    copied = {
        word.rstrip("/")
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    }
    assert all((REPOSITORY / name).exists() for name in copied)
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied <= {line[1:].removesuffix("/*.txt") for line in sent if line.startswith("!")}


def test_the_compose_file(tmp_path: Path) -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    found = checked("check-jsonschema", *schema, COMPOSE)
    assert found.returncode == 0, found.stdout
    broken = changed(COMPOSE, tmp_path / "compose.yaml", "read_only: true", "read_only: [true]")
    refused = checked("check-jsonschema", *schema, broken)
    assert refused.returncode != 0
    assert "read_only" in refused.stdout


def test_the_compose_file_holds_no_credentials_and_publishes_to_this_machine_only() -> None:
    content = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    for service in content["services"].values():
        assert ":latest" not in service["image"]
        assert ":" in service["image"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        for name, value in service["environment"].items():
            if re.search("KEY|SECRET", name):
                assert re.fullmatch(r"\$\{LDAS_S3_\w+:\?see env.example\}", value), name
    example = (DEPLOY / "compose" / "env.example").read_text(encoding="utf-8").splitlines()
    assert [line for line in example if not line.startswith("#")] == ["LDAS_S3_ACCESS_KEY=", "LDAS_S3_SECRET_KEY="]


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_kubernetes_manifests(name: str) -> None:
    content = manifest(name)
    kubernetes_validate.validate(content, KUBERNETES_VERSION, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(content | {"metadata": {"nmae": "x"}}, KUBERNETES_VERSION, strict=True)


def test_a_broken_job_is_refused() -> None:
    job = manifest("run.yaml")
    job["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = {"cache": "/cache"}
    with pytest.raises(kubernetes_validate.ValidationError, match="array"):
        kubernetes_validate.validate(job, KUBERNETES_VERSION, strict=True)


@pytest.fixture(scope="module")
def dask_cluster_errors() -> Callable[[dict[str, Any]], list[str]]:
    """What the definition of DaskCluster, as the operator's package ships it, finds wrong in a manifest."""
    spec = importlib.util.find_spec("dask_kubernetes")
    assert spec is not None
    assert spec.origin is not None
    chart = Path(spec.origin).parent / "operator" / "deployment" / "helm" / "dask-kubernetes-operator"
    definition = yaml.safe_load((chart / "crds" / "daskcluster.yaml").read_text(encoding="utf-8"))
    validator = jsonschema.Draft7Validator(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    return lambda content: [error.message for error in validator.iter_errors(content)]


def test_the_dask_cluster(dask_cluster_errors: Callable[[dict[str, Any]], list[str]]) -> None:
    content = manifest("cluster.yaml")
    assert dask_cluster_errors(content) == []
    for part in ("worker", "scheduler"):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": part}, "spec": content["spec"][part]["spec"]}
        kubernetes_validate.validate(pod, KUBERNETES_VERSION, strict=True)
    service = content["spec"]["scheduler"]["service"]
    wrapped = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "scheduler"}, "spec": service}
    kubernetes_validate.validate(wrapped, KUBERNETES_VERSION, strict=True)


@pytest.mark.parametrize("change", [{"replicas": "four"}, {"replicas": 4, "spec": {}}])
def test_a_broken_dask_cluster_is_refused(
    dask_cluster_errors: Callable[[dict[str, Any]], list[str]], change: dict[str, Any]
) -> None:
    content = manifest("cluster.yaml")
    content["spec"]["worker"] |= change
    assert dask_cluster_errors(content)


def test_pods_are_not_root_and_write_to_volumes_only() -> None:
    cluster, job = manifest("cluster.yaml"), manifest("run.yaml")
    for pod in (
        cluster["spec"]["worker"]["spec"],
        cluster["spec"]["scheduler"]["spec"],
        job["spec"]["template"]["spec"],
    ):
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert "env" not in container  # credentials come from the secret
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}


def test_the_experiments(tmp_path: Path) -> None:
    in_compose = load_experiment(DEPLOY / "compose" / "experiment.yaml")
    in_map = tmp_path / "experiment.yaml"
    in_map.write_text(manifest("experiment.yaml")["data"]["experiment.yaml"], encoding="utf-8")
    assert load_experiment(in_map) == in_compose
    with pytest.raises(ConfigurationError, match="did you mean 'twin'"):
        load_experiment(changed(in_map, tmp_path / "broken.yaml", "twin:", "twins:"))


def test_the_slurm_experiment_and_its_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dask_jobqueue

    from ldas.pipeline.execution.cluster import cluster_arguments

    source = DEPLOY / "slurm" / "experiment.yaml"
    config: ExperimentConfig = load_experiment(source)
    with dask_jobqueue.SLURMCluster(**cluster_arguments(config.execution.cluster)) as cluster:
        script = cluster.job_script()
    (tmp_path / "job.sh").write_text(script, encoding="utf-8")
    assert subprocess.run(["bash", "-n", tmp_path / "job.sh"], check=False).returncode == 0
    for line in (
        "#SBATCH -p cpu",
        "#SBATCH -A my_account",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=16G",
        "#SBATCH -t 04:00:00",
    ):
        assert line in script.splitlines()
    assert "--nthreads 1 --memory-limit 4.00GiB" in script
    assert "--nworkers 4" in script
    with pytest.raises(ConfigurationError, match="cluster"):
        load_experiment(changed(source, tmp_path / "broken.yaml", "queue: cpu", 'queue: "cpu\\nrm -rf ~"'))


def test_the_shell_scripts(tmp_path: Path) -> None:
    source = DEPLOY / "slurm" / "driver.sh"
    assert subprocess.run(["bash", "-n", source], check=False).returncode == 0
    found = checked("shellcheck", source)
    assert found.returncode == 0, found.stdout
    unquoted = changed(source, tmp_path / "driver.sh", '"$experiment"', "$experiment")
    assert "SC2086" in checked("shellcheck", unquoted).stdout
    open_ended = changed(source, tmp_path / "open.sh", '}/bin/activate"', "}/bin/activate")
    assert subprocess.run(["bash", "-n", open_ended], capture_output=True, check=False).returncode != 0
