"use strict";
// The data, and the few things that every part of the page uses. Text is put into the document by
// textContent alone: what a model wrote must never be read as HTML.

const report = JSON.parse(document.getElementById("data").textContent);
const comparing = report.runs.length > 1;

/** An element; children may be elements, strings, null, or lists of these. `on` holds listeners. */
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

/** Names as Plotly is to show them: it reads a little HTML in labels. */
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

function runColor(place) {
  return css(`--s${place % 8}`);
}

// What the reader has chosen stands in the address after the #, so that a link shows the same.
const chosen = new URLSearchParams(location.hash.slice(1));

function choose(name, value) {
  if (value === "" || value === null) chosen.delete(name);
  else chosen.set(name, value);
  try {
    history.replaceState(null, "", "#" + chosen.toString());
  } catch {
    // Some browsers refuse this for files; the choice holds until the page is closed.
  }
}

/** A choice of a few, of which one is pressed. */
function makeSwitch(label, options, current, onChange) {
  const buttons = options.map(([value, text]) =>
    el("button", { type: "button", "aria-pressed": String(value === current), on: { click: () => press(value) } }, text));
  function press(value) {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(options[i][0] === value)));
    onChange(value);
  }
  return el("span", { class: "switch", role: "group", "aria-label": label }, buttons);
}

/** A labelled select; options are [value, text]. */
function makeSelect(label, options, current, onChange, hidden = false) {
  const select = el("select", { "aria-label": label, on: { change: () => onChange(select.value) } },
    options.map(([value, text]) => el("option", { value, selected: String(value) === String(current) }, text)));
  return hidden ? select : el("label", {}, label, select);
}
