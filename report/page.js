// The sections of the page, from top to bottom.

const STATE_CLASS = { finished: "good", running: "warn", stopped: "bad" };
const MAX_COLUMNS = 5;  // tables of more runs have one row per run instead

function headElement() {
  if (!comparing) return singleHead(report.runs[0]);
  return el("header", {}, el("div", { class: "over" }, "AhaZero · comparison"),
    el("h1", {}, `${report.runs.length} runs`),
    el("div", { class: "runs" }, report.runs.map(runToggle)));
}

function singleHead(run) {
  return el("header", {}, el("div", { class: "over" }, "AhaZero · run"), el("h1", {}, run.title),
    el("div", { class: "facts" },
      el("span", { class: `state ${STATE_CLASS[run.state]}` }, run.state_text),
      Object.entries(run.facts).map(([name, value]) => el("span", {}, el("span", { class: "quiet" }, name + " "), el("b", {}, value)))),
    run.headline.length ? el("div", { class: "headline" }, run.headline.map((figure) => el("div", {},
      el("div", { class: "label" }, figure.label),
      el("div", { class: "value" }, figure.before ? el("span", { class: "before" }, `${figure.before} → `) : null, figure.after),
      el("div", { class: "remark" }, figure.remark)))) : null);
}

function runToggle(run, index) {
  const box = el("input", { type: "checkbox", checked: !hidden.has(index), on: { change: () => {
    if (box.checked) hidden.delete(index);
    else hidden.add(index);
    choose("hide", [...hidden].join(","));
    redraw();
  } } });
  return el("label", {}, box, el("i", { class: "swatch", "data-run": String(index), "data-dash": runDash(index) }), run.name);
}

function colorSwatches() {
  for (const swatch of document.querySelectorAll("[data-run]")) swatch.style.background = runColor(Number(swatch.dataset.run));
}

function notesElement() {
  const notes = report.runs.flatMap((run) => [
    ...run.notes.map((text) => (comparing ? `${run.name}: ` : "") + text),
    ...(run.curves.stride > 1 ? [`${comparing ? `${run.name}: ` : ""}the charts show one step in ${run.curves.stride} and all evaluations`] : []),
  ]);
  return notes.length ? el("p", { class: "small warn", id: "notes" }, notes.join(" · ")) : null;
}

function eventsElement() {
  const items = report.runs.flatMap((run) => run.events.map((event) => el("li", { class: event.kind === "alert" ? "alert" : "aha" },
    el("b", {}, `${event.kind === "alert" ? "▲" : "◆"} ${comparing ? `${run.name}, ` : ""}step ${event.step}: ${event.name.replace(/_/g, " ")}`),
    event.message ? ` ${event.message}` : "",
    event.advice ? el("div", { class: "small quiet" }, event.advice) : null,
    event.sample ? el("details", {}, el("summary", { class: "small" }, "sample"), el("pre", {}, event.sample)) : null)));
  return items.length ? el("ul", { class: "events", "aria-label": "events" }, items) : null;
}

function figuresSection() {
  const names = [...new Set(report.runs.flatMap((run) => Object.keys(run.figures)))]
    .filter((name) => report.runs.some((run) => (run.figures[name] ?? null) !== null));
  if (!comparing) return pairs("figures", "Figures", names.map((name) => [name, report.runs[0].figures[name]]));
  const cells = [["state", report.runs.map((run) => run.state)],
    ...names.map((name) => [name, report.runs.map((run) => run.figures[name])])];
  return section("figures", "Figures", comparisonTable(cells));
}

/** A table of [name, value of each run], transposed for many runs. A zero-width space allows long names to break
 * after a dot or an underscore. */
function comparisonTable(rows) {
  const cell = (value) => el("td", { class: `number ${STATE_CLASS[value] || ""}` }, show(value));
  const names = report.runs.map((run) => run.name);
  const [columns, lines] = names.length <= MAX_COLUMNS ? [names, rows]
    : [rows.map(([name]) => name), names.map((name, i) => [name, rows.map(([, values]) => values[i])])];
  return el("div", { class: "scroll" }, el("table", { class: "pairs" },
    el("thead", {}, el("tr", {}, el("th", {}, ""), columns.map((name) => el("th", { class: "number" }, name.replace(/[._]/g, "$&\u200b"))))),
    el("tbody", {}, lines.map(([name, values]) => el("tr", {}, el("td", {}, name), values.map(cell))))));
}

function pairs(name, title, rows) {
  return section(name, title, el("table", { class: "pairs" }, el("tbody", {}, rows.map(([key, value]) =>
    el("tr", {}, el("td", {}, key), el("td", {}, show(value)))))));
}

function differencesSection() {
  if (!comparing) return null;
  return section("differences", "Settings that differ", report.differences.length
    ? comparisonTable(report.differences.map(({ key, values }) => [key, values.map(show)]))
    : el("p", { class: "quiet" }, "All runs have the same settings."));
}

function curvesSections() {
  const sections = report.sections.map(({ title, charts }) => {
    const inPairs = charts.length === 2 || charts.length === 4;  // three per row would leave the last one alone
    return section(anchor(title), title, el("div", { class: inPairs ? "panels two" : "panels" }, charts.map(chartElement)));
  });
  const time = phasesElement(), any = anyMetricElement();
  if (!sections.length) sections.push(section("curves", "Curves", el("p", { class: "quiet" }, "No step has finished yet.")));
  return [...sections, time || any ? section("time", "Time and all metrics", el("div", { class: "panels" }, time, any)) : null];
}

function anchor(title) {
  return title.toLowerCase().replace(/[^a-z]+/g, "-");
}

function configSection() {
  const keys = [...new Set(report.runs.flatMap((run) => Object.keys(run.config)))];
  if (!keys.length) return section("config", "Config", el("p", { class: "quiet" }, "The run folder has no config.yaml."));
  const differing = new Set(report.differences.map((difference) => difference.key));
  const rows = keys.map((key) => el("tr", { class: differing.has(key) ? "differs" : null }, el("td", { class: "mono" }, key),
    report.runs.map((run) => el("td", { class: "mono cell" }, show(run.config[key])))));
  const filter = el("input", { type: "search", placeholder: "key or value", on: { input: () => {
    const wanted = filter.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  } } });
  const head = comparing ? el("thead", {}, el("tr", {}, el("th", {}, ""), report.runs.map((run) => el("th", {}, run.name)))) : null;
  return section("config", "Config", el("details", { open: chosen.get("config") === "open" },
    el("summary", {}, `All ${keys.length} settings`),
    el("div", { class: "filters" }, el("label", {}, "filter", filter)),
    el("div", { class: "scroll" }, el("table", { class: "pairs" }, head, el("tbody", {}, rows)))));
}

function navElement(sections) {
  const links = sections.map((target) => el("a", { href: `#${target.id}`, on: { click: (event) => {
    event.preventDefault();  // the URL fragment holds the selections of the reader
    target.scrollIntoView({ behavior: "smooth" });
    target.tabIndex = -1;
    target.focus({ preventScroll: true });
  } } }, target.getAttribute("aria-label")));
  const axes = makeSwitch("x axis", Object.keys(AXES).map((name) => [name, name]), axis, (value) => {
    axis = value;
    choose("axis", value);
    redraw();
  });
  return el("nav", { "aria-label": "sections of the report" }, links,
    el("span", { class: "push" }, el("span", { class: "quiet small" }, "x axis "), axes));
}

function build() {
  const sections = [
    ...(comparing ? [figuresSection(), differencesSection()] : []),
    ...curvesSections(), stagesSection(), samplesSection(), ...(comparing ? [] : [figuresSection()]), configSection(),
  ].filter(Boolean);
  document.getElementById("page").append(...[headElement(), notesElement(), eventsElement(), navElement(sections), ...sections,
    el("footer", {}, `Written by AhaZero on ${report.written}. Hover over a chart for its values, drag to zoom, `,
      "double-click to reset.")].filter(Boolean));
  colorSwatches();
  redraw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    colorSwatches();
    redraw();
  });
  document.documentElement.dataset.ready = "yes";
}

build();
