"""scripts/recipes/dev.sh in the shells that people have."""

import subprocess

import pytest

from harness import BUILD, FaultServer, ROOT, built, need, run

DEV = ROOT / "scripts/recipes/dev.sh"
SHELLS = {"bash": ["bash"], "bash as sh": ["bash", "--posix"], "dash": ["dash"], "zsh": ["zsh", "-f"], "zsh as sh": ["zsh", "--emulate", "sh", "-f"]}
ONCE = {"max_delay_ms": 50, "budget_burst": 100, "diag": 0}


@pytest.fixture(name="shell", params=SHELLS)
def shells(request, tmp_path):
    """shell(script): run by a shell that has the short forms, with `retryshim` on its path."""
    (tmp_path / "retryshim").symlink_to(built(BUILD / "retryshim"))

    def of(script, *arguments):
        path = f'PATH="{tmp_path}:$PATH"\n. {DEV}\n'
        return run([*SHELLS[request.param], "-eu", "-c", path + script, "sh", *arguments], shim=False, **ONCE)
    return of


def counting(failures, status=1):
    return f"echo run >>runs; test $(wc -l <runs) -gt {failures} || exit {status}"


def test_net_retries_inside_and_runs_once(shell):
    with FaultServer(["503", "reset-after", "200"]) as server:
        assert shell(f"curl -sSf {server.url}").returncode != 0
    with FaultServer(["503", "reset-after", "200"]) as server:
        assert shell(f"net curl -sSf {server.url}").stdout == b"ok\n"
        assert [request["step"] for request in server.requests()] == ["503", "reset-after", "200"]
    result = shell(f"net sh -c '{counting(1, 7)}' || echo $?; cat runs")
    assert result.stdout == b"7\nrun\n", result


@pytest.mark.parametrize("form, most", [("again", 2), ("download", 4)])
def test_whole_commands_again(shell, form, most):
    for failures, told in ((most, "0"), (most + 1, "3")):
        result = shell(f"{form} sh -c '{counting(failures, 3)}' && code=0 || code=$?; echo $code; wc -l <runs")
        assert result.stdout.split() == [told.encode(), str(most + 1).encode()], result


def test_words_and_streams_are_the_commands_own(shell):
    script = 'for form in net again download; do printf in | $form sh -c \'printf "%s|" "$@"; cat; echo err >&2\' sh "a  b" "" "*" -- "$1"; done'
    result = shell(script, "$x 'y'")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"a  b||*|--|$x 'y'|in" * 3, b"err\n" * 3)


def test_it_is_a_shell_script_without_a_flaw():
    subprocess.run([need("shellcheck"), "-s", "sh", DEV], check=True)
