// The curves. A panel is drawn anew when the axis, the shown runs or the colours change.

const AXES = { steps: "step", tokens: "tokens trained on", minutes: "minutes of training" };
const PLOT_CONFIG = { displaylogo: false, responsive: true, displayModeBar: false };
const hidden = new Set((chosen.get("hide") || "").split(",").filter(Boolean).map(Number));
const redraws = [];
let axis = chosen.get("axis") in AXES ? chosen.get("axis") : "steps";

function redraw() {
  for (const draw of redraws) draw();
}

/** How ticks and pointed-at values are written; d3's format language. */
function numberFormat(format, traces) {
  const largest = Math.max(0, ...traces.flatMap((one) => one.y || []).map(Math.abs));
  if (format === "share") return ["~%", largest < 0.02 ? ".2%" : ".1%"];
  if (format === "ratio") return largest < 0.001 ? ["~e", ".2e"] : ["~g", ".3~g"];
  return largest >= 10000 ? ["~s", ",.0f"] : ["~g", ",.4~r"];
}

function layout(format, traces, marks, wide = false) {
  const grid = css("--line"), quiet = css("--quiet");
  const [ticks, hover] = numberFormat(format, traces);
  const shown = report.runs.filter((_, i) => !hidden.has(i)).length;
  return {
    margin: { l: 46, r: 10, t: 14, b: 36 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 11.5, color: quiet },
    showlegend: false,
    hovermode: shown > 6 ? "closest" : "x unified",
    hoverlabel: { bgcolor: css("--card"), bordercolor: grid, font: { color: css("--ink"), size: 12 }, align: "left", namelength: 40 },
    xaxis: { title: { text: wide ? "step" : AXES[axis], font: { size: 11 }, standoff: 4 }, gridcolor: grid, zeroline: false,
      linecolor: grid, nticks: wide ? 20 : 6, tickformat: axis === "tokens" && !wide ? "~s" : "", rangemode: "tozero",
      hoverformat: axis === "minutes" && !wide ? ".2f" : "~s", unifiedhovertitle: { text: wide ? "step %{x}" : `${AXES[axis]} %{x}` } },
    yaxis: { gridcolor: grid, zeroline: false, tickformat: ticks, hoverformat: hover, nticks: 6,
      rangemode: format === "ratio" ? "normal" : "tozero", exponentformat: "power" },
    ...marks,
  };
}

/** Aha events and alerts as dashed lines with a sign on top, which says more when pointed at. */
function eventMarks() {
  const shapes = [], annotations = [];
  report.runs.forEach((run, place) => {
    if (hidden.has(place) || (comparing && report.runs.length - hidden.size > 4)) return;
    for (const event of run.events) {
      const x = positionOf(run.curves, event.step);
      if (x === null) continue;
      const color = comparing ? runColor(place) : css(event.kind === "alert" ? "--bad" : "--accent");
      shapes.push({ type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", line: { color, width: 1, dash: "dot" } });
      annotations.push({ x, y: 1, yref: "paper", yanchor: "bottom", showarrow: false, font: { color, size: 11 },
        text: event.kind === "alert" ? "▲" : "◆",
        hovertext: plain(`step ${event.step}: ${event.name} ${event.message}`.slice(0, 200)) });
    }
  });
  return { shapes, annotations };
}

function positionOf(curves, step) {
  const at = curves.steps.findIndex((one) => one >= step);
  return at < 0 ? null : curves[axis][at];
}

/** The points of a metric, without the steps at which it was not measured. */
function points(run, metric, format) {
  const values = run.curves.metrics[metric] || [];
  const x = [], y = [], at = [];
  values.forEach((value, i) => {
    if (value === null) return;
    x.push(run.curves[axis][i]);
    y.push(format === "ratio" ? value - 1 : value);
    at.push(i);
  });
  return { x, y, at };
}

/** Half the width of a 95% interval of a share that was measured on n problems. */
function intervals(run, at, y) {
  const n = run.curves.metrics["eval/n"] || [];
  return y.map((p, i) => (n[at[i]] ? 1.96 * Math.sqrt((p * (1 - p)) / n[at[i]]) : 0));
}

function trace(run, place, panel, series, index) {
  const { x, y, at } = points(run, series.metric, panel.format);
  const color = comparing ? runColor(place) : seriesColor(panel, series, index);
  const dots = series.style === "dots";
  // A line with dots of its colour beside it; training's own grey is pale enough.
  const isPale = !dots && panel.series.some((other) => other.style === "dots") && (comparing || series.label !== "training");
  const one = {
    x, y, type: "scatter", mode: dots || y.length === 1 ? "lines+markers" : "lines",
    name: plain([comparing ? run.name : "", series.label || panel.title].filter(Boolean).join(", ")),
    line: { color, width: dots ? 2 : 1.6, dash: comparing && place >= 8 ? "dash" : "solid" },
    marker: { color, size: 6 },
    opacity: isPale ? 0.5 : 1,
  };
  if (series.style === "stack" && !comparing) Object.assign(one, { stackgroup: "one", mode: "none", fillcolor: color });
  if (["eval/sampled", "eval/greedy"].includes(series.metric)) {
    one.error_y = { type: "data", array: intervals(run, at, y), color, thickness: 1, width: 0 };
  }
  return one;
}

function seriesColor(panel, series, index) {
  if (series.style === "stack") return [css("--s3"), css("--soft"), css("--line")][index];
  if (series.label === "training" && panel.series.length > 1) return css("--soft");
  // A measure of held-out completions has the colour of the same measure of training ones.
  const measure = (one) => one.label.replace(/, held out$/, "");
  const measures = [...new Set(panel.series.filter((one) => one.label !== "training").map(measure))];
  return css(`--s${Math.max(0, measures.indexOf(measure(series))) % 8}`);
}

/** One panel: title, legend (or, in a comparison of many series, a choice of one) and the plot. */
function panelElement(panel) {
  const plot = el("div", { class: "plot" });
  const legend = el("div", { class: "legend" });
  // Colours are runs here, so of the series only a line and its dots can be told apart.
  const tooMany = comparing && new Set(panel.series.map((series) => series.style)).size < panel.series.length;
  let one = String(Math.min(panel.first, panel.series.length - 1));
  const select = tooMany
    ? makeSelect(panel.title, panel.series.map((series, i) => [String(i), series.label]), one, (value) => { one = value; draw(); }, true)
    : null;
  function draw() {
    const shown = tooMany ? [panel.series[Number(one)]] : panel.series;
    const traces = report.runs.flatMap((run, place) => hidden.has(place) ? [] :
      shown.filter((series) => series.metric in run.curves.metrics)
        .map((series) => trace(run, place, { ...panel, series: comparing ? shown : panel.series }, series, panel.series.indexOf(series))));
    legend.replaceChildren(...(comparing ? comparisonLegend(shown) : singleLegend(panel)));
    Plotly.react(plot, traces, layout(panel.format, traces, eventMarks()), PLOT_CONFIG);
  }
  redraws.push(draw);
  return el("div", { class: "panel" },
    el("div", { class: "top" }, el("h3", {}, panel.title), select), legend, plot, note(panel.note));
}

function singleLegend(panel) {
  const labels = panel.series.map((series) => series.label);
  const heldOut = (series) => series.label.endsWith(", held out") && labels.includes(series.label.replace(/, held out$/, ""));
  const named = panel.series.filter((series) => series.label && !heldOut(series));
  const items = named.map((series) => el("span", {}, el("i", { class: "swatch",
    style: { background: seriesColor(panel, series, panel.series.indexOf(series)), height: series.style === "stack" ? "9px" : "3px" } }),
  series.label));
  return panel.series.some(heldOut) ? [...items, el("span", {}, "dots: held out")] : items;
}

function comparisonLegend(shown) {
  if (shown.length < 2) return [];
  return [el("span", {}, shown.map((series) => series.label + (series.style === "dots" ? " (dots)" : " (pale)")).join(", "))];
}

/** Where the seconds of a step go: bars over steps, or, in a comparison, one bar a run of means. */
function phasesElement() {
  if (!report.phases.length) return null;
  const color = (i) => i < 8 ? css(`--s${i}`) : css("--soft");
  const plot = el("div", { class: "plot" });
  const legend = el("div", { class: "legend" });
  function draw() {
    legend.replaceChildren(...report.phases.map((name, i) =>
      el("span", {}, el("i", { class: "swatch", style: { background: color(i), height: "9px" } }), name.replace(/_/g, " "))));
    const runs = report.runs.filter((_, i) => !hidden.has(i));
    const traces = report.phases.map((name, i) => ({
      type: "bar", name: plain(name.replace(/_/g, " ")), marker: { color: color(i), opacity: 0.88 },
      ...(comparing
        ? { orientation: "h", y: runs.map((run) => plain(run.name)), x: runs.map((run) => secondsPerStep(run, name)) }
        : { x: report.runs[0].curves.steps, y: report.runs[0].curves.metrics["time/" + name] }),
    }));
    const look = layout("number", [], {}, true);
    if (comparing) {
      plot.style.height = `${90 + 22 * runs.length}px`;
      Object.assign(look.xaxis, { title: { text: "seconds a step, mean", font: { size: 11 } }, hoverformat: ".2f" });
      look.xaxis.unifiedhovertitle = undefined;
      Object.assign(look.yaxis, { automargin: true, autorange: "reversed", nticks: 0 });
      look.hovermode = "closest";
    } else {
      look.yaxis.hoverformat = ".2f";
    }
    Plotly.react(plot, traces, { ...look, barmode: "stack", bargap: 0.15 }, PLOT_CONFIG);
  }
  redraws.push(draw);
  return el("div", { class: "panel wide" }, el("h3", {}, "Seconds of a step, by phase"), legend, plot,
    note("Evaluation comes on top of the training step; phases that overlap are waited for once."));
}

function secondsPerStep(run, phase) {
  const sum = (values) => (values || []).reduce((total, value) => total + (value || 0), 0);
  const steps = (run.curves.metrics["time/step"] || []).filter((value) => value !== null).length;
  return steps ? sum(run.curves.metrics["time/" + phase]) / steps : 0;
}

/** Any metric of metrics.jsonl, for what has no panel of its own. */
function anyMetricElement() {
  const names = [...new Set(report.runs.flatMap((run) => Object.keys(run.curves.metrics)))].sort();
  if (!names.length) return null;
  let current = names.includes(chosen.get("metric")) ? chosen.get("metric") : names.find((name) => name === "length/max") || names[0];
  const plot = el("div", { class: "plot" });
  function draw() {
    const style = current.startsWith("eval") ? "dots" : "line";
    const panel = { title: current, format: "number", series: [{ metric: current, label: current, style }] };
    const traces = report.runs.flatMap((run, place) =>
      hidden.has(place) || !(current in run.curves.metrics) ? [] : [trace(run, place, panel, panel.series[0], 0)]);
    Plotly.react(plot, traces, layout("number", traces, eventMarks()), PLOT_CONFIG);
  }
  redraws.push(draw);
  const select = makeSelect("metric", names.map((name) => [name, name]), current, (value) => {
    current = value;
    choose("metric", value);
    draw();
  }, true);
  return el("div", { class: "panel wide" }, el("div", { class: "top" }, el("h3", {}, "Any metric"), select), plot);
}
