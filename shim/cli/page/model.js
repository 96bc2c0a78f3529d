/* From lines of JSON to operations. Pure: no document, no clock.
 *
 * Only ends are told: of an attempt (elapsed_ms after the operation began), of a planned backoff (delay_ms after that). What
 * lies between is reckoned here, once, for the bars and for the figures. */

/* How an operation can end, in the order in which it is shown everywhere. `event` is what tells it. */
const OUTCOMES = [
  { key: "recovered", event: "succeeded", label: "recovered", note: "saved by a retry" },
  { key: "exhausted", event: "exhausted", label: "exhausted", note: "no attempt was left" },
  { key: "given_up", event: "given_up", label: "given up", note: "not retried further" },
  { key: "not_retryable", event: "not_retryable", label: "not retryable", note: "a retry is no help" },
  { key: "unfinished", event: null, label: "unfinished", note: "end not in the files" },
];
const OUTCOME_OF_EVENT = new Map(OUTCOMES.filter((each) => each.event).map((each) => [each.event, each]));
const UNFINISHED = OUTCOMES.find((each) => !each.event);

/* Where two events of one attempt are told in the same millisecond. */
const RANK = new Map([["attempt_failed", 0], ["fallback", 1]]);

/* Wall clock and elapsed time that part by more: somebody has set the clock, or the machine slept. */
const CLOCK_JUMP_MS = 2000;
/* Two rounded numbers part by so much without meaning anything. */
const ROUNDING_MS = 2;

/* What a file may hold beyond these is no time and no count: the page's dates would end. */
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;
const LONGEST_MS = 366 * 86400000;
const ATTEMPTS_MOST = 1001; /* RETRY_MAX_ATTEMPTS, and the fallback's */

const timeOf = (text) => (TIME.test(text) ? Date.parse(text) : NaN);
const countOf = (number, most) => (Number.isInteger(number) && number >= 0 && number <= most ? number : undefined);

/* The events of the lines, each once; and how many lines were too much, or told no time that there is. */
function readEvents(text) {
  const lines = text.split("\n").filter((line) => line !== "");
  const events = [];
  for (const line of new Set(lines)) {
    const event = JSON.parse(line);
    event.time = timeOf(event.ts);
    event.elapsed = countOf(event.elapsed_ms, LONGEST_MS);
    event.delay = countOf(event.delay_ms, LONGEST_MS) ?? 0;
    event.attempt = countOf(event.attempt, ATTEMPTS_MOST) ?? 0;
    event.shared = event.shared > 0;
    if (Number.isFinite(event.time)) events.push(event);
  }
  const different = new Set(lines).size;
  return { events, repeated: lines.length - different, timeless: different - events.length };
}

/* What a process was told is not what its forked child was told: the operation is one process'. */
function readOperations(events) {
  const groups = new Map(), processes = new Map(); /* by key, and how many by op */
  for (const event of events) {
    if (!event.op) continue;
    const key = `${event.op}.${event.pid ?? ""}`;
    if (groups.has(key)) groups.get(key).push(event);
    else {
      groups.set(key, [event]);
      processes.set(event.op, (processes.get(event.op) ?? 0) + 1);
    }
  }
  return Array.from(groups, ([key, told]) => operationOf(key, told, processes.get(told[0].op) > 1));
}

const isClocked = (events) => events.every((event) => event.elapsed !== undefined);

/* Gives each event its `offset`, ms since the operation began, and puts them in order. Returns when that was. Elapsed time
 * is used where all tell it: no one can set that clock. Else a wall clock that went back counts as one that stood still. */
function putInOrder(events) {
  const rank = (event) => RANK.get(event.event) ?? 2;
  const byAttempt = (a, b) => a.attempt - b.attempt || rank(a) - rank(b) || a.time - b.time;
  if (isClocked(events)) {
    for (const event of events) event.offset = event.elapsed;
    events.sort((a, b) => a.offset - b.offset || byAttempt(a, b));
  } else {
    events.sort(byAttempt);
    let before = { time: events[0].time, offset: 0 };
    for (const event of events) {
      event.offset = before.offset + Math.max(0, event.time - before.time);
      before = event;
    }
  }
  return events[0].time - events[0].offset;
}

/* Attempts and waits, one after the other: {kind, from, to}. An attempt began when the planned backoff was over, or, if it
 * ended earlier than that, at an instant that is not known: it is shown as its end alone. */
function stretchesOf(events) {
  const stretches = [];
  let at = 0, planned = 0, attempt = 0;
  if (events[0].attempt > 1) planned = events[0].offset; /* what came before is in no file */
  for (const event of events) {
    const isAttempt = event.attempt !== attempt; /* else: a backoff that was broken off, a fallback that is announced */
    const from = isAttempt && !event.shared ? Math.min(planned, event.offset) : event.offset;
    const kind = event.event === "succeeded" ? "succeeded" : event.shared ? "shared" : "failed";
    if (from > at) stretches.push({ kind: stretches.length ? "wait" : "untold", from: at, to: from });
    if (isAttempt) stretches.push({ kind, from, to: event.offset });
    [at, attempt, planned] = [event.offset, event.attempt, event.offset + event.delay];
  }
  return stretches;
}

/* By how much the wall clock parts from the offsets, where that is more than the clocks' own inaccuracy. */
function jumpOf(events, start) {
  const most = events.reduce((found, event) => Math.max(found, Math.abs(event.time - event.offset - start)), 0);
  return most > (isClocked(events) ? CLOCK_JUMP_MS : 0) ? most : 0;
}

/* Attempts after the first. A forked child goes on counting where its parent was: what each of the two tells is its own. */
function retriesOf(events, attempts, isForked) {
  if (!isForked) return attempts - 1;
  return new Set(events.map((event) => event.attempt).filter((attempt) => attempt > 1)).size;
}

/* How long before its planned end the last backoff was over: another process had found the destination back. */
function savedOf(events, end) {
  if (!isClocked(events)) return 0;
  const before = events[events.indexOf(end) - 1];
  const early = before?.event === "attempt_failed" ? before.offset + before.delay - end.offset : 0;
  return early >= ROUNDING_MS ? early : 0;
}

function operationOf(key, events, isForked) {
  const start = putInOrder(events);
  const end = events.findLast((event) => OUTCOME_OF_EVENT.has(event.event));
  const last = events.at(-1);
  const outcome = end ? OUTCOME_OF_EVENT.get(end.event) : UNFINISHED;
  const failures = events.filter((event) => event.event !== "succeeded");
  const attempts = events.reduce((most, event) => Math.max(most, event.attempt), 1);
  const named = (member) => events.find((event) => event[member])?.[member] ?? "";
  return {
    key, events, start, outcome, attempts, failures,
    op: events[0].op,
    pid: events[0].pid,
    trace: named("trace_id"),
    program: named("program"),
    target: named("target"),
    operation: named("operation"),
    fallback: named("fallback"),
    reason: end?.reason ?? "",
    error: failures.at(-1)?.error ?? "",
    errors: new Set(failures.map((event) => event.error).filter(Boolean)),
    duration: last.offset,
    /* From the first failure to the end. */
    waited: failures.length > 0 && end ? Math.max(0, end.offset - failures[0].offset) : 0,
    saved: outcome.key === "recovered" ? savedOf(events, end) : 0,
    planned: end ? 0 : last.delay,
    jump: jumpOf(events, start),
    retries: retriesOf(events, attempts, isForked),
    stretches: stretchesOf(events),
  };
}
