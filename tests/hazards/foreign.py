"""The object built by another compiler than the rest of the tests', for hosts that are built by it too.

    place = Foreign(folder, "gcc -m32", "-idirafter", ...)
    place.make()
    said = place.recovers(place.host("waits"), "recover", "poll", -1)
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness import ROOT, need, run
from hosts import Host, LatePort, compiled
from test_waits import BRIEF, check_recovered


@dataclass
class Foreign:
    folder: Path
    compiler: str
    headers: list  # options
    host_flags: tuple = ()

    @property
    def object(self):
        return self.folder / "build" / "libretryshim.so"

    def make(self):
        """The object alone: only its hosts have to be of its kind."""
        argv = [need("make"), "-j2", f"B={self.folder}/build", f"CC={self.compiler}", "CFLAGS=-O2",
                f"CPPFLAGS={' '.join(self.headers)}", self.object]
        # Not the variables of the make that runs the tests.
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        made = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
        assert made.returncode == 0 and made.stderr == "", made.stderr

    def host(self, name, *flags, output=None):
        """Path of the program made from NAME.c."""
        output = output or "-".join([self.folder.name, name, *(flag.strip("-").replace("=", "-") for flag in flags)])
        return compiled(name, *self.headers, *self.host_flags, *flags, output=output, compiler=self.compiler)

    def env(self, shim=True, **more):
        return {"LD_PRELOAD": self.object if shim else None, **more}

    def run(self, program, *arguments, shim=True, env=None, **retry):
        return run([program, *arguments], env={**self.env(shim), **(env or {})}, **retry)

    def recovers(self, program, *arguments, env=None, **retry):
        """Fails without the shim, recovers with it when the port opens late; returns what the host said then."""
        with LatePort() as port:
            without = self.run(program, *arguments, port.number, shim=False)
            assert without.returncode == 0 and b"connect=ECONNREFUSED\n" in without.stdout and without.diag == b"", without
            with Host("foreign", *arguments, port.number, program=program, env={**self.env(), **(env or {})},
                      **{**BRIEF, **retry}) as host:
                host.wait_event("attempt_failed")
                with port.open() as server:
                    said = host.finish()
                    check_recovered(host, server, said)
                    assert host.stderr == b""
                    return said
