/* What is known of one operation: who, where, and every event with its time. */

function tableHead(...titles) {
  return element("thead", {}, element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title))));
}

function attemptText({ attempt, max_attempts: most }) {
  if (attempt === 0) return "";
  return most > 0 ? `${attempt}/${most}` : String(attempt);
}

function eventRow(event) {
  const { text, notes } = eventText(event);
  const outcome = OUTCOME_OF_EVENT.get(event.event);
  const numbers = [formatTime(event.time), `+${formatDuration(event.offset)}`, attemptText(event)];
  return element("tr", {},
    ...numbers.map((number) => element("td", { class: "number" }, number)),
    element("td", {}, outcome && signOf(outcome), text, notes && element("span", { class: "muted" }, ` ${notes}`)));
}

function factsOf(operation) {
  const { saved, jump } = operation;
  return [
    ["program", whoOf(operation)],
    ["operation", visible(operation.operation)],
    ["target", visible(operation.target)],
    ["began", `${formatDate(operation.start)} ${formatTime(operation.start)} UTC`],
    ["took", formatDuration(operation.duration)],
    ["op", visible(operation.op)],
    ["trace_id", operation.trace && visible(operation.trace)],
    ["saved", saved > 0 && `at least ${formatDuration(saved)}: another process had found the destination back`],
    ["clock", jump > 0 && (isClocked(operation.events)
      ? `wall clock and elapsed time part by ${formatDuration(jump)}: it was set, or the machine slept`
      : `the wall clock went back by ${formatDuration(jump)}, and no elapsed time is told: the times are lower bounds`)],
  ].filter(([, text]) => text);
}

/* choose(facet, value): filters by what the operation has. */
function detailsOf(operation, choose) {
  const fact = ([name, text]) => element("div", {}, element("dt", {}, name), element("dd", {}, text));
  const only = (facet) =>
    element("button", { type: "button", click: () => choose(facet, operation[facet]) }, `Only this ${facet}`);
  return element("div", { class: "details" },
    element("dl", {}, ...factsOf(operation).map(fact)),
    element("table", {},
      tableHead("time (UTC)", "elapsed", "attempt", "what happened"),
      element("tbody", {}, ...operation.events.map(eventRow))),
    element("p", { class: "actions" }, only("target"), only("program"), operation.error && only("error")));
}
