"""What the tests of curl_multi share: the two hosts (curl_hosts/multi.c, event.c) in all their styles, and what
they print."""

import functools
import inspect
import re
from concurrent.futures import ThreadPoolExecutor

from curl_hosts import host, lines, run

# style: the host that knows it
STYLES = {"poll": "multi", "wait": "multi", "fdset": "multi", "action": "event", "socket": "event", "all": "event"}
MAIN_STYLES = ["poll", "wait", "fdset", "action"]


def in_styles(*styles):
    """The test is run in all these styles at once, for most of it is waiting."""
    def decorate(test):
        @functools.wraps(test)
        def together(**arguments):
            for style in styles:
                host(STYLES[style])  # compiled by one thread
            with ThreadPoolExecutor(len(styles)) as pool:
                runs = [(style, pool.submit(test, style=style, **arguments)) for style in styles]
            for style, its in runs:
                if error := its.exception():
                    error.add_note(f"style: {style}")
                    raise error

        parameters = inspect.signature(test).parameters.values()
        together.__signature__ = inspect.Signature([each for each in parameters if each.name != "style"])
        return together

    return decorate


in_every_style, in_two_styles = in_styles(*MAIN_STYLES), in_styles("poll", "action")


def multi(style, *words, **options):
    """A host in one of STYLES obeys its words (curl_hosts/multi_session.h)."""
    return run([host(STYLES[style]), f"style={style}", *words], **options)


def numbers(result, form):
    """The numbers of every line that begins with this form."""
    found = re.finditer("^" + form, "\n".join(lines(result)), re.M)
    return [tuple(map(int, match.groups())) for match in found]


def done(result):
    """The messages in their order: (transfer, CURLcode)."""
    return numbers(result, r"(-?\d+) done (\d+)")


def left(result):
    """msgs_in_queue of each message."""
    return [count for count, in numbers(result, r"-?\d+ done \d+ left=(\d+)")]


def running(result):
    """What the running count of multi 0 changed to."""
    return [count for count, in numbers(result, r"m0 running (-?\d+)")]


def infos(result):
    """The lines of `info`, as dictionaries; numbers where they are numbers."""
    found = []
    for line in lines(result):
        if match := re.match(r"(\d+) info (.*)", line):
            pairs = (pair.split("=", 1) for pair in match[2].split())
            found.append({"transfer": int(match[1]),
                          **{name: int(value) if re.fullmatch(r"-?\d+", value) else value for name, value in pairs}})
    return found


def told(result, name):
    """A number that the host told of itself."""
    return numbers(result, rf"told.* {name}=(\d+)")[-1][0]


__all__ = ["MAIN_STYLES", "STYLES", "done", "in_every_style", "in_styles", "in_two_styles", "infos", "left", "multi",
           "numbers", "running", "told"]
