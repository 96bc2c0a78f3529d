/* Numbers, times and events in words. Pure. Times are UTC, as they are in the diagnostics. */

const formatCount = (count) => count.toLocaleString("en-GB");
const plural = (count, word) => `${formatCount(count)} ${word}${count === 1 ? "" : "s"}`;
const digits = (number, count) => String(Math.floor(number)).padStart(count, "0");

function formatDuration(ms) {
  const s = ms / 1000;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (s < 59.95) return `${s.toFixed(s < 9.995 ? 2 : 1)} s`;
  const whole = Math.round(s);
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${digits(whole % 60, 2)}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h ${digits((whole % 3600) / 60, 2)}m`;
  return `${formatCount(Math.floor(whole / 86400))}d ${Math.floor((whole % 86400) / 3600)}h`;
}

const isoOf = (instant) => new Date(instant).toISOString();
const formatTime = (instant) => isoOf(instant).slice(-13, -1);
const formatMinutes = (instant) => isoOf(instant).slice(-13, -8);
const formatSeconds = (instant) => isoOf(instant).slice(-13, -5);
const dateFormat = (year) => new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year, timeZone: "UTC" });
const [DATE, SHORT_DATE] = ["numeric", undefined].map(dateFormat);
const formatDate = (instant) => DATE.format(instant);
const formatShortDate = (instant) => SHORT_DATE.format(instant);
const isOneDay = (span) => isoOf(span.from).slice(0, -14) === isoOf(span.to).slice(0, -14);

function formatSpan({ from, to }) {
  if (isOneDay({ from, to })) return `${formatDate(from)}, ${formatSeconds(from)} – ${formatSeconds(to)} UTC`;
  return `${formatDate(from)}, ${formatSeconds(from)} – ${formatDate(to)}, ${formatSeconds(to)} UTC`;
}

/* Characters that cannot be seen, or that turn the direction of those around them, as their code: a name must not look
 * like another. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}/gu;
const codeOf = (character) => `\\u${character.codePointAt(0).toString(16).padStart(4, "0")}`;
const NO_TEXT = "(none)";
function visible(text) {
  if (text === "") return NO_TEXT;
  return text === NO_TEXT ? codeOf("(") + NO_TEXT.slice(1) : text.replace(INVISIBLE, codeOf);
}

const whoOf = ({ program, pid }) => `${visible(program)}[${pid ?? "?"}]`;

/* Round steps for a scale of `length` ms with at most `most` of them. */
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
function stepOf(length, most) {
  const least = length / most;
  if (least > 86400000) return Math.ceil(least / 86400000) * 86400000;
  if (least > 500) return STEPS_S.find((step) => step * 1000 >= least) * 1000;
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  return [1, 2, 5, 10].find((factor) => factor * power >= least) * power;
}

function formatTick(ms) {
  if (ms === 0) return "0";
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60000) return `${ms / 1000} s`;
  if (ms < 3600000) return `${ms / 60000} min`;
  return `${ms / 3600000} h`;
}

/* "ERROR: message" */
const errorText = ({ error, message }) => [error, message].filter(Boolean).map(visible).join(": ") || "an unknown error";
const ifAny = (text, before, after = "") => (text ? `${before}${visible(text)}${after}` : "");

/* How an operation ended, in a few words. */
const OUTCOME_TEXT = {
  recovered: ({ error, fallback }) => `recovered${ifAny(error, " from ")}${ifAny(fallback, " at ")}`,
  exhausted: ({ error }) => `exhausted${ifAny(error, ": ")}`,
  given_up: ({ error, reason }) => `given up${ifAny(reason, " (", ")")}${ifAny(error, ": ")}`,
  not_retryable: ({ error }) => `not retryable${ifAny(error, ": ")}`,
  unfinished: ({ error }) => `unfinished${ifAny(error, " after ")}`,
};
const outcomeText = (operation) => OUTCOME_TEXT[operation.outcome.key](operation);

const EVENT_TEXT = {
  attempt_failed: (event) => `${errorText(event)}. Next attempt in ${formatDuration(event.delay)}.`,
  succeeded: () => "Succeeded.",
  exhausted: (event) => `${errorText(event)}. No attempt is left.`,
  given_up: (event) => `${errorText(event)}. Given up${ifAny(event.reason, " (", ")")}.`,
  not_retryable: (event) => `${errorText(event)}. Not retryable.`,
  fallback: (event) => `${errorText(event)}. Falling back to ${visible(event.fallback ?? "")}.`,
};

const REASON_TEXT = new Map([
  ["deadline", "the next backoff would have ended past the time limit"],
  ["budget", "no token was left in the destination's budget"],
  ["breaker", "the destination's circuit is open"],
  ["unsafe", "the server may have acted on the request already"],
  ["rewind", "what was to be sent cannot be sent again"],
  ["delivered", "the program had some of the answer already"],
  ["retry_after", "the server asked for a longer pause than is allowed"],
  ["signal", "a signal came during the backoff"],
]);

/* What happened at one event, with what else is known of it. */
function eventText(event) {
  const notes = [
    event.shared ? "another process' attempt, no traffic" : "",
    event.replays > 0 ? `replayed by libcurl: ${event.replays}` : "",
    REASON_TEXT.get(event.reason) ?? "",
    [event.category, event.severity].filter(Boolean).map(visible).join("/"),
  ];
  return { text: EVENT_TEXT[event.event](event), notes: notes.filter(Boolean).join("; ") };
}

/* "812 operations failed at first: 790 recovered, 14 exhausted, 8 given up." */
function summaryText(figures, all) {
  const { operations, outcomes } = figures;
  const part = ({ key, label }) => `${formatCount(outcomes.get(key))} ${label}`;
  const parts = OUTCOMES.filter(({ key }) => outcomes.get(key) > 0).map(part).join(", ");
  const failed = `${plural(all, "operation")} failed at first`;
  if (all === 0) return "There is no operation in these diagnostics.";
  if (operations === all) return `${failed}: ${parts}.`;
  if (operations === 0) return `${failed}; none of them passes the filters.`;
  return `${failed}; ${formatCount(operations)} of them ${operations === 1 ? "passes" : "pass"} the filters: ${parts}.`;
}
