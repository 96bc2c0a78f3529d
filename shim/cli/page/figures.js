/* What operations come to: those that pass a filter, sums, totals, a histogram. Pure. */

const FACETS = {
  program: (operation) => [operation.program],
  target: (operation) => [operation.target],
  outcome: (operation) => [operation.outcome.key],
  error: (operation) => operation.errors,
};

const hasFailed = (operation) => operation.outcome.key !== "recovered" && operation.outcome.key !== "unfinished";
const endOf = (operation) => operation.start + operation.duration;

/* All texts of an operation in which one may look for a word; made when it is first looked for. */
function haystackOf(operation) {
  operation.haystack ??= [
    operation.program, operation.pid, operation.operation, operation.target, operation.op, operation.trace,
    operation.outcome.label,
    ...operation.events.flatMap((event) => [event.error, event.message, event.reason, event.fallback, event.category]),
  ].join("\n").toLowerCase();
  return operation.haystack;
}

/* True for operations that a filter {program, target, outcome, error, text, from, to} lets through; what it does not name
 * is not asked. An operation is in a span when it was under way at any instant of it. */
function passes(filter) {
  const facets = Object.entries(FACETS).filter(([name]) => filter[name] !== undefined);
  const words = (filter.text ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  return (operation) =>
    facets.every(([name, valuesOf]) => Array.from(valuesOf(operation)).includes(filter[name])) &&
    operation.start <= (filter.to ?? Infinity) && endOf(operation) >= (filter.from ?? -Infinity) &&
    words.every((word) => haystackOf(operation).includes(word));
}

/* First and last instant of operations, or null for none. */
function extentOf(operations) {
  if (operations.length === 0) return null;
  const extent = { from: Infinity, to: -Infinity };
  for (const operation of operations) {
    extent.from = Math.min(extent.from, operation.start);
    extent.to = Math.max(extent.to, endOf(operation));
  }
  return extent;
}

/* How often each value of a facet occurs: [value, operations], the most frequent first. */
function valuesOf(operations, facet) {
  const counts = new Map();
  for (const operation of operations)
    for (const value of FACETS[facet](operation)) counts.set(value, (counts.get(value) ?? 0) + 1);
  return Array.from(counts).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
}

function figuresOf(operations) {
  const figures = { operations: operations.length, retries: 0, shared: 0, paid: 0, vain: 0, saved: 0, early: 0 };
  figures.outcomes = new Map(OUTCOMES.map((outcome) => [outcome.key, 0]));
  for (const operation of operations) {
    const key = operation.outcome.key;
    figures.outcomes.set(key, figures.outcomes.get(key) + 1);
    figures.retries += operation.retries;
    figures.shared += operation.stretches.filter((stretch) => stretch.kind === "shared").length;
    if (key === "recovered") figures.paid += operation.waited;
    if (hasFailed(operation)) figures.vain += operation.waited;
    figures.saved += operation.saved;
    figures.early += operation.saved > 0 ? 1 : 0;
  }
  return figures;
}

/* A row for each value of a facet, the one with the most operations first. */
function totalsOf(operations, facet) {
  const rows = new Map();
  for (const operation of operations)
    for (const value of FACETS[facet](operation)) {
      if (!rows.has(value)) rows.set(value, { value, operations: 0, retries: 0, recovered: 0, failed: 0 });
      const row = rows.get(value);
      row.operations += 1;
      row.retries += operation.retries;
      row.recovered += operation.outcome.key === "recovered" ? 1 : 0;
      row.failed += hasFailed(operation) ? 1 : 0;
    }
  return Array.from(rows.values()).sort((a, b) => b.operations - a.operations || (a.value < b.value ? -1 : 1));
}

/* Attempts that failed (the processes' own) and operations that recovered, counted in `bins` equal parts of a span. */
function histogramOf(operations, span, bins) {
  const failed = new Array(bins).fill(0), recovered = new Array(bins).fill(0);
  const perBin = (span.to - span.from) / bins;
  const binOf = (instant) => Math.min(bins - 1, Math.max(0, Math.floor((instant - span.from) / perBin)));
  for (const operation of operations)
    for (const stretch of operation.stretches) {
      if (stretch.kind === "failed") failed[binOf(operation.start + stretch.to)] += 1;
      if (stretch.kind === "succeeded") recovered[binOf(operation.start + stretch.to)] += 1;
    }
  return { failed, recovered };
}

const ORDERS = {
  start: (operation) => operation.start,
  duration: (operation) => operation.duration,
  attempts: (operation) => operation.attempts,
};

/* A sorted copy. order: a name of ORDERS, "-" before it for the largest first. */
function inOrder(operations, order) {
  const sign = order.startsWith("-") ? -1 : 1;
  const by = ORDERS[order.replace("-", "")];
  return operations.slice().sort((a, b) => sign * (by(a) - by(b)) || a.start - b.start || (a.key < b.key ? -1 : 1));
}
