/* The page: what is filtered by, and everything that follows from it. The state is one object; it is in the address
 * (location.hash) as well, so that a view can be kept and handed on. */

const OPTIONS_MOST = 2000; /* of a select; the text filter reaches the rest */
const TEXT_MOST = 200;

const facts = JSON.parse(byId("facts").textContent);
const { events, repeated, timeless } = readEvents(byId("events").textContent);
const operations = readOperations(events);
const extent = extentOf(operations);
const values = Object.fromEntries(Object.keys(FACETS).map((facet) => [facet, valuesOf(operations, facet)]));
const offered = Object.fromEntries(Object.keys(FACETS).map((facet) => [facet, values[facet].slice(0, OPTIONS_MOST)]));
const keys = new Set(operations.map((operation) => operation.key));
byId("events").remove(); /* tens of megabytes, perhaps */

/* By the clock, while an operation is more than a point on it. */
const USUAL = { sort: "start", bars: extent && ownLength(operations) * 40 > extent.to - extent.from ? "clock" : "own" };
let state = { ...USUAL };

/* ---- the address ---- */

const CHECKS = {
  ...Object.fromEntries(Object.keys(FACETS).map((facet) => [facet, (text) => values[facet].some(([value]) => value === text)])),
  text: (text) => text.trim() !== "" && text.length <= TEXT_MOST,
  sort: (text) => Object.hasOwn(ORDERS, text.replace(/^-/, "")),
  bars: (text) => text === "clock" || text === "own",
  open: (text) => keys.has(text),
};

/* What makes no sense here is left out, as if it had not been there. */
function stateOfHash(hash) {
  const told = new URLSearchParams(hash.slice(1));
  const found = { ...USUAL };
  for (const [name, isValid] of Object.entries(CHECKS)) {
    const text = told.get(name);
    if (text !== null && isValid(text)) found[name] = text;
  }
  const [from, to] = ["from", "to"].map((name) => Date.parse(told.get(name) ?? ""));
  return from < to ? { ...found, from, to } : found;
}

function hashOfState() {
  const told = new URLSearchParams();
  const isTold = (name) => state[name] !== undefined && state[name] !== USUAL[name];
  for (const name of Object.keys(CHECKS).filter(isTold)) told.set(name, state[name]);
  for (const name of ["from", "to"].filter(isTold)) told.set(name, isoOf(state[name]));
  return told.toString();
}

/* ---- changing ---- */

/* A little later, once for many changes: browsers allow about a hundred of these in half a minute. */
const ADDRESS_MS = 300;
let addressTimer;

function keepInAddress() {
  clearTimeout(addressTimer);
  addressTimer = setTimeout(() => {
    const hash = hashOfState();
    history.replaceState(null, "", hash ? `#${hash}` : location.href.replace(/#.*/, ""));
  }, ADDRESS_MS);
}

function change(patch) {
  state = { ...state, ...patch };
  keepInAddress();
  render();
}

const toggle = (facet, value) => change({ [facet]: state[facet] === value ? undefined : value });
const FILTERS = [...Object.keys(FACETS), "text", "from", "to"];
const without = (names) => Object.fromEntries(names.map((name) => [name, undefined]));
const clear = () => change(without(FILTERS));
const chooseSpan = (span) => change(span ? { from: Math.floor(span.from), to: Math.ceil(span.to) } : without(["from", "to"]));

function openRow(key) {
  state = { ...state, open: key };
  keepInAddress();
  timeline.showOpen(key);
}

/* ---- the parts ---- */

const overview = new Overview(byId("overview"), chooseSpan);
const timeline = new Timeline(byId("timeline"), {
  sort: (sort) => change({ sort }),
  open: openRow,
  filter: (facet, value) => { change({ [facet]: value }); byId("timeline").firstChild.focus(); },
});

function tile(label, value, note, attributes) {
  return element(attributes ? "button" : "div", { class: "tile", ...attributes },
    ...Object.entries({ label, value, note }).map(([name, text]) => element("span", { class: name }, text)));
}

function outcomeTile({ key, label, note }, count) {
  const button = tile(label, formatCount(count), note,
    { type: "button", "data-key": key, "aria-pressed": String(state.outcome === key), click: () => toggle("outcome", key) });
  if (count > 0) button.querySelector(".value").classList.add(key);
  button.querySelector(".label").prepend(signOf({ key }));
  return button;
}

const TOLD = OUTCOMES.filter(({ key }) => key !== "unfinished" || values.outcome.some(([value]) => value === key));

function showTiles({ outcomes, retries, shared, paid, vain, saved, early }) {
  const tiles = TOLD.map((outcome) => outcomeTile(outcome, outcomes.get(outcome.key)));
  redraw(byId("outcomes"), () => byId("outcomes").replaceChildren(...tiles));
  byId("times").replaceChildren(
    tile("retries", formatCount(retries), shared > 0 ? `${formatCount(shared)} cost no traffic` : "attempts after the first"),
    tile("waiting that paid off", formatDuration(paid), "first failure to success"),
    tile("waiting in vain", formatDuration(vain), "first failure to the last"),
    tile("saved by evidence", `${saved > 0 ? "≥ " : ""}${formatDuration(saved)}`,
      `${early > 0 ? plural(early, "backoff") : "no backoff"} cut short`));
}

const labelOf = (facet, value) => (facet === "outcome" ? OUTCOMES.find(({ key }) => key === value).label : visible(value));
const optionOf = (facet, [value, count]) => element("option", {}, `${labelOf(facet, value)} (${formatCount(count)})`);

/* What is chosen elsewhere may be none of the options: it becomes one. */
function showChosen(facet) {
  const chosen = values[facet].find(([value]) => value === state[facet]);
  if (chosen && !offered[facet].includes(chosen)) {
    offered[facet].push(chosen);
    byId(facet).append(optionOf(facet, chosen));
  }
  byId(facet).selectedIndex = 1 + offered[facet].indexOf(chosen);
}

const SPAN_HINT = "Draw over it to choose a span, or move its two ends with the arrow keys.";

function showFilters(count) {
  Object.keys(FACETS).forEach(showChosen);
  if (byId("text").value.trim() !== (state.text ?? "").trim()) byId("text").value = state.text ?? "";
  byId("bars").value = state.bars;
  byId("clear").ariaDisabled = FILTERS.every((name) => state[name] === undefined);
  const all = formatCount(operations.length);
  byId("count").textContent = count === operations.length ? `all ${all}` : `${formatCount(count)} of ${all}`;
  byId("span").textContent = state.from === undefined ? SPAN_HINT : formatSpan(state);
  byId("whole").hidden = state.from === undefined;
}

function render() {
  const { from, to, ...anytime } = state;
  const span = from === undefined ? null : { from, to };
  const filtered = operations.filter(passes(anytime));
  const shown = span ? filtered.filter(passes(span)) : filtered;
  const figures = figuresOf(shown);
  byId("summary").textContent = summaryText(figures, operations.length);
  showFilters(shown.length);
  showTiles(figures);
  for (const [facet, title] of [["target", "Target"], ["error", "Error"]]) {
    const choose = (value) => toggle(facet, value);
    showTotals(byId(`by-${facet}`), totalsOf(shown, facet), { title, chosen: state[facet], choose });
  }
  overview.show(filtered, extent, span);
  timeline.show(shown, { sort: state.sort, bars: state.bars, open: state.open, span, isOneDay: isOneDay(extent) });
}

/* ---- once ---- */

function fillSelect(facet) {
  byId(facet).append(element("option", {}, `any (${formatCount(values[facet].length)})`),
    ...offered[facet].map((each) => optionOf(facet, each)));
  byId(facet).addEventListener("change", () => change({ [facet]: offered[facet][byId(facet).selectedIndex - 1]?.[0] }));
}

function showFacts() {
  const programs = values.program.length, strays = facts.skipped + timeless;
  const parts = [
    facts.files.length <= 2 ? facts.files.map(visible).join(", ") : plural(facts.files.length, "file"),
    extent && formatSpan(extent),
    programs > 0 && plural(programs, "program"),
    plural(operations.length, "operation"),
    plural(events.length, "event"),
    repeated > 0 && `${plural(repeated, "event")} came twice`,
    strays > 0 && `${plural(strays, "line")} ${strays === 1 ? "was no event" : "were no events"}`,
  ];
  document.title = visible(facts.title);
  byId("title").textContent = visible(facts.title);
  byId("facts-line").replaceChildren(...parts.filter(Boolean).map((part) => element("li", {}, part)));
  byId("facts-line").title = facts.files.map(visible).join("\n");
  byId("version").textContent = facts.version;
}

const NOTICE_TEXT = {
  bad_value: ({ default: used }) => `is not valid; ${visible(used || "nothing")} stands instead`,
  unused_value: ({ reason = "" }) => `is not used (${visible(reason)})`,
};

/* Settings that did not count, each once. */
function showNotices() {
  const texts = new Map();
  for (const event of events.filter((each) => Object.hasOwn(NOTICE_TEXT, each.event))) {
    const setting = `${visible(event.variable ?? "")}=${ifAny(event.value, "")}`;
    const text = `${setting} ${NOTICE_TEXT[event.event](event)}`;
    texts.set(text, (texts.get(text) ?? 0) + 1);
  }
  const notice = ([text, times]) => element("li", {}, times > 1 ? `${text} (${formatCount(times)} times)` : text);
  byId("notices").hidden = texts.size === 0;
  byId("notices-list").append(...Array.from(texts, notice));
}

/* What is scrolled to does not end up under the filters, where these stay on top. */
function keepClear() {
  const isOnTop = getComputedStyle(byId("filters")).position === "sticky";
  document.documentElement.style.scrollPaddingTop = isOnTop ? `${byId("filters").offsetHeight}px` : "";
}

function start() {
  showFacts();
  showNotices();
  byId("theme").addEventListener("change", () => { document.documentElement.dataset.theme = byId("theme").value; });
  byId("page").hidden = false;
  if (operations.length === 0) {
    byId("summary").textContent = summaryText(figuresOf([]), 0);
    byId("nothing").hidden = events.length > 0; /* notices: they are ours */
    return;
  }
  byId("content").hidden = false;
  Object.keys(FACETS).forEach(fillSelect);
  byId("text").addEventListener("input", () => change({ text: byId("text").value.slice(0, TEXT_MOST).trim() || undefined }));
  byId("bars").addEventListener("change", () => change({ bars: byId("bars").value }));
  byId("clear").addEventListener("click", clear);
  byId("whole").addEventListener("click", () => { chooseSpan(null); overview.focus(); }); /* the button is gone then */
  new ResizeObserver(keepClear).observe(byId("filters"));
  addEventListener("hashchange", () => { clearTimeout(addressTimer); state = stateOfHash(location.hash); render(); });
  state = stateOfHash(location.hash);
  render();
  if (state.open) timeline.showOpen(state.open);
}

start();
