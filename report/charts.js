// The charts. Each chart is redrawn when the x axis, the selection of runs or the colour scheme changes.

const AXES = { steps: "step", tokens: "completion tokens", minutes: "minutes of training" };
const PLOT_CONFIG = { displaylogo: false, responsive: true, displayModeBar: false };
const hidden = new Set((chosen.get("hide") || "").split(",").filter(Boolean).map(Number));
const redraws = [];
let axis = chosen.get("axis") in AXES ? chosen.get("axis") : "steps";

function redraw() {
  for (const draw of redraws) draw();
}

/** The d3 formats of ticks and of hovered values. */
function numberFormat(format, traces) {
  const largest = Math.max(0, ...traces.flatMap((trace) => trace.y || []).map(Math.abs));
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

/** Aha events and alerts as dotted lines with a marker on top, which shows details on hover. */
function eventMarks() {
  const shapes = [], annotations = [];
  report.runs.forEach((run, index) => {
    if (hidden.has(index) || (comparing && report.runs.length - hidden.size > 4)) return;
    for (const event of run.events) {
      const x = positionOf(run.curves, event.step);
      if (x === null) continue;
      const color = comparing ? runColor(index) : css(event.kind === "alert" ? "--bad" : "--accent");
      shapes.push({ type: "line", x0: x, x1: x, y0: 0, y1: 1, yref: "paper", line: { color, width: 1, dash: "dot" } });
      annotations.push({ x, y: 1, yref: "paper", yanchor: "bottom", showarrow: false, font: { color, size: 11 },
        text: event.kind === "alert" ? "▲" : "◆",
        hovertext: plain(`step ${event.step}: ${event.name} ${event.message}`.slice(0, 200)) });
    }
  });
  return { shapes, annotations };
}

function positionOf(curves, step) {
  const index = curves.steps.findIndex((value) => value >= step);
  return index < 0 ? null : curves[axis][index];
}

/** The points of a metric, without the steps at which it was not measured; `rows` are their row indices. */
function points(run, metric, format) {
  const values = run.curves.metrics[metric] || [];
  const x = [], y = [], rows = [];
  values.forEach((value, i) => {
    if (value === null) return;
    x.push(run.curves[axis][i]);
    y.push(format === "ratio" ? value - 1 : value);
    rows.push(i);
  });
  return { x, y, rows };
}

/** The parts of the 95% Wilson interval above and below each share, which was measured on n problems. */
function intervals(run, rows, y) {
  const n = run.curves.metrics["eval/n"] || [], z = 1.96;
  const ends = (sign) => y.map((p, i) => {
    const k = n[rows[i]];
    if (!k) return 0;
    const middle = p + (z * z) / (2 * k), half = z * Math.sqrt((p * (1 - p)) / k + (z * z) / (4 * k * k));
    return Math.max(0, sign * ((middle + sign * half) / (1 + (z * z) / k) - p));
  });
  return { array: ends(1), arrayminus: ends(-1) };
}

function makeTrace(run, runIndex, chart, series, seriesIndex) {
  const { x, y, rows } = points(run, series.metric, chart.format);
  const color = comparing ? runColor(runIndex) : seriesColor(chart, series, seriesIndex);
  const dots = series.style === "dots";
  // Fade lines next to dots of the same colour; the grey of training curves is pale enough.
  const isPale = !dots && chart.series.some((other) => other.style === "dots") && (comparing || series.label !== "training");
  const trace = {
    x, y, type: "scatter", mode: dots || y.length === 1 ? "lines+markers" : "lines",
    name: plain([comparing ? run.name : "", series.label || chart.title].filter(Boolean).join(", ")),
    line: { color, width: dots ? 2 : 1.6, dash: comparing ? runDash(runIndex) : "solid" },
    marker: { color, size: 6 },
    opacity: isPale ? 0.5 : 1,
  };
  if (series.style === "stack" && !comparing && y.length > 1) Object.assign(trace, { stackgroup: "one", mode: "none", fillcolor: color });
  if (["eval/sampled", "eval/greedy"].includes(series.metric)) {
    trace.error_y = { type: "data", symmetric: false, ...intervals(run, rows, y), color, thickness: 1, width: 0 };
  }
  return trace;
}

function seriesColor(chart, series, index) {
  if (series.style === "stack") return [css("--s3"), css("--soft"), css("--line")][index];
  if (series.label === "training" && chart.series.length > 1) return css("--soft");
  // The same metric has the same colour for training and for held-out completions.
  const nameOf = (other) => other.label.replace(/, held out$/, "");
  const names = [...new Set(chart.series.filter((other) => other.label !== "training").map(nameOf))];
  return css(`--s${Math.max(0, names.indexOf(nameOf(series))) % 8}`);
}

/** Name a plot for screen readers: its title, and the first and last value of each line. */
function describe(plot, title, format, lines) {
  const text = (value) => format === "share" ? `${(100 * value).toFixed(1)}%` : String(Number(value.toPrecision(4)));
  const ends = lines.filter(({ y }) => y.length).map(({ name, y }) => `${name} from ${text(y[0])} to ${text(y.at(-1))}`);
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", [title, ...ends].join("; "));
}

/** A chart with title, legend and plot. In a comparison of runs with many series, one series is shown at a time. */
function chartElement(chart) {
  const plot = el("div", { class: "plot" });
  const legend = el("div", { class: "legend" });
  // In a comparison colours stand for runs, so two series can be told apart only as a line and as dots.
  const tooMany = comparing && new Set(chart.series.map((series) => series.style)).size < chart.series.length;
  let selected = String(Math.max(0, chart.series.findIndex((series) => series.metric === chart.first)));
  const select = tooMany
    ? makeSelect(chart.title, chart.series.map((series, i) => [String(i), series.label]), selected, (value) => { selected = value; draw(); }, true)
    : null;
  function draw() {
    const shown = tooMany ? [chart.series[Number(selected)]] : chart.series;
    const traces = report.runs.flatMap((run, index) => hidden.has(index) ? [] :
      shown.filter((series) => series.metric in run.curves.metrics)
        .map((series) => makeTrace(run, index, { ...chart, series: comparing ? shown : chart.series }, series, chart.series.indexOf(series))));
    legend.replaceChildren(...(comparing ? comparisonLegend(shown) : singleLegend(chart)));
    describe(plot, chart.title, chart.format, traces);
    Plotly.react(plot, traces, layout(chart.format, traces, eventMarks()), PLOT_CONFIG);
  }
  redraws.push(draw);
  return el("div", { class: "panel" },
    el("div", { class: "top" }, el("h3", {}, chart.title), select), legend, plot, note(chart.note));
}

function singleLegend(chart) {
  const labels = chart.series.map((series) => series.label);
  const heldOut = (series) => series.label.endsWith(", held out") && labels.includes(series.label.replace(/, held out$/, ""));
  const named = chart.series.filter((series) => series.label && !heldOut(series));
  const items = named.map((series) => el("span", {}, el("i", { class: "swatch",
    style: { background: seriesColor(chart, series, chart.series.indexOf(series)), height: series.style === "stack" ? "9px" : "3px" } }),
  series.label));
  return chart.series.some(heldOut) ? [...items, el("span", {}, "dots: held out")] : items;
}

function comparisonLegend(shown) {
  if (shown.length < 2) return [];
  return [el("span", {}, shown.map((series) => series.label + (series.style === "dots" ? " (dots)" : " (pale)")).join(", "))];
}

/** The duration of each phase: bars over steps or, in a comparison, one bar of mean values per run. */
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
      Object.assign(look.xaxis, { title: { text: "mean seconds per step", font: { size: 11 } }, hoverformat: ".2f" });
      look.xaxis.unifiedhovertitle = undefined;
      Object.assign(look.yaxis, { automargin: true, autorange: "reversed", nticks: 0 });
      look.hovermode = "closest";
    } else {
      look.yaxis.hoverformat = ".2f";
    }
    describe(plot, "Seconds per step, by phase", "number", []);
    Plotly.react(plot, traces, { ...look, barmode: "stack", bargap: 0.15 }, PLOT_CONFIG);
  }
  redraws.push(draw);
  return el("div", { class: "panel wide" }, el("h3", {}, "Seconds per step, by phase"), legend, plot,
    note("Evaluation, checkpoints and monitoring are not part of the training step. Overlapping phases are counted once."));
}

function secondsPerStep(run, phase) {
  const sum = (values) => (values || []).reduce((total, value) => total + (value || 0), 0);
  const steps = (run.curves.metrics["time/step"] || []).filter((value) => value !== null).length;
  return steps ? sum(run.curves.metrics["time/" + phase]) / steps : 0;
}

/** A chart of any metric in metrics.jsonl, for metrics without a chart of their own. */
function anyMetricElement() {
  const names = [...new Set(report.runs.flatMap((run) => Object.keys(run.curves.metrics)))].sort();
  if (!names.length) return null;
  let current = names.includes(chosen.get("metric")) ? chosen.get("metric") : names.find((name) => name === "length/max") || names[0];
  const plot = el("div", { class: "plot" });
  function draw() {
    const style = current.startsWith("eval") ? "dots" : "line";
    const chart = { title: current, format: "number", series: [{ metric: current, label: current, style }] };
    const traces = report.runs.flatMap((run, index) =>
      hidden.has(index) || !(current in run.curves.metrics) ? [] : [makeTrace(run, index, chart, chart.series[0], 0)]);
    describe(plot, current, "number", traces);
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
