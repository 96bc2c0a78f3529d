"""scripts/recipes' files for other programs: valid by what knows their kind, and done step by step on roots of the test's own."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from harness import PATH, ROOT, need
from network import PORT, network  # noqa: F401
from recipe_roots import on_roots
from recipe_sites import URL, Site, npm_files, npm_project

RECIPES = ROOT / "scripts/recipes"
NPM = ROOT / "build/npm"
OBJECT = "/usr/local/lib/libretryshim.so"


def read(name):
    return yaml.safe_load((RECIPES / name).read_text())


def node(*argv, stdin=None):
    env = {"PATH": PATH, "HOME": str(NPM)}
    return subprocess.run([need("node"), *argv], input=stdin, env=env, cwd=NPM, capture_output=True, text=True, timeout=60, check=False)


# ---- valid ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.alpine"])
def test_dockerfiles(tmp_path, name):
    def lint(text):
        (tmp_path / "Dockerfile").write_text(text)
        done = node("node_modules/dockerfile-utils/bin/dockerfile-utils", "lint", str(tmp_path / "Dockerfile"))
        return done.returncode, done.stdout + done.stderr

    text = (RECIPES / name).read_text()
    assert lint(text) == (0, "")
    assert lint(text.replace("ENV ", "ENVV "))[0] == 1


def test_github_actions(tmp_path):
    def validate(path):
        return node("node_modules/@action-validator/cli/cli.mjs", path)

    done = validate(RECIPES / "github-actions.yml")
    assert (done.returncode, done.stderr) == (0, ""), done
    (tmp_path / "bad.yml").write_text((RECIPES / "github-actions.yml").read_text().replace("runs-on", "run-on"))
    assert validate(tmp_path / "bad.yml").returncode == 1


def test_gitlab_ci():
    schema = node("--input-type=module", "-e",
                  'import { schema } from "./gitlab/src/schema/schema.js"; process.stdout.write(JSON.stringify(schema))')
    validator = jsonschema.Draft7Validator(json.loads(schema.stdout))
    jobs = read("gitlab-ci.yml")
    assert list(validator.iter_errors(jobs)) == []
    jobs["build"]["scripts"] = []
    assert ["'scripts' was unexpected" in error.message for error in validator.iter_errors(jobs)] == [True]


def declarations(kind, name):
    """The file that another one names, from beside it or from a package."""
    return ((NPM / "node_modules" if name.startswith("@") else kind.parent) / f"{name}.d.ts").resolve()


def unknown_fields(value, kind, where=""):
    """Names in a Kubernetes object that its kind, a file of declarations, does not have: an API server would drop or refuse them."""
    if isinstance(value, list):
        return [name for each in value for name in unknown_fields(each, kind, where)]
    if not isinstance(value, dict):
        return []
    text = kind.read_text()
    known = dict(re.findall(r'^    "(\w+)"\??: (.*)$', text.split("interface ")[1].split("\n}")[0], re.M))
    files = dict(re.findall(r'^import \{ (\w+) \} from "(.*)";$', text, re.M))
    found = []
    for name, inner in value.items():
        if name not in known:
            found.append(f"{where}.{name}")
        for word in re.findall(r"\bI\w+", known.get(name, "")):
            found += unknown_fields(inner, declarations(kind, files[word]), f"{where}.{name}")
    return found


def test_kubernetes():
    deployment, models = read("kubernetes.yaml"), NPM / "node_modules/kubernetes-models/apps/v1/Deployment.d.ts"
    script = """import { readFileSync } from "node:fs"; import { Deployment } from "kubernetes-models/apps/v1/Deployment";
new Deployment(JSON.parse(readFileSync(0, "utf8"))).validate(); console.log("valid")"""

    def validate():
        return node("--input-type=module", "-e", script, stdin=json.dumps(deployment))

    assert validate().stdout == "valid\n", validate().stderr
    assert unknown_fields(deployment, models) == []
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["volumeMount"] = container["volumeMounts"].pop()
    assert unknown_fields(deployment, models) == [".spec.template.spec.containers.volumeMount"]
    container["env"][0]["value"] = 5
    assert "must be string" in validate().stderr


# ---- done -----------------------------------------------------------------------------------------------------------


def quick(text):
    """The same with backoffs that a test waits for."""
    assert ("--rerun" in text) == ("--base-delay 5s" in text)
    return text.replace("--base-delay 5s", "--base-delay 50ms")


def job(steps, folder, first="", **variables):
    """Runs a job's steps on one root, each by the runner's shell, in /told/work; then the same `npm ci` alone, without us."""
    (folder / "work").mkdir()
    npm_project(folder / "work")
    script = "root runner\n" + "".join(f"inside runner {shlex.quote(first + step)}\n" for step in steps)
    faults = {"/dep/-/dep-1.0.0.tgz": ["503", "reset"]}
    env = {"npm_config_registry": f"{URL}/", "npm_config_fetch_retries": "0", "npm_config_update_notifier": "false", **variables}
    with Site(npm_files(), faults):
        done = on_roots("root runner; inside runner 'cd /told/work; npm ci'", folder, **env)
        assert done.returncode != 0 and "503 Service Unavailable" in done.stderr, done
    with Site(npm_files(), faults) as site:
        done = on_roots(script, folder, **env)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert [outcome for path, outcome in site.seen if path.endswith(".tgz")] == ["503", "reset", "served"], site.seen
    assert (folder / "work/node_modules/dep").is_dir()
    return done, (folder / "calls").read_text().splitlines()


def test_github_actions_steps(network, tmp_path):
    steps = [step["run"] for step in read("github-actions.yml")["jobs"]["build"]["steps"] if "run" in step]
    runner = "set -a; touch /tmp/env; . /tmp/env; set +a; export GITHUB_ENV=/tmp/env RUNNER_TEMP=/tmp; cd /told/work\n"
    done, calls = job([f"{runner}exec bash --noprofile --norc -eo pipefail -c {shlex.quote(quick(step))}" for step in steps], tmp_path)
    assert calls[0].startswith("sudo apt-get install -y")
    assert calls[-2:] == ["sudo make -C libretryshim WERROR= install", "make -C libretryshim WERROR= install"]
    last = done.stdout.splitlines()[-3:]
    for line, words in zip(last, ("Retry attempt 1/4 failed: ", "Retry attempt 2/4 failed: ", "npm succeeded on attempt 3"), strict=True):
        assert words in line, done


def test_gitlab_ci_script(network, tmp_path):
    jobs = read("gitlab-ci.yml")
    lines = [*jobs[".retryshim"]["before_script"], *map(quick, jobs["build"]["script"])]
    _, calls = job(["\n".join(lines)], tmp_path, "cd /told/work\n", CI_PROJECT_DIR="/told/work")
    assert [call.split()[0] for call in calls] == ["apt-get", "apt-get", "git", "make"]
    assert calls[-1] == "make -C /tmp/libretryshim -j2 WERROR= all install"
    told = [json.loads(line)["event"] for line in (tmp_path / "work" / jobs[".retryshim"]["artifacts"]["paths"][0]).read_text().splitlines()]
    assert told == ["attempt_failed", "attempt_failed", "succeeded"]


# A program in the root `app` fails without the shim, recovers with it, and has told so.
def meets_a_late_port(enter, told):
    fetch = f"curl -sSf http://127.0.0.1:{PORT}/"
    return f"""! inside app {shlex.quote(fetch)} 2>/dev/null
{enter} {shlex.quote(f'exec {fetch}')} 2>$FOLDER/err &
until grep -q {shlex.quote(told)} $FOLDER/err; do sleep 0.05; done
"$SERVER" --port {PORT} -- 200 >$FOLDER/server 2>&1 & server=$!
wait %1; kill $server
"""


def instructions(name):
    text = re.sub(r"^#.*\n", "", (RECIPES / name).read_text(), flags=re.M).replace("\\\n", " ")
    return [line.split(None, 1) for line in text.splitlines() if line.strip()]


def test_dockerfile_steps(network, tmp_path):
    """The stages as they stand there. Each base is a root like this machine's, which has what apt-get would install."""
    script, stage, variables = "", "", ""
    for word, rest in instructions("Dockerfile"):
        if word == "FROM":
            stage = rest.split(" AS ")[1]
            script += f"root {stage}\n"
        elif word == "RUN":
            script += f"inside {stage} {shlex.quote(rest)} >$FOLDER/{stage}.log\n"
        elif word == "COPY" and rest.startswith("--from="):
            source, place = re.fullmatch(r"--from=(\w+ \S+) (\S+)", rest).groups()
            script += f"cp -a $ROOTS/{source.replace(' ', '')}. $ROOTS/{stage}{place}\n"
        elif word == "COPY":
            script += f"mkdir $ROOTS/{stage}/src; cd $SOURCE; cp -a Makefile shim include $ROOTS/{stage}/src; cp -a $BUILT $ROOTS/{stage}/build\n"
        elif word == "ENV":
            variables = rest
        else:
            script += f"inside {stage} {shlex.quote(shlex.join(json.loads(rest)))}\n"
            assert word == "CMD"
    enter = f"{variables} RETRY_BASE_DELAY_MS=200 inside app"
    done = on_roots(script + meets_a_late_port(enter, "Retry attempt 1/5"), tmp_path, own_make=True)
    assert done.returncode == 0, done
    assert "retryshim 0." in done.stdout and done.stdout.endswith("ok\n")
    assert " succeeded on attempt " in (tmp_path / "err").read_text()
    assert (tmp_path / "calls").read_text().splitlines()[0] == "apt-get update"


def test_dockerfile_for_alpine_makes_what_it_copies():
    run = next(rest for word, rest in instructions("Dockerfile.alpine") if word == "RUN" and rest.startswith("make"))
    argv = run.replace("/src", str(ROOT)).split()
    done = subprocess.run([*argv, "-n"], env={"PATH": PATH}, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "-o /out/libretryshim.so" in done.stdout


def test_kubernetes_pod(network, tmp_path):
    """The containers' commands, mounts, users and variables, as the kubelet would have them."""
    pod = read("kubernetes.yaml")["spec"]["template"]["spec"]
    script = "root app\nmkdir $ROOTS/volumes\ncp $SHIM $ROOTS/app" + OBJECT + "\n"
    for volume in pod["volumes"]:
        script += f"mkdir -m 777 $ROOTS/volumes/{volume['name']}\n"
    as_user = "setpriv --no-new-privs --bounding-set=-all --inh-caps=-all --reuid={0} --regid={0} --clear-groups"

    def container(which):
        mounts = "".join(f"mkdir -p $ROOTS/app{at['mountPath']}; mount --bind $ROOTS/volumes/{at['name']} $ROOTS/app{at['mountPath']}\n"
                         + (f"mount -o remount,bind,ro $ROOTS/app{at['mountPath']}\n" if at.get("readOnly") else "") for at in which["volumeMounts"])
        return mounts, as_user.format(which["securityContext"]["runAsUser"])

    (init,), (app,) = pod["initContainers"], pod["containers"]
    mounts, user = container(init)
    script += mounts + "inside app " + shlex.quote(f"exec {user} {shlex.join(init['command'])}")
    script += f"\numount $ROOTS/app/retryshim; rm $ROOTS/app{OBJECT}\n"  # the other container's image is another one
    mounts, user = container(app)
    script += mounts + "mount -o remount,ro $ROOTS/app\n"
    values = {each["name"]: each.get("value", "app-0") for each in app["env"]}
    values["RETRY_METRICS"] = values["RETRY_METRICS"].replace("$(POD)", values["POD"])
    words = shlex.join(f"{name}={value}" for name, value in {**values, "RETRY_BASE_DELAY_MS": 200}.items())
    script += f"pod() {{ inside app \"exec {user} env {words} $1\"; }}\n"
    script += meets_a_late_port("pod", "attempt_failed").replace("'exec curl", "'curl")
    script += "stat -c '%a %u' $ROOTS/volumes/retryshim-state/state; cat $ROOTS/volumes/metrics/app-0.prom\n"
    done = on_roots(script, tmp_path)
    assert done.returncode == 0, (done, Path(tmp_path, "err").read_text())
    lines = done.stdout.splitlines()
    assert lines[:2] == ["ok", "600 10001"] and any(line.startswith("retryshim_recovered_total{") for line in lines), done
    assert [json.loads(line)["event"] for line in (tmp_path / "err").read_text().splitlines()][-1] == "succeeded"
