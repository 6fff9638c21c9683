"""Jobs, manifests and Serve configs that an earlier version wrote still run (earlier_version/README.md)."""

import importlib.util
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ports import free_port
from tests.tandem.earlier import EARLIER, MODEL, SUPPORT_AT, python, support, tandem

BUILD = """
import json, re, sys
import ray
from ray._common.utils import import_attr

ray.cluster_resources = lambda: {"CPU": 4.0}
built = {"deployments": [], "arguments": ""}

def look(application):
    deployment = application._bound_deployment
    built["deployments"].append(deployment.name)
    built["arguments"] += repr((deployment.init_args, deployment._deployment_config.request_router_config))
    for argument in deployment.init_args:
        for each in argument.values() if isinstance(argument, dict) else [argument]:
            if hasattr(each, "_bound_deployment"):
                look(each)

look(import_attr(sys.argv[1])(json.loads(sys.argv[2])))
built["deployments"].sort()
built["classes"] = sorted(set(re.findall(r"'((?:cluster|serving|tandem)(?:[.:]\\w+)+)'", built["arguments"])))
print(json.dumps(built))
"""
"""Builds what a Serve config names, imported as Serve does it, and says what was bound."""


def test_every_command_of_a_job_is_still_one(tmp_path: Path) -> None:
    commands = list(entrypoints())
    assert len(commands) == 12, commands
    for command in commands:
        assert command[:4] == ["python", "-P", "-m", "tandem"]
        done = tandem(tmp_path, *command[4:], "--help")  # every option is looked up before help is shown
        assert done.code == 0 and "Usage:" in done.out, (command, done.err)
    done = tandem(tmp_path, *commands[0][4:], "--no-such-option", "--help")
    assert done.code == 2, "so an option that is gone would be seen"


def test_a_job_starts_where_none_of_our_files_are(tmp_path: Path) -> None:
    """With the user's files beside it, whatever they are called."""
    (tmp_path / "training.py").write_text("raise SystemExit('not this one')\n")
    done = python(*shlex.split("-P -m tandem compare --since last -c project/tandem.yaml --help"), cwd=tmp_path)
    assert done.returncode == 0 and "--since" in done.stdout, done.stderr


def test_the_project_of_a_job_package_is_read(tmp_path: Path) -> None:
    shutil.copytree(EARLIER / "jobs" / "compare-all" / "working_dir", tmp_path, dirs_exist_ok=True)
    file = tmp_path / "project" / "tandem.yaml"
    file.write_text(file.read_text().replace("/mnt/tandem", str(tmp_path)).replace("Qwen/Qwen3-0.6B", str(MODEL)))
    checked = json.loads(tandem(tmp_path, "data", "check", "--json", "-c", "project/tandem.yaml").out)
    assert (checked["num_rows"], checked["num_questions"]) == (15, 6)


def test_a_job_says_of_itself_what_it_said(tmp_path: Path) -> None:
    """`tandem jobs` knows jobs by their metadata, those that an earlier version submitted too."""
    earlier = json.loads((EARLIER / "jobs" / "train" / "job.json").read_text())
    shutil.copytree(EARLIER / "jobs" / "train" / "working_dir" / "project", tmp_path, dirs_exist_ok=True)
    done = tandem(tmp_path, "train", "--submit", "--write", "job")
    assert done.code == 0, done.err
    now = json.loads((tmp_path / "job" / "job.json").read_text())
    assert now["metadata"].keys() == earlier["metadata"].keys() and now["entrypoint"] == earlier["entrypoint"]


@pytest.mark.parametrize("overlay", ["dev", "production"])
def test_the_check_of_manifests_finds_nothing(overlay: str, tmp_path: Path) -> None:
    """Commands, Serve config, project and sizes. Where a rule is new since then, name here what it finds."""
    done = tandem(tmp_path, "render", "check", str(EARLIER / "cluster" / f"overlay-{overlay}.yaml"), "--json")
    assert json.loads(done.out) == []


def test_what_serve_configs_name_is_imported_by_a_fresh_interpreter() -> None:
    configs = list(serve_configs())
    names = {application["import_path"] for config in configs for application in config["applications"]}
    assert len(configs) == 5 and names == {"tandem.deployment:build"}
    for name in names:
        module, _, attribute = name.partition(":")
        done = python("-P", "-c", f"import {module}; assert callable({module}.{attribute})")
        assert done.returncode == 0, done.stderr


def test_the_application_of_a_serve_config_is_built(tmp_path: Path) -> None:
    """All but the start of what it holds. Of the cluster only the number of CPUs is made up."""
    config = yaml.safe_load((EARLIER / "cluster" / "serve-config.yaml").read_text())
    (application,) = config["applications"]
    values = {name: value.replace(SUPPORT_AT, str(support(tmp_path))) for name, value in application["args"].items()}
    done = python("-P", "-c", BUILD, application["import_path"], json.dumps(values), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    built = json.loads(done.stdout.splitlines()[-1])
    assert built["deployments"] == ["engine-base", "gateway", "limiter", "retriever"]
    for text in ("'0.0.0.0', 8127", "('support',)", "http://milvus:19530", f"{tmp_path}/storage/keys", str(MODEL)):
        assert text in built["arguments"], text
    assert len(built["classes"]) == 2, "vLLM's extension and Serve's router, by their names"
    for name in built["classes"]:
        module, _, attribute = name.rpartition(".")
        spec = importlib.util.find_spec(module)
        assert spec and spec.origin and re.search(rf"^class {attribute}\b", Path(spec.origin).read_text(), re.M), name


def test_the_health_check_of_an_image() -> None:
    url = f"http://127.0.0.1:{free_port()}/-/healthz"
    assert python("-m", "cluster.health", url).returncode == 0, "a container that serves nothing is well"


def entrypoints() -> Iterator[list[str]]:
    """The commands in RayJobs, CronJobs and job packages; a package's script has the same as its job.json."""
    for manifest in manifests():
        if manifest["kind"] == "RayJob":
            yield shlex.split(manifest["spec"]["entrypoint"])
        elif manifest["kind"] == "CronJob":
            for container in manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]:
                if container["command"][0] == "ray":
                    yield container["args"]
    for file in sorted(EARLIER.glob("jobs/*/job.json")):
        command = json.loads(file.read_text())["entrypoint"]
        assert (file.parent / "submit.sh").read_text().endswith(f'"$@" -- {command}\n')
        yield shlex.split(command)


def serve_configs() -> Iterator[dict[str, Any]]:
    for file in EARLIER.glob("cluster/serve-config*.yaml"):
        yield yaml.safe_load(file.read_text())
    for manifest in manifests():
        if manifest["kind"] == "RayService":
            yield yaml.safe_load(manifest["spec"]["serveConfigV2"])


def manifests() -> Iterator[dict[str, Any]]:
    for file in sorted(EARLIER.glob("cluster/*.yaml")):
        yield from (one for one in yaml.safe_load_all(file.read_text()) if one and "kind" in one)
