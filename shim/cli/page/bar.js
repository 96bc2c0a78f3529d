/* The bar of an operation: its attempts and backoffs on a scale that all rows have in common.
 *
 * A scale is {bars, from, length}, in ms: by the clock ("clock") all bars have one origin, else ("own") each begins at the
 * left, so that operations of different hours can be compared. */

const BAR_HEIGHT = 16, BAR_MIDDLE = 8, BAR_PADDING = 7;

/* Longer ones run out of the picture, with an arrow, where a few of them would make all others points. */
function ownLength(operations) {
  const lengths = Float64Array.from(operations, (operation) => operation.duration + operation.planned).sort();
  const longest = lengths.at(-1) ?? 0, usual = (lengths[Math.floor(lengths.length * 0.9)] ?? 0) * 1.2;
  return Math.max(longest > 2 * usual && usual > 0 ? usual : longest, 1);
}

function scaleOf(operations, bars, span) {
  if (bars === "own") return { bars, from: 0, length: ownLength(operations) };
  const { from, to } = span ?? extentOf(operations) ?? { from: 0, to: 1 };
  return { bars, from, length: Math.max(to - from, 1) };
}

const placeOf = (instant, scale, width) => BAR_PADDING + ((instant - scale.from) / scale.length) * (width - 2 * BAR_PADDING);

/* As short as tells the ticks apart; midnight is the new day's. */
function clockLabel(step) {
  const ofDay = step >= 60000 ? formatMinutes : step >= 1000 ? formatSeconds : formatTime;
  return (instant) => (instant % 86400000 === 0 ? formatShortDate : ofDay)(instant);
}

/* Round instants of a scale: {x, label}. */
function ticksOf(scale, width) {
  const isClock = scale.bars === "clock";
  const step = stepOf(scale.length, Math.max(1, Math.floor(width / 90)));
  const label = isClock ? clockLabel(step) : formatTick;
  const ticks = [];
  for (let at = Math.ceil(scale.from / step) * step; at <= scale.from + scale.length; at += step)
    ticks.push({ x: placeOf(at, scale, width), label: label(at) });
  return ticks;
}

const MARKS = {
  failed: (x) => shape("path", { class: "mark failed", d: `M${x - 3} 5l6 6m0-6l-6 6` }),
  shared: (x) => shape("circle", { class: "mark shared", cx: x, cy: BAR_MIDDLE, r: 3 }),
  succeeded: (x) => shape("path", { class: "mark succeeded", d: `M${x - 4} 8l3 3.4 5.5-7.4` }),
};

/* Attempts are blocks, waits are lines. */
function stretchShape(kind, from, to) {
  const isAttempt = kind === "failed" || kind === "succeeded";
  const width = Math.max(to - from, 1);
  if (isAttempt) return shape("rect", { class: `attempt ${kind}`, x: from, y: BAR_MIDDLE - 4, width, height: 8, rx: 1 });
  return shape("line", { class: kind, x1: from, x2: to, y1: BAR_MIDDLE, y2: BAR_MIDDLE });
}

function barOf(operation, scale, width, ticks) {
  const origin = scale.bars === "clock" ? operation.start : 0;
  const edge = width - 1;
  const place = (offset) => Math.min(edge, Math.max(0, placeOf(origin + offset, scale, width)));
  const isSeen = (offset) => origin + offset >= scale.from && origin + offset <= scale.from + scale.length;
  const svg = shape("svg", { class: "bar", width, height: BAR_HEIGHT, "aria-hidden": "true" });
  svg.append(...ticks.map(({ x }) => shape("line", { class: "tick", x1: x, x2: x, y1: 0, y2: BAR_HEIGHT })));
  if (operation.planned > 0)
    svg.append(stretchShape("planned", place(operation.duration), place(operation.duration + operation.planned)));
  const long = operation.stretches.filter(({ kind }) => kind !== "shared"); /* whose length is known */
  const ends = operation.stretches.filter(({ kind, to }) => MARKS[kind] && isSeen(to));
  svg.append(...long.map(({ kind, from, to }) => stretchShape(kind, place(from), place(to))));
  svg.append(...ends.map(({ kind, to }) => MARKS[kind](place(to))));
  if (!isSeen(operation.duration) && origin + operation.duration > scale.from)
    svg.append(shape("path", { class: "beyond", d: `M${edge - 6} 3l5 5-5 5` }));
  return svg;
}

/* The same for those who do not see it. */
function barText(operation) {
  const count = (kind) => operation.stretches.filter((stretch) => stretch.kind === kind).length;
  const [own, others] = [count("failed"), count("shared")];
  return `${plural(own, "attempt")} failed${others > 0 ? `, and ${others} of another process` : ""}`;
}
