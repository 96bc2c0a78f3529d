"""What the operations of a round are, what the server does to each, and what may come of it. The programs know the first part too.

Operation N of a round is a request for /CLIENT/ROUND/N; a right answer's body says that twenty times.
"""

METHODS = ["GET", "GET", "POST", "GET", "PUT", "GET", "GET", "GET", "POST", "GET"]  # by N modulo 10
FLAPPING, DEAD = (7, 8), (9,)  # N modulo 10: to the port that opens and closes, to the one that never opens
TIMED = 12  # N modulo 13: the program gives it 40 ms

# By N modulo 13: the steps that a request meets, one an attempt; the last one repeats.
PLANS = [
    ["200"],
    ["503", "200"],
    ["503 now", "200"],
    ["503 later"],
    ["429", "200"],
    ["reset", "200"],
    ["empty", "200"],
    ["half head", "200"],
    ["half body"],
    ["slow"],
    ["404"],
    ["503"],
    ["hang"],
]


def plan_of(n, flapping):
    return ["200"] if flapping else PLANS[n % len(PLANS)]


def outcome_of(step):
    """What a client makes of it."""
    return {"slow": "200", "503 now": "503", "503 later": "503"}.get(step, step if step.isdigit() else "fail")


def objections(n, result, requests, http_retries, free, attempts):
    """Why this result cannot be, given the requests that the server saw: [(method, step), ...].

    http_retries: the program's transfers are libcurl's, and retried; free: neither budget nor circuit ends that.
    """
    last, steps = n % 10, [step for _, step in requests]
    method, plan = METHODS[last], plan_of(n, last in FLAPPING)
    if any(seen != method for seen, _ in requests):
        yield "another method"
    if method == "POST" and len(requests) > 1:
        yield "a POST sent twice"
    if len(requests) > attempts:
        yield "too many requests"
    if sum(outcome_of(step) == "200" for step in steps) > 1:
        yield "delivered twice"
    if result not in ("fail", "200", "404", "429", "503"):
        yield "a wrong body or status"
    if last in DEAD:
        if result != "fail":
            yield "from a dead port"
    elif last in FLAPPING:
        # Not accepted, reset in the queue, or out of time: the server need not know.
        if result == "200" and len(requests) != 1:
            yield "not what the server saw"
    elif n % len(PLANS) == TIMED and not steps:  # it came too late
        if result != "fail":
            yield "from nowhere"
    elif result != (outcome_of(steps[-1]) if steps else None):
        yield "not what the server saw"
    elif http_retries and free and method != "POST" and plan[-1] == "200" and result != "200":
        yield "not recovered"
