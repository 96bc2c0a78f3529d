/* The timeline: a row for each operation. Only rows in sight are elements, so that a hundred thousand are as quick as ten.
 *
 * It is one stop for the Tab key (a tree grid with aria-activedescendant); arrows move in it, Enter opens a row. */

const OVERSCAN = 8;
const PRINTED = 300; /* rows on paper */
const COLUMNS_OF_TIMELINE = [
  { name: "time", label: "Start (UTC)", sort: "start" },
  { name: "program", label: "Program" },
  { name: "operation", label: "Operation" },
  { name: "target", label: "Target" },
  { name: "bar", label: "Attempts and backoffs" },
  { name: "took", label: "Took", sort: "duration" },
  { name: "attempts", label: "Attempts", sort: "attempts" },
  { name: "outcome", label: "Outcome" },
];

class Timeline {
  /* act: sort(order), open(key or undefined), filter(facet, value) */
  constructor(root, act) {
    this.act = act;
    this.operations = [];
    this.active = 0;
    this.rows = new Map();
    this.head = element("div", { class: "head row", role: "row" });
    this.body = element("div", { class: "body", role: "rowgroup" });
    this.grid = element("div", {
      class: "grid", role: "treegrid", tabindex: 0, "aria-label": "Operations", "aria-describedby": "keys",
      "aria-colcount": COLUMNS_OF_TIMELINE.length,
      keydown: (event) => this.key(event), click: (event) => this.click(event), scroll: () => this.draw(),
    }, element("div", { role: "rowgroup", class: "top" }, this.head), this.body);
    this.note = element("p", { class: "on-paper" });
    root.append(this.grid, this.note);
    new ResizeObserver(() => this.measure()).observe(this.grid);
    addEventListener("beforeprint", () => this.print(true));
    addEventListener("afterprint", () => this.print(false));
  }

  /* view: {sort, bars, open, span}. Keeps the active row if it is still there. */
  show(operations, view) {
    const active = this.operations[this.active]?.key;
    this.view = view;
    this.operations = inOrder(operations, view.sort);
    this.open = this.operations.findIndex((operation) => operation.key === view.open);
    this.active = Math.max(0, this.operations.findIndex((operation) => operation.key === active));
    this.scale = scaleOf(operations, view.bars, view.span);
    this.grid.classList.toggle("many-days", !view.isOneDay);
    this.redraw();
  }

  /* ---- where things are ---- */

  get count() { return this.printing ? Math.min(this.operations.length, PRINTED) : this.operations.length; }

  get detailsHeight() { return this.open >= 0 ? this.details?.offsetHeight ?? 0 : 0; }

  topOf(index) {
    return index * this.rowHeight + (this.open >= 0 && index > this.open ? this.detailsHeight : 0);
  }

  indexAt(y) {
    const isBelow = this.open >= 0 && y > this.topOf(this.open) + this.rowHeight;
    const folded = isBelow ? Math.max(this.topOf(this.open), y - this.detailsHeight) : y; /* as if nothing were open */
    return Math.min(this.operations.length - 1, Math.max(0, Math.floor(folded / this.rowHeight)));
  }

  measure() {
    const height = parseFloat(getComputedStyle(this.body).getPropertyValue("--row"));
    const width = this.head.querySelector(".bar")?.clientWidth ?? 0;
    if (height !== this.rowHeight || width !== this.barWidth) this.redraw();
    else this.draw();
  }

  /* ---- drawing ---- */

  redraw() {
    if (!this.view) return;
    this.drawHead();
    this.rowHeight = parseFloat(getComputedStyle(this.body).getPropertyValue("--row"));
    this.barWidth = this.head.querySelector(".bar").clientWidth;
    this.ticks = ticksOf(this.scale, this.barWidth);
    const fitting = this.ticks.filter(({ x, label }) => x + 7 * label.length < this.barWidth);
    this.head.querySelector(".bar").replaceChildren(...fitting.map(({ x, label }) => {
      const tick = element("span", { class: "tick" }, label);
      tick.style.left = `${x}px`;
      return tick;
    }));
    this.rows.forEach((row) => row.remove());
    this.rows.clear();
    const open = this.open < this.count ? this.operations[this.open]?.key : undefined;
    if (this.details?.dataset.key !== open) this.dropDetails();
    this.draw();
  }

  /* Who was in them is led back to the grid. */
  dropDetails() {
    const hasFocus = this.details?.contains(document.activeElement);
    this.details?.remove();
    this.details = undefined;
    if (hasFocus) this.grid.focus({ preventScroll: true });
  }

  drawHead() {
    const { sort } = this.view;
    const cells = COLUMNS_OF_TIMELINE.map((column, i) => {
      const sorted = sort.replace("-", "") === column.sort ? (sort.startsWith("-") ? "descending" : "ascending") : undefined;
      const cell = element("div", { role: "columnheader", class: column.name, "aria-sort": sorted, "aria-colindex": i + 1 });
      if (column.name === "bar") cell.setAttribute("aria-label", column.label);
      else if (column.sort) cell.append(this.sortButton(column, sorted));
      else cell.append(column.label);
      return cell;
    });
    redraw(this.head, () => this.head.replaceChildren(...cells));
  }

  sortButton({ label, sort }, sorted) {
    const other = { ascending: `-${sort}`, descending: sort }[sorted] ?? (sort === "start" ? sort : `-${sort}`);
    const arrow = { ascending: "▲", descending: "▼" }[sorted] ?? "";
    return element("button", { type: "button", "data-key": sort, click: () => this.act.sort(other) }, label,
      element("span", { class: "arrow", "aria-hidden": "true" }, arrow));
  }

  /* Rows in sight become elements, others cease to be; those that stay are not moved, and keep focus and selection. */
  draw() {
    if (!this.rowHeight) return;
    const top = this.grid.scrollTop, bottom = top + this.grid.clientHeight;
    const first = this.printing ? 0 : Math.max(0, this.indexAt(top) - OVERSCAN);
    const last = this.printing ? this.count - 1 : Math.min(this.count - 1, this.indexAt(bottom) + OVERSCAN);
    const wanted = new Set(this.open >= 0 && this.open < this.count ? [this.open] : []);
    for (let index = first; index <= last; index++) wanted.add(index);
    for (const [index, row] of this.rows) if (!wanted.has(index)) { row.remove(); this.rows.delete(index); }
    let next = null;
    for (const index of Array.from(wanted).sort((a, b) => b - a)) {
      if (index === this.open) next = this.place(this.details ??= this.detailsRow(index), next);
      if (!this.rows.has(index)) this.rows.set(index, this.row(index));
      next = this.place(this.rows.get(index), next);
    }
    this.position();
  }

  place(node, next) {
    if (node.parentNode !== this.body) this.body.insertBefore(node, next);
    return node;
  }

  position() {
    for (const [index, row] of this.rows) {
      row.style.top = `${this.topOf(index)}px`;
      row.classList.toggle("active", index === this.active);
      row.setAttribute("aria-rowindex", index + (this.open >= 0 && index > this.open ? 3 : 2));
    }
    if (this.details) {
      this.details.style.top = `${this.topOf(this.open) + this.rowHeight}px`;
      this.details.setAttribute("aria-rowindex", this.open + 3);
    }
    this.grid.setAttribute("aria-rowcount", this.operations.length + (this.open >= 0 ? 2 : 1));
    this.body.style.height = `${this.topOf(this.count)}px`;
    if (this.rows.has(this.active)) this.grid.setAttribute("aria-activedescendant", `row-${this.active}`);
    else this.grid.removeAttribute("aria-activedescendant");
  }

  row(index) {
    const operation = this.operations[index];
    const date = this.view.isOneDay ? "" : `${formatShortDate(operation.start)} `;
    const place = (name) => COLUMNS_OF_TIMELINE.findIndex((column) => column.name === name) + 1;
    const cell = (name, ...children) =>
      element("div", { role: "gridcell", class: name, "aria-colindex": place(name) }, ...children);
    return element("div", {
      class: "row", role: "row", id: `row-${index}`, "data-index": index, "aria-level": 1,
      "aria-expanded": String(index === this.open),
    },
    cell("time", `${date}${formatTime(operation.start)}`),
    cell("program", cutText(whoOf(operation))),
    cell("operation", cutText(visible(operation.operation))),
    cell("target", cutText(visible(operation.target))),
    furnish(cell("bar"), { "aria-label": barText(operation) }, [barOf(operation, this.scale, this.barWidth, this.ticks)]),
    cell("took", formatDuration(operation.duration)),
    cell("attempts", String(operation.attempts)),
    cell("outcome", signOf(operation.outcome), cutText(outcomeText(operation), { class: `cut ${operation.outcome.key}` })));
  }

  detailsRow(index) {
    const operation = this.operations[index];
    const cell = element("div", { role: "gridcell", "aria-colindex": 1, "aria-colspan": COLUMNS_OF_TIMELINE.length },
      detailsOf(operation, this.act.filter));
    const row = element("div", { class: "opened", role: "row", "aria-level": 2, "data-key": operation.key }, cell);
    new ResizeObserver(() => row === this.details && this.position()).observe(row);
    return row;
  }

  /* ---- moving ---- */

  get pageRows() {
    return Math.max(1, Math.floor((this.grid.clientHeight - this.head.offsetHeight) / this.rowHeight) - 1);
  }

  go(index) {
    this.active = Math.min(this.operations.length - 1, Math.max(0, index));
    const top = this.topOf(this.active), room = this.grid.clientHeight - this.head.offsetHeight;
    const bottom = top + this.rowHeight + (this.active === this.open ? this.detailsHeight : 0);
    if (bottom > this.grid.scrollTop + room) this.grid.scrollTop = bottom - room;
    if (top < this.grid.scrollTop) this.grid.scrollTop = top;
    this.draw();
  }

  toggle(index) {
    this.active = index;
    this.act.open(index === this.open ? undefined : this.operations[index].key);
  }

  /* Another row was opened, or none: all else is as it was. */
  showOpen(key) {
    this.view.open = key;
    this.rows.get(this.open)?.setAttribute("aria-expanded", "false");
    this.dropDetails();
    this.open = this.operations.findIndex((operation) => operation.key === key);
    this.draw();
    this.rows.get(this.open)?.setAttribute("aria-expanded", "true");
    if (this.open >= 0) this.go(this.open);
  }

  key(event) {
    const isOutside = event.target !== this.grid; /* a button in it has keys of its own */
    if (isOutside && !(event.key === "Escape" && this.details?.contains(event.target))) return;
    const moves = {
      ArrowDown: () => this.go(this.active + 1), ArrowUp: () => this.go(this.active - 1),
      PageDown: () => this.go(this.active + this.pageRows), PageUp: () => this.go(this.active - this.pageRows),
      Home: () => this.go(0), End: () => this.go(this.operations.length - 1),
      Enter: () => this.toggle(this.active), " ": () => this.toggle(this.active),
      ArrowRight: () => this.open !== this.active && this.toggle(this.active),
      ArrowLeft: () => this.open >= 0 && this.toggle(this.open),
      Escape: () => this.open >= 0 && this.toggle(this.open),
    };
    if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey || this.operations.length === 0) return;
    moves[event.key]();
    this.rows.get(this.active)?.scrollIntoView({ block: "nearest" }); /* the grid may be higher than the window */
    event.preventDefault();
  }

  click(event) {
    const row = event.target.closest("[data-index]");
    const hasMarked = !getSelection().isCollapsed && row?.contains(getSelection().anchorNode); /* text, to copy it */
    if (row && !hasMarked) this.toggle(Number(row.dataset.index));
  }

  print(printing) {
    this.printing = printing;
    const isPart = this.count < this.operations.length;
    this.note.textContent = isPart ? `The first ${this.count} of ${plural(this.operations.length, "operation")}.` : "";
    this.redraw();
  }
}
