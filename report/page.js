// The page, from top to bottom.

const STATE_CLASS = { finished: "good", "going on": "warn", "stopped early": "bad" };
const MANY_RUNS = 5;  // more columns than this do not fit side by side

function headElement() {
  if (!comparing) return singleHead(report.runs[0]);
  return el("header", {}, el("div", { class: "over" }, "AhaZero · comparison"),
    el("h1", {}, `${report.runs.length} runs`),
    el("div", { class: "runs" }, report.runs.map((run, place) => runToggle(run, place))));
}

function singleHead(run) {
  return el("header", {}, el("div", { class: "over" }, "AhaZero · run"), el("h1", {}, run.title),
    el("div", { class: "facts" },
      el("span", { class: `state ${STATE_CLASS[run.state]}` }, run.state_text),
      Object.entries(run.facts).map(([name, value]) => el("span", {}, el("span", { class: "quiet" }, name + " "), el("b", {}, value)))),
    run.big.length ? el("div", { class: "big" }, run.big.map((one) => el("div", {},
      el("div", { class: "label" }, one.label),
      el("div", { class: "value" }, one.before ? el("span", { class: "before" }, `${one.before} → `) : null, one.after),
      el("div", { class: "remark" }, one.remark)))) : null);
}

function runToggle(run, place) {
  const box = el("input", { type: "checkbox", checked: !hidden.has(place), on: { change: () => {
    if (box.checked) hidden.delete(place);
    else hidden.add(place);
    choose("hide", [...hidden].join(","));
    redraw();
  } } });
  return el("label", {}, box, el("i", { class: place >= 8 ? "swatch dashed" : "swatch", "data-run": String(place) }), run.name);
}

function colorSwatches() {
  for (const swatch of document.querySelectorAll("[data-run]")) swatch.style.background = runColor(Number(swatch.dataset.run));
}

function notesElement() {
  const notes = report.runs.flatMap((run) => [
    ...run.notes.map((text) => (comparing ? `${run.name}: ` : "") + text),
    ...(run.curves.stride > 1 ? [`${comparing ? `${run.name}: ` : ""}curves show every ${run.curves.stride}th step, and each evaluation`] : []),
  ]);
  return notes.length ? el("p", { class: "small warn", id: "notes" }, notes.join(" · ")) : null;
}

function eventsElement() {
  const items = report.runs.flatMap((run) => run.events.map((event) => el("li", { class: event.kind === "alert" ? "alert" : "aha" },
    el("b", {}, `${event.kind === "alert" ? "▲" : "◆"} ${comparing ? `${run.name}, ` : ""}step ${event.step}: ${event.name.replace(/_/g, " ")}`),
    event.message ? ` ${event.message}` : "",
    event.advice ? el("div", { class: "small quiet" }, event.advice) : null,
    event.sample ? el("details", {}, el("summary", { class: "small" }, "the sample"), el("pre", {}, event.sample)) : null)));
  return items.length ? el("ul", { class: "events", "aria-label": "events" }, items) : null;
}

function figuresSection() {
  const names = [...new Set(report.runs.flatMap((run) => Object.keys(run.figures)))]
    .filter((name) => report.runs.some((run) => (run.figures[name] ?? null) !== null));
  if (!comparing) return pairs("figures", "Figures and cost", names.map((name) => [name, report.runs[0].figures[name]]));
  const cells = [["state", report.runs.map((run) => run.state)],
    ...names.map((name) => [name, report.runs.map((run) => run.figures[name])])];
  return section("figures", "Figures", comparisonTable(cells));
}

/** Rows are [name, a value for each run]; with many runs, each of them has a row instead. Long names may
 * break after a dot or a line, where a space of no width is put. */
function comparisonTable(rows) {
  const value = (one) => el("td", { class: `number ${STATE_CLASS[one] || ""}` }, show(one));
  const names = report.runs.map((run) => run.name);
  const [columns, lines] = names.length <= MANY_RUNS ? [names, rows]
    : [rows.map(([name]) => name), names.map((name, i) => [name, rows.map(([, values]) => values[i])])];
  return el("div", { class: "scroll" }, el("table", { class: "pairs" },
    el("thead", {}, el("tr", {}, el("th", {}, ""), columns.map((name) => el("th", { class: "number" }, name.replace(/[._]/g, "$&\u200b"))))),
    el("tbody", {}, lines.map(([name, values]) => el("tr", {}, el("td", {}, name), values.map(value))))));
}

function pairs(name, title, rows) {
  return section(name, title, el("table", { class: "pairs" }, el("tbody", {}, rows.map(([key, value]) =>
    el("tr", {}, el("td", {}, key), el("td", {}, show(value)))))));
}

function differencesSection() {
  if (!comparing) return null;
  return section("differences", "Settings that differ", report.differences.length
    ? comparisonTable(report.differences.map(({ key, values }) => [key, values.map(show)]))
    : el("p", { class: "quiet" }, "None."));
}

function curvesSections() {
  const made = report.sections.map((one) => {
    const inPairs = one.panels.length === 2 || one.panels.length === 4;  // three in a row would leave one alone
    return section(anchor(one.title), one.title, el("div", { class: inPairs ? "panels two" : "panels" }, one.panels.map(panelElement)));
  });
  const time = phasesElement(), any = anyMetricElement();
  if (!made.length) made.push(section("curves", "Curves", el("p", { class: "quiet" }, "No step is finished yet, so there are no curves.")));
  return [...made, time || any ? section("time", "Time, and any metric", el("div", { class: "panels" }, time, any)) : null];
}

function anchor(title) {
  return title.toLowerCase().replace(/[^a-z]+/g, "-");
}

function configSection() {
  const keys = [...new Set(report.runs.flatMap((run) => Object.keys(run.config)))];
  if (!keys.length) return section("config", "Config", el("p", { class: "quiet" }, "There is no config.yaml."));
  const differing = new Set(report.differences.map((one) => one.key));
  const rows = keys.map((key) => el("tr", { class: differing.has(key) ? "differs" : null }, el("td", { class: "mono" }, key),
    report.runs.map((run) => el("td", { class: "mono cell" }, show(run.config[key])))));
  const filter = el("input", { type: "search", placeholder: "key or value", on: { input: () => {
    const wanted = filter.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  } } });
  const head = comparing ? el("thead", {}, el("tr", {}, el("th", {}, ""), report.runs.map((run) => el("th", {}, run.name)))) : null;
  return section("config", "Config", el("details", { open: chosen.get("config") === "open" },
    el("summary", {}, `all ${keys.length} settings`),
    el("div", { class: "filters" }, el("label", {}, "filter", filter)),
    el("div", { class: "scroll" }, el("table", { class: "pairs" }, head, el("tbody", {}, rows)))));
}

function navElement(sections) {
  const links = sections.map((one) => el("a", { href: `#${one.id}`, on: { click: (event) => {
    event.preventDefault();  // the part after # holds the filters
    one.scrollIntoView({ behavior: "smooth" });
  } } }, one.getAttribute("aria-label")));
  const axes = makeSwitch("x axis", Object.keys(AXES).map((name) => [name, name]), axis, (value) => {
    axis = value;
    choose("axis", value);
    redraw();
  });
  return el("nav", { "aria-label": "parts of the report" }, links,
    el("span", { class: "push" }, el("span", { class: "quiet small" }, "x axis "), axes));
}

function build() {
  const sections = [
    ...(comparing ? [figuresSection(), differencesSection()] : []),
    ...curvesSections(), stagesSection(), samplesSection(), ...(comparing ? [] : [figuresSection()]), configSection(),
  ].filter(Boolean);
  document.getElementById("page").append(...[headElement(), notesElement(), eventsElement(), navElement(sections), ...sections,
    el("footer", {}, `Written by AhaZero on ${report.written}. Point at a curve for its values, drag to zoom, `,
      "click twice to go back.")].filter(Boolean));
  colorSwatches();
  redraw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    colorSwatches();
    redraw();
  });
  document.documentElement.dataset.ready = "yes";
}

build();
