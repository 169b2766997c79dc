// The table of samples, and completions to the same problems at several steps.

const KINDS = { train: "training", eval: "held out", eval_greedy: "held out, greedy" };
const SPANS = { hit: "reaches the target", miss: "correct arithmetic", slip: "wrong arithmetic or numbers",
  answer: "answer", verdict_true: "true verdict", verdict_false: "false verdict" };
const PAGE_SIZE = 50;  // rows

function completionText(row) {
  return row.parts.map((part) => part[1]).join("");
}

/** A completion with its spans highlighted. */
function completionElement(row) {
  const pre = el("pre", { class: "completion" }, row.parts.map(([kind, text]) =>
    kind in SPANS ? el("span", { class: kind, title: SPANS[kind] }, text) : text));
  if (row.cut) pre.append(el("span", { class: "quiet" }, `\n… and ${row.cut.toLocaleString("en")} more characters`));
  return pre;
}

function spanKey(rows) {
  const used = new Set(rows.flatMap((row) => row.parts.map((part) => part[0])));
  const shown = Object.entries(SPANS).filter(([kind]) => used.has(kind));
  return shown.length ? el("p", { class: "key" }, shown.map(([kind, text]) => el("span", { class: kind }, text))) : null;
}

function verdict(row) {
  return el("span", { class: row.correct ? "good" : "bad" }, row.correct ? "✓ correct" : "✗ wrong");
}

function triesText(row) {
  return row.tries ? `${row.tries} ${row.tries === 1 ? "try" : "tries"}` : "";
}

function sampleFacts(row) {
  const parts = Object.entries(row.components).map(([name, value]) => `${name} ${show(value)}`).join(", ");
  return el("p", { class: "small quiet" }, [
    `${KINDS[row.kind] || row.kind}, step ${row.step}`, row.key, `reward ${show(row.reward)}${parts ? ` (${parts})` : ""}`,
    row.reason && row.reason !== "correct" ? row.reason : "", `${show(row.tokens)} tokens${row.truncated ? ", truncated" : ""}`,
    triesText(row), row.answer ? `expected: ${row.answer}` : "",
  ].filter(Boolean).join(" · "), " ", row.behaviors.map((name) => el("span", { class: "tag" }, name.replace(/_/g, " "))));
}

const FILTERS = {
  run: (row, value) => report.runs[row.run].name === value,
  step: (row, value) => String(row.step) === value,
  kind: (row, value) => row.kind === value,
  verdict: (row, value) => row.correct === (value === "correct"),
  behavior: (row, value) => row.behaviors.includes(value),
  text: (row, value) => [completionText(row), row.prompt, row.key, row.reason].some((text) => text.toLowerCase().includes(value.toLowerCase())),
};

function filteredRows() {
  const active = Object.entries(FILTERS).filter(([name]) => chosen.get(name));
  return report.samples.rows.filter((row) => active.every(([name, matches]) => matches(row, chosen.get(name))));
}

function samplesSection() {
  const all = report.samples.rows;
  if (!all.length) return section("samples", "Samples", el("p", { class: "quiet" }, "There are no samples yet."));
  const body = el("tbody"), count = el("span", { class: "small quiet", id: "count", role: "status" });
  const more = el("button", { class: "plain", type: "button", on: { click: () => extend() } }, "show more");
  let rows = [], shown = 0;
  function extend() {
    body.append(...rows.slice(shown, shown + PAGE_SIZE).map((row) => rowElement(row)));
    shown = Math.min(rows.length, shown + PAGE_SIZE);
    more.hidden = shown >= rows.length;
  }
  function refresh() {
    rows = filteredRows();
    shown = 0;
    body.replaceChildren();
    const linked = rows.indexOf(all[Number(chosen.get("open") || NaN)]);
    do extend(); while (shown <= linked);
    const total = report.samples.total;
    const kept = total > all.length ? ` (samples.jsonl has ${total.toLocaleString("en")}; the page holds the first of each step, or of evenly spaced steps)` : "";
    count.textContent = `${rows.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} samples${kept}`;
  }
  function pick(name, value) {
    choose(name, value);
    choose("open", null);
    refresh();
  }
  const element = section("samples", "Samples", filtersElement(all, pick), el("p", {}, count),
    el("table", { class: "samples" }, columns(), el("thead", {}, headRow()), body), more);
  refresh();
  return element;
}

function filtersElement(all, pick) {
  const values = (get) => [...new Set(all.flatMap(get))];
  const select = (name, label, options) => options.length < 2 && !chosen.get(name) ? null :
    makeSelect(label, [["", "all"], ...options], chosen.get(name) || "", (value) => pick(name, value));
  return el("div", { class: "filters" },
    comparing ? select("run", "run", report.runs.map((run) => [run.name, run.name])) : null,
    select("step", "step", values((row) => [row.step]).sort((a, b) => a - b).map((step) => [String(step), String(step)])),
    select("kind", "kind", values((row) => [row.kind]).map((kind) => [kind, KINDS[kind] || kind])),
    select("verdict", "verdict", [["correct", "correct"], ["wrong", "wrong"]]),
    values((row) => row.behaviors).length
      ? makeSelect("behaviour", [["", "all"], ...values((row) => row.behaviors).sort().map((name) => [name, name.replace(/_/g, " ")])],
        chosen.get("behavior") || "", (value) => pick("behavior", value)) : null,
    el("label", {}, "text", el("input", { type: "search", value: chosen.get("text") || "", placeholder: "prompt or completion",
      on: { input: (event) => pick("text", event.target.value) } })));
}

const hasTries = report.samples.rows.some((row) => row.tries);
const hasBehaviors = report.samples.rows.some((row) => row.behaviors.length);

function columns() {
  return el("colgroup", {}, comparing ? el("col", { style: { width: "150px" } }) : null, el("col", { style: { width: "52px" } }),
    el("col", { class: "wide-only", style: { width: "140px" } }), el("col", { style: { width: "82px" } }),
    el("col", { class: "wide-only", style: { width: "64px" } }), el("col", { class: "wide-only", style: { width: "62px" } }),
    hasTries ? el("col", { class: "wide-only", style: { width: "52px" } }) : null,
    hasBehaviors ? el("col", { class: "wide-only", style: { width: "200px" } }) : null,
    el("col", { class: "wide-only", style: { width: "20%" } }), el("col"));
}

function headRow() {
  return el("tr", {}, comparing ? el("th", {}, "run") : null, el("th", {}, "step"), el("th", { class: "wide-only" }, "kind"), el("th", {}, "verdict"),
    el("th", { class: "wide-only" }, "reward"), el("th", { class: "wide-only" }, "tokens"),
    hasTries ? el("th", { class: "wide-only" }, "tries") : null,
    hasBehaviors ? el("th", { class: "wide-only" }, "behaviours") : null, el("th", { class: "wide-only" }, "problem"), el("th", {}, "completion"));
}

function rowElement(row) {
  let detail = null;
  const index = String(report.samples.rows.indexOf(row));
  function toggle() {
    if (detail) {
      detail.remove();
      detail = null;
      if (chosen.get("open") === index) choose("open", null);
    } else {
      if (chosen.get("open") !== "all") choose("open", index);
      detail = el("tr", { class: "detail" }, el("td", { colspan: String(visibleCells(line)) }, sampleFacts(row),
        el("pre", { class: "prompt" }, row.prompt), completionElement(row), spanKey([row])));
      line.after(detail);
    }
    line.classList.toggle("open", Boolean(detail));
    line.setAttribute("aria-expanded", String(Boolean(detail)));
  }
  const onKey = (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    toggle();
  };
  const short = (text) => text.slice(0, 300).replace(/\s+/g, " ").trim();
  const reward = typeof row.reward === "number" ? row.reward.toFixed(2) : show(row.reward);
  const line = el("tr", { class: "row", tabindex: "0", "aria-expanded": "false", on: { click: toggle, keydown: onKey } },
    comparing ? el("td", { class: "clip", title: report.runs[row.run].name }, report.runs[row.run].name) : null,
    el("td", {}, String(row.step)), el("td", { class: "wide-only clip" }, KINDS[row.kind] || row.kind), el("td", { class: "verdict" }, verdict(row)),
    el("td", { class: "wide-only" }, reward), el("td", { class: "wide-only" }, show(row.tokens)),
    hasTries ? el("td", { class: "wide-only" }, show(row.tries)) : null,
    hasBehaviors ? el("td", { class: "wide-only clip" }, row.behaviors.map((name) => el("span", { class: "tag" }, name.replace(/_/g, " ")))) : null,
    el("td", { class: "clip mono wide-only" }, short(row.key)), el("td", { class: "clip mono" }, short(completionText(row))));
  if (["all", index].includes(chosen.get("open"))) queueMicrotask(toggle);  // after the row was added to the table
  return line;
}

/** The number of visible columns, since narrow windows hide some; a larger colspan would create new columns. */
function visibleCells(line) {
  return [...line.cells].filter((cell) => cell.offsetParent !== null).length || 1;
}

/** Completions to the same problems at the first evaluation, in between and at the last. */
function stagesSection() {
  const parts = report.runs.filter((run) => run.stages.problems.length).map((run) => [
    comparing ? el("h3", {}, run.name) : null, run.stages.problems.map((problem) => stageRow(run, problem))]);
  if (!parts.length) return null;
  const rows = report.runs.flatMap((run) => run.stages.problems.flat().filter(Boolean));
  return section("before-after", "Before and after",
    el("p", { class: "quiet" }, "Held-out problems that the model failed at first and solves at the end, with one sampled completion per evaluation."),
    el("div", { class: "stages" }, parts), spanKey(rows));
}

function stageRow(run, problem) {
  const known = problem.find(Boolean);
  const prompt = known.prompt.trim();
  const columns = problem.map((row, i) => row === null ? null : el("div", {},
    el("div", { class: "small" }, el("b", {}, `step ${run.stages.steps[i]} `), verdict(row),
      el("span", { class: "quiet" }, ` ${show(row.tokens)} tokens${row.tries ? `, ${triesText(row)}` : ""}`)),
    completionElement(row)));
  const title = prompt.length < 120 ? el("div", { class: "mono" }, prompt) :
    el("details", {}, el("summary", { class: "mono" }, known.key.slice(0, 160)), el("pre", { class: "prompt" }, prompt));
  return el("div", { class: "stage-row" }, title, el("div", { class: "columns" }, columns));
}
