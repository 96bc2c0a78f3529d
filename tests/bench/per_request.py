"""Instructions that a request costs a server, and a client that waits by epoll, by callgrind: exact, however busy the machine is."""

import contextlib
import re
import subprocess
import tempfile
import time

from measure import environment
from servers import answers, free_port, nginx

FEW, MANY = 50, 250
CALLGRIND = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
REQUESTS = ["ab", "-q", "-c1"]


def collected(text):
    return int(re.search(r"Collected : (\d+)", text)[1])


def ended(server):
    """What it said. nginx looks at its flags, then waits: a signal between the two (valgrind is slow there) is not noticed."""
    while True:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return server.communicate(timeout=0.5)[1]


def of_server(preload, count, more=("-k",)):
    """nginx's, for so many requests one after another, start and end included."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen([*CALLGRIND, *nginx(folder, port)], env=environment(preload), stderr=subprocess.PIPE, text=True)
        try:
            while not answers(port):
                assert server.poll() is None, server.communicate()
                time.sleep(0.1)
            subprocess.run([*REQUESTS, *more, f"-n{count}", f"http://127.0.0.1:{port}/"], check=True, capture_output=True)
        finally:
            told = ended(server)
    return collected(told)


def of_client(preload, count, port, more=("-k",)):
    """ab's."""
    argv = [*CALLGRIND, *REQUESTS, *more, f"-n{count}", f"http://127.0.0.1:{port}/"]
    return collected(subprocess.run(argv, env=environment(preload), check=True, capture_output=True, text=True).stderr)


def each(measure, preload, *arguments):
    """measure()'s slope: what one request more costs."""
    return (measure(preload, MANY, *arguments) - measure(preload, FEW, *arguments)) / (MANY - FEW)
