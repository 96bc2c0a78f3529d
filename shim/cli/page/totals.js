/* The totals by target and by error: tables whose rows are filters. */

const TOTALS_MOST = 200; /* rows of a table; the filters reach the rest */
const COLUMNS = ["operations", "retries", "recovered", "failed"];

/* chosen: the value that is filtered by, if any. choose(value) is called with what a row stands for. */
function showTotals(root, rows, { title, chosen, choose }) {
  const told = rows.slice(0, TOTALS_MOST);
  const rest = rows.length - told.length;
  const body = told.map((row) => totalsRow(row, row.value === chosen, () => choose(row.value)));
  const more = rest > 0 ? element("p", { class: "muted" }, `and ${formatCount(rest)} more, with fewer operations each`) : "";
  const table = element("table", {}, tableHead(title, ...COLUMNS), element("tbody", {}, ...body));
  redraw(root, () => root.replaceChildren(table, more));
}

function totalsRow(row, isChosen, click) {
  const name = visible(row.value);
  const button = { type: "button", class: "cut", title: name, "data-key": row.value, "aria-pressed": String(isChosen) };
  return element("tr", { class: isChosen && "chosen", click },
    element("th", { scope: "row" }, element("button", button, name)),
    ...COLUMNS.map((column) => element("td", {}, formatCount(row[column]))));
}
