"""Other preloads that interpose some of the same calls, each told to let them pass: the cost of standing in the way."""

import os
import subprocess
from functools import cache
from pathlib import Path

# Name: its object's name, and the variables and configuration (a file's text; the variable that names it) with which it passes calls on.
PEERS = {
    "libdontdie": ("libdontdie.so", {}, None),
    "socket_wrapper": ("libsocket_wrapper.so", {}, None),
    "libfaketime": ("faketime/libfaketime.so.1", {}, None),
    "torsocks": ("torsocks/libtorsocks.so", {}, ("TORSOCKS_CONF_FILE", "AllowInbound 1\nAllowOutboundLocalhost 2\n")),
    "proxychains4": ("libproxychains.so.4", {"PROXYCHAINS_QUIET_MODE": "1"},
                     ("PROXYCHAINS_CONF_FILE", "localnet 127.0.0.0/255.0.0.0\n[ProxyList]\nsocks4 127.0.0.1 9050\n")),
}


class Peer:
    def __init__(self, name, folder):
        file, variables, settings = PEERS[name]
        self.name, self.variables = name, dict(variables)
        found = sorted(Path("/usr/lib").glob(f"*/{file}"))
        if not found:
            raise SystemExit(f"bench: no {file} (scripts/deps bench installs it)")
        self.path = str(found[0])
        if settings:
            variable, text = settings
            self.variables[variable] = str(Path(folder, f"{name}.conf"))
            Path(self.variables[variable]).write_text(text)

    def interposes(self, *calls):
        return any(call in exported(self.path) for call in calls)


@cache
def exported(path):
    told = subprocess.run(["nm", "-D", "--defined-only", os.path.realpath(path)], check=True, capture_output=True, text=True).stdout
    return {line.split()[2].split("@")[0] for line in told.splitlines()}


def all_peers(folder):
    return [Peer(name, folder) for name in PEERS]
