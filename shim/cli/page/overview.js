/* All operations over time: failed attempts above the line, recoveries below it. A span is chosen by drawing over it, or with
 * the two handles, which are sliders to the keyboard. */

const OVERVIEW = { up: 88, down: 46, labels: 18, bin: 7 };

class Overview {
  /* choose({from, to} or null) is called when a span has been chosen or given up. */
  constructor(root, choose) {
    this.root = root;
    this.choose = choose;
    this.chart = shape("svg", {
      class: "chart", height: OVERVIEW.up + OVERVIEW.down + OVERVIEW.labels,
      pointerdown: (event) => this.press(event), pointermove: (event) => this.move(event),
      pointerup: (event) => this.release(event), pointercancel: () => this.cancel(), dblclick: () => choose(null),
    });
    root.append(this.chart);
    new ResizeObserver(() => this.draw()).observe(root);
  }

  /* extent: of the whole page. span: the chosen one, or null. */
  show(operations, extent, span) {
    const margin = Math.max(5, (extent.to - extent.from) / 60); /* what happened first or last is not under a handle */
    this.operations = operations;
    this.extent = { from: extent.from - margin, to: extent.to + margin };
    this.span = span;
    this.draw();
  }

  get length() { return this.extent.to - this.extent.from; }

  instantAt(x) {
    return this.extent.from + Math.min(1, Math.max(0, x / this.width)) * this.length;
  }

  draw() {
    this.width = this.root.clientWidth;
    if (!this.operations || this.width === 0) return;
    this.bins = Math.max(1, Math.floor(this.width / OVERVIEW.bin));
    this.chart.setAttribute("width", this.width);
    const parts = [...this.ticks(), ...this.bars(), ...this.selection(this.span), ...this.handles()];
    redraw(this.chart, () => this.chart.replaceChildren(...parts));
  }

  ticks() {
    const scale = { bars: "clock", from: this.extent.from, length: this.length };
    const bottom = OVERVIEW.up + OVERVIEW.down;
    return ticksOf(scale, this.width).filter(({ x }) => x > 24 && x < this.width - 24).flatMap(({ x, label }) => [
      shape("line", { class: "tick", x1: x, x2: x, y1: 0, y2: bottom }),
      shape("text", { class: "label", x, y: bottom + 13, "text-anchor": "middle" }, label),
    ]);
  }

  bars() {
    const { failed, recovered } = histogramOf(this.operations, this.extent, this.bins);
    const [mostUp, mostDown] = [failed, recovered].map((counts) => counts.reduce((most, count) => Math.max(most, count), 1));
    const unit = Math.min((OVERVIEW.up - 2) / mostUp, (OVERVIEW.down - 2) / mostDown); /* one for both: they compare */
    const step = this.width / this.bins;
    const bar = (name, i, count, top) =>
      shape("rect", { class: name, x: i * step + 0.5, y: top, width: step - 1, height: Math.max(count * unit, 1.5) });
    const shapes = [shape("line", { class: "axis", x1: 0, x2: this.width, y1: OVERVIEW.up, y2: OVERVIEW.up })];
    failed.forEach((count, i) => count > 0 && shapes.push(bar("failed", i, count, OVERVIEW.up - Math.max(count * unit, 1.5))));
    recovered.forEach((count, i) => count > 0 && shapes.push(bar("recovered", i, count, OVERVIEW.up + 1)));
    return shapes;
  }

  placeOf(instant) {
    return Math.min(1, Math.max(0, (instant - this.extent.from) / this.length)) * this.width;
  }

  /* What lies outside the span is dimmed. */
  selection(span) {
    if (!span) return [];
    const height = OVERVIEW.up + OVERVIEW.down;
    const [left, right] = [this.placeOf(span.from), this.placeOf(span.to)];
    return [
      shape("rect", { class: "outside", x: 0, y: 0, width: left, height }),
      shape("rect", { class: "outside", x: right, y: 0, width: Math.max(0, this.width - right), height }),
      shape("rect", { class: "inside", x: left, y: 0, width: Math.max(1, right - left), height }),
    ];
  }

  handles() {
    const span = this.span ?? this.extent;
    const handle = (end, label) => {
      const x = Math.min(this.width - 4, Math.max(4, this.placeOf(span[end])));
      return shape("g", {
        class: "handle", role: "slider", tabindex: 0, "data-key": end, "aria-label": label,
        "aria-valuemin": Math.round(this.extent.from), "aria-valuemax": Math.round(this.extent.to),
        "aria-valuenow": Math.round(span[end]), "aria-valuetext": `${formatDate(span[end])} ${formatTime(span[end])} UTC`,
        keydown: (event) => this.key(event, end),
      },
      shape("line", { x1: x, x2: x, y1: 0, y2: OVERVIEW.up + OVERVIEW.down }),
      shape("rect", { x: x - 4, y: OVERVIEW.up - 10, width: 8, height: 20, rx: 3 }));
    };
    return [handle("from", "Begin of the span"), handle("to", "End of the span")];
  }

  focus() { this.chart.querySelector(".handle").focus(); }

  /* ---- by mouse and finger ---- */

  press(event) {
    if (event.button !== 0) return;
    this.chart.setPointerCapture(event.pointerId);
    const end = event.target.closest(".handle")?.dataset.key;
    const other = { from: "to", to: "from" }[end];
    this.anchor = other ? (this.span ?? this.extent)[other] : this.instantAt(this.xOf(event));
    this.pressed = { x: this.xOf(event), end };
    event.target.closest(".handle")?.focus();
    event.preventDefault(); /* no text is marked, and the handle keeps the focus */
  }

  xOf(event) { return event.clientX - this.chart.getBoundingClientRect().left; }

  drawn(event) {
    const ends = [this.anchor, this.instantAt(this.xOf(event))].sort((a, b) => a - b);
    return { from: ends[0], to: ends[1] };
  }

  move(event) {
    if (this.anchor === undefined) return;
    this.chart.querySelectorAll(".outside, .inside").forEach((node) => node.remove());
    this.chart.append(...this.selection(this.drawn(event)));
  }

  /* Without having moved it was a click: the bin under it; nothing, on a handle. */
  release(event) {
    if (this.anchor === undefined) return;
    const bin = this.length / this.bins;
    const start = this.extent.from + Math.floor((this.anchor - this.extent.from) / bin) * bin;
    const hasMoved = Math.abs(this.xOf(event) - this.pressed.x) >= 3;
    const span = hasMoved ? this.drawn(event) : { from: start, to: start + bin };
    this.anchor = undefined;
    if (hasMoved || !this.pressed.end) this.choose(span);
  }

  cancel() {
    this.anchor = undefined;
    this.draw();
  }

  /* ---- by keyboard ---- */

  key(event, end) {
    const bin = this.length / this.bins;
    const moves = {
      ArrowLeft: -bin, ArrowDown: -bin, PageDown: -10 * bin, Home: -Infinity,
      ArrowRight: bin, ArrowUp: bin, PageUp: 10 * bin, End: Infinity,
    };
    if (event.key === "Escape") this.choose(null);
    else if (event.key in moves) this.choose(this.moved(end, moves[event.key] * (event.shiftKey ? 10 : 1), bin));
    else return;
    event.preventDefault();
  }

  /* The ends do not pass each other. The whole extent is no choice. */
  moved(end, by, bin) {
    const span = { ...(this.span ?? this.extent) };
    const least = end === "from" ? this.extent.from : span.from + bin;
    const most = end === "to" ? this.extent.to : span.to - bin;
    span[end] = Math.min(most, Math.max(least, span[end] + by));
    return span.from <= this.extent.from && span.to >= this.extent.to ? null : span;
  }
}
