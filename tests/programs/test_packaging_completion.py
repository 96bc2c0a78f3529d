"""What bash, zsh and fish offer for the command, and that it is what the command takes.

Each shell is asked by its own means, in one process for many lines. A line ends where the cursor is.
"""

import os
import pty
import re
import subprocess
import threading

import pytest

from harness import BUILD, ROOT, built, need, wait_until

COMPLETION = ROOT / "shim/cli/completion"
COMMANDS = ["run", "check", "env", "status", "metrics", "report", "tail", "help", "version"]
EVENTS = {"attempt_failed", "succeeded", "exhausted", "given_up", "not_retryable", "fallback", "bad_value", "unused_value"}

# What is offered for a line's last word; what a shell adds to a word (its description, an option's =) is taken off before.
OFFERS = {
    "retryshim s": {"status"},
    "retryshim help me": {"metrics"},
    "retryshim run --ji": {"--jitter"},
    "retryshim run --jitter ": {"full", "equal", "decorrelated", "none"},
    "retryshim run --jitter=f": {"full"},
    "retryshim run --attempts 5 --jitter=e": {"equal"},
    "retryshim run --unix ": {"busy", "all", "off"},
    "retryshim run --deepbind ": {"auto", "keep", "drop"},
    "retryshim run --breaker ": {"pass", "reject", "off"},
    "retryshim run --diag-format ": {"text", "json"},
    "retryshim run --rerun-output ": {"last", "all"},
    "retryshim run --state of": {"off", "office.txt"},
    "retryshim run --config=of": {"off", "office.txt"},
    "retryshim run --diag-file of": {"office.txt"},
    "retryshim run --diag-dir o": {"omen"},
    "retryshim status --state of": {"office.txt"},
    "retryshim report of": {"office.txt"},
    "retryshim tail -n 3 of": {"office.txt"},
    "retryshim tail --event ": EVENTS,
    "retryshim tail --color=a": {"always", "auto"},
    "retryshim tail --color of": {"office.txt"},
    "retryshim env of": set(),
    "retryshim run --attempts 5 -- faultyp": {"faultyprogram"},
    "retryshim run --jitter=full --diag -- faultyprogram --al": {"--alpha"},
    "retryshim check -- faultyprogram --al": {"--alpha"},
    "retryshim run -- cat of": {"office.txt"},
    "retryshim status -- of": None,  # whatever; it only must not end in an error
}

# The programs of users have completions, too.
FAULTY = {
    "bash": "complete -W '--alpha --beta' faultyprogram",
    "zsh": "_faulty() { _arguments '--alpha' '--beta' }\ncompdef _faulty faultyprogram",
    "fish": "complete -c faultyprogram -l alpha\ncomplete -c faultyprogram -l beta",
}


def split_for_bash(line):
    """COMP_WORDS: `=` stands alone."""
    words = [part for word in line.split(" ") for part in re.split("(=)", word) if part or not word]
    return words if not line.endswith("=") else words[:-1] + ["="]


def ask_bash(lines, folder, environment):
    script = """. /usr/share/bash-completion/bash_completion
compopt() { :; }
""" + f". {COMPLETION}/retryshim.bash\n{FAULTY['bash']}\n" + """ask() {
    COMP_LINE=$1 COMP_POINT=${#1}; shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    _retryshim retryshim "${@: -1}" "${@: -2:1}"
    printf '%s\\n' "${COMPREPLY[@]}" END
}
"""
    quote = lambda words: " ".join("'" + word + "'" for word in words)
    script += "".join(f"ask {quote([line, *split_for_bash(line)])}\n" for line in lines)
    done = subprocess.run([need("bash"), "--norc", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split("END\n")


def ask_fish(lines, folder, environment):
    script = f"source {COMPLETION}/retryshim.fish\n{FAULTY['fish']}\n"
    script += "".join(f"complete -C '{line}' | cut -f1\necho END\n" for line in lines)
    done = subprocess.run([need("fish"), "--no-config", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split("END\n")


ZSH = """fpath=(%(completion)s $fpath)
autoload -Uz compinit && compinit -u -D
unsetopt list_beep always_last_prompt
LISTMAX=100000
compadd() {
    local -a found
    if [[ " ${(@)argv[1,(i)(-|--)]} " != *' -'[OAD]' '* ]]; then
        builtin compadd -O found "$@"
        print -rl -- "${found[@]}" >>%(answers)s
    fi
    builtin compadd "$@"
}
answer_ends() { print END >>%(answers)s }
set_post() { comppostfuncs=(answer_ends) }
precmd_functions+=(set_post)
complete_here() { comppostfuncs=(answer_ends); _main_complete "$@" }
zle -C complete-here list-choices complete_here
bindkey '^T' complete-here
bindkey '^U' kill-whole-line
print -r READY >%(ready)s
"""


def ask_zsh(lines, folder, environment):
    """The line editor needs a terminal; what it would show is written to a file instead."""
    answers, ready, start = folder.parent / "answers", folder.parent / "ready", folder.parent / "start.zsh"
    start.write_text(ZSH % {"completion": COMPLETION, "answers": answers, "ready": ready} + FAULTY["zsh"] + "\n")
    answers.write_text("")
    master, slave = pty.openpty()
    shell = subprocess.Popen([need("zsh"), "-f", "-i"], cwd=folder, env={**environment, "TERM": "dumb"}, stdin=slave,
                             stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    screen = []

    def read():
        try:
            while data := os.read(master, 65536):
                screen.append(data)
        except OSError:  # its end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        os.write(master, f". {start}\r".encode())
        wait_until(ready.exists, timeout=60, what="zsh")
        for count, line in enumerate(lines, 1):
            os.write(master, b"\x15" + line.encode() + b"\x14")
            wait_until(lambda: answers.read_text().count("END\n") == count, timeout=60, what=f"zsh's answer to {line!r}")
    except AssertionError as error:
        pytest.fail(f"{error}\n{b''.join(screen).decode(errors='replace')}")
    finally:
        shell.kill()
        shell.wait()
        reader.join()
        os.close(master)
    return answers.read_text().split("END\n")


SHELLS = {"bash": ask_bash, "zsh": ask_zsh, "fish": ask_fish}


def ask(shell, lines, tmp_path):
    """Line -> the words that are offered, in a folder with a file and a folder."""
    folder = tmp_path / "here"
    (folder / "omen").mkdir(parents=True)
    (folder / "office.txt").touch()
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "faultyprogram").write_text("#!/bin/sh\n")
    (programs / "faultyprogram").chmod(0o755)
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    answers = SHELLS[shell](lines, folder, environment)
    words = [{offered(word) for word in answer.split("\n") if word.strip()} for answer in answers]
    return dict(zip(lines, words))


def offered(word):
    """A choice behind its option is offered with it by some shells; a folder with a slash."""
    name, equals, value = word.strip().partition("=")
    return (value if equals and value else name).rstrip("/")


@pytest.mark.parametrize("shell", SHELLS)
def test_offers_what_fits(shell, tmp_path):
    answers = ask(shell, list(OFFERS), tmp_path)
    assert {line: answers[line] for line in OFFERS if OFFERS[line] is not None} == \
        {line: words for line, words in OFFERS.items() if words is not None}


def options_of(command):
    """The long options that its help names."""
    text = subprocess.run([built(BUILD / "retryshim"), command, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", text, re.M)) | {"--help"}


@pytest.mark.parametrize("shell", SHELLS)
def test_offers_the_options_that_the_command_has(shell, tmp_path):
    lines = {f"retryshim {command} --": command for command in COMMANDS if shell != "zsh" or command not in ("help", "version")}
    answers = ask(shell, list(lines), tmp_path)
    assert {command: answers[line] - {"--"} for line, command in lines.items()} == \
        {command: options_of(command) for command in lines.values()}


@pytest.mark.parametrize("shell", SHELLS)
def test_offers_the_commands_that_there_are(shell, tmp_path):
    listing = subprocess.run([built(BUILD / "retryshim"), "help"], capture_output=True, text=True, check=True).stdout
    there = set(re.findall(r"^  ([a-z]+)  +\S", listing, re.M))
    assert there == set(COMMANDS)
    offers = ask(shell, ["retryshim "], tmp_path)["retryshim "]
    assert {word for word in offers if not word.startswith("-")} == there


def test_choices_are_those_of_the_table():
    """OFFERS has each, and the shells offer what stands there."""
    table = (ROOT / "shim/policy/config.c").read_text()
    options = dict(re.findall(r'"([a-z-]+)", "(RETRY_[A-Z_]+)", FORM', (ROOT / "shim/cli/options.c").read_text()))
    choices = dict(re.findall(r'\{"(RETRY_[A-Z_]+)", KIND_(?:CHOICE|JITTER),[^"]*"([^"]*)"', table))
    assert len(choices) == table.count("KIND_CHOICE, ") + table.count("KIND_JITTER, ") > 4
    for option, variable in options.items():
        if variable in choices:
            assert OFFERS[f"retryshim run --{option} "] == set(choices[variable].split("|"))
