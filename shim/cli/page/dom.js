/* Builds elements. Data come in as text nodes and attribute values; nothing here, or anywhere, takes markup.
 *
 * attributes: a function listens to the event of that name, true and false are an attribute without a value and none.
 * children: elements and texts; what is false or empty is left out. */

const SVG = "http://www.w3.org/2000/svg";

function furnish(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child));
  return node;
}

const element = (name, attributes, ...children) => furnish(document.createElement(name), attributes, children);
const shape = (name, attributes, ...children) => furnish(document.createElementNS(SVG, name), attributes, children);
const byId = (id) => document.getElementById(id);

/* Draws a part of the page anew; focus (on what has a data-key) and scrolling stay as they were. */
function redraw(root, draw) {
  const top = root.scrollTop;
  const key = root.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  draw();
  root.scrollTop = top;
  const again = key !== undefined && Array.from(root.querySelectorAll("[data-key]")).find((node) => node.dataset.key === key);
  if (again) again.focus({ preventScroll: true });
}

/* A text that may be cut off by its box and is whole in its tooltip. */
const cutText = (text, attributes) => element("span", { class: "cut", title: text, ...attributes }, text);

/* The outcomes' and marks' signs: form tells what colour tells. Paths in a square of 12. */
const SIGNS = {
  recovered: "M2 6.5 4.8 9.5 10 2.8",
  exhausted: "M2.5 2.5 9.5 9.5 M9.5 2.5 2.5 9.5",
  given_up: "M6 1.5a4.5 4.5 0 1 0 .01 0M2.8 9.2 9.2 2.8",
  not_retryable: "M6 1.5v5.5M6 9.2v1.3",
  unfinished: "M2 6h.01M6 6h.01M10 6h.01",
};
const signOf = ({ key }) =>
  shape("svg", { class: `sign ${key}`, viewBox: "0 0 12 12", "aria-hidden": "true" }, shape("path", { d: SIGNS[key] }));
