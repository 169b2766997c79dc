"use strict";
// The data of the report, and helpers for the whole page. Text enters the document as text nodes only, because text
// written by a model must never be parsed as HTML.

const report = JSON.parse(document.getElementById("data").textContent);
const comparing = report.runs.length > 1;

/** Create an element. Children may be elements, strings, null, or lists of these; `on` maps events to listeners. */
function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (name === "style") Object.assign(node.style, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(3)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);  // strings become text nodes
  }
  return node;
}

function section(name, title, ...children) {
  return el("section", { id: name, "aria-label": title },
    el("div", { class: "heading" }, el("h2", {}, title)), ...children);
}

function note(text) {
  return text ? el("p", { class: "note" }, text) : null;
}

/** Escape a label for Plotly, which interprets a subset of HTML. */
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function show(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "object") return JSON.stringify(value);
  return String(value);
}

function runColor(index) {
  return css(`--s${index % 8}`);
}

/** Plotly's name of the run's line style, since there are eight colours. */
function runDash(index) {
  return ["solid", "dash", "dot", "dashdot"][Math.floor(index / 8) % 4];
}

// The selections of the reader are stored in the URL fragment, so that a link reproduces the view.
const chosen = new URLSearchParams(location.hash.slice(1));

function choose(name, value) {
  if (value === "" || value === null) chosen.delete(name);
  else chosen.set(name, value);
  try {
    history.replaceState(null, "", "#" + chosen.toString());
  } catch {
    // Some browsers refuse this for local files; the selection then lasts until the page is closed.
  }
}

/** A group of buttons of which exactly one is pressed; options are [value, text]. */
function makeSwitch(label, options, current, onChange) {
  const buttons = options.map(([value, text]) =>
    el("button", { type: "button", "aria-pressed": String(value === current), on: { click: () => press(value) } }, text));
  function press(value) {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(options[i][0] === value)));
    onChange(value);
  }
  return el("span", { class: "switch", role: "group", "aria-label": label }, buttons);
}

/** A select element; `hidden` reserves its label for screen readers. Options are [value, text]. */
function makeSelect(label, options, current, onChange, hidden = false) {
  const select = el("select", { "aria-label": label, on: { change: () => onChange(select.value) } },
    options.map(([value, text]) => el("option", { value, selected: String(value) === String(current) }, text)));
  return hidden ? select : el("label", {}, label, select);
}
