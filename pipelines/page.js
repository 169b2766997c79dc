// The page of a pipeline, from top to bottom. It follows dom.js and samples.js of the report of a run.

const pipeline = report.pipeline;
const stages = Object.entries(pipeline.stages).map(([name, stage]) => ({ name, ...stage }));
const evaluated = stages.filter((stage) => stage.accuracy);
const arms = [...new Set(stages.map((stage) => stage.arm).filter(Boolean))];

function percent(value) {
  return `${(100 * value).toFixed(1)}%`;
}

function interval({ mean, low, high }) {
  return `${percent(mean)} (${percent(low)} to ${percent(high)})`;
}

function count(value) {
  return value ? Math.round(value).toLocaleString("en") : "";
}

function minutes(value) {
  return value ? value.toFixed(1) : "";
}

function usd(value) {
  return value ? `$${value.toFixed(value < 0.1 ? 4 : 2)}` : "";
}

/** The last evaluated stage of an arm, or of the pipeline if it has no arms. */
function lastOf(arm) {
  return evaluated.filter((stage) => stage.arm === arm && stage.kind !== "model").at(-1);
}

function headElement() {
  const runs = stages.filter((stage) => !["model", "evaluate"].includes(stage.kind));
  const finished = runs.filter((stage) => stage.state === "finished").length;
  const facts = { pipeline: pipeline.pipeline, base: pipeline.model, teacher: pipeline.teacher, task: pipeline.env, seed: pipeline.seed };
  return el("header", {}, el("div", { class: "over" }, "AhaZero · pipeline"), el("h1", {}, pipeline.run),
    el("div", { class: "facts" },
      el("span", { class: `state ${finished === runs.length ? "good" : "warn"}` }, `${finished} of ${runs.length} stages finished`),
      Object.entries(facts).filter(([, value]) => value !== null).map(([name, value]) =>
        el("span", {}, el("span", { class: "quiet" }, `${name} `), el("b", {}, String(value))))),
    el("div", { class: "headline" }, headline().map(([label, before, after, remark]) => el("div", {},
      el("div", { class: "label" }, label),
      el("div", { class: "value" }, before ? el("span", { class: "before" }, `${before} → `) : null, after),
      el("div", { class: "remark" }, remark)))));
}

function headline() {
  const base = evaluated.find((stage) => stage.name === "base");
  const before = base ? percent(base.accuracy.pass_at_1.mean) : null;
  const accuracies = (arms.length ? arms : [""]).map((arm) => [arm, lastOf(arm)]).filter(([, stage]) => stage)
    .map(([arm, stage]) => [arm || "held-out accuracy", before, percent(stage.accuracy.pass_at_1.mean), `after ${stage.name}`]);
  return [...accuracies,
    ["tokens", null, count(pipeline.tokens) || "0", "generated or trained on"],
    ["time", null, `${pipeline.minutes.toFixed(1)} min`, "with setup and evaluations"],
    ...(pipeline.usd ? [["cost", null, usd(pipeline.usd), "with setup and evaluations"]] : [])];
}

/** One line per model: an interval with its mean, pass@1 filled and the majority vote hollow, on a scale from 0 to 1. */
function accuracySection() {
  if (!evaluated.length) return section("accuracy", "Accuracy", el("p", { class: "quiet" }, "No model has been evaluated yet."));
  const either = (key) => [...new Set(evaluated.map((stage) => stage.accuracy[key].toLocaleString("en")))].join(" or ");
  return section("accuracy", "Accuracy after every stage",
    el("p", { class: "quiet" }, `On ${either("problems")} held-out problems, ${either("samples")} completions each, with 95% intervals.`),
    el("div", { class: "tracks" }, evaluated.map((stage) => [
      el("div", {}, stage.name, stage.arm ? el("span", { class: "quiet small" }, ` ${stage.arm}`) : null),
      el("div", { class: "track" }, mark(stage.accuracy.pass_at_1, "one"), stage.accuracy.majority ? mark(stage.accuracy.majority, "vote") : null),
      el("div", { class: "small" }, interval(stage.accuracy.pass_at_1))]),
      el("div"), el("div", { class: "scale" }, [0, 0.25, 0.5, 0.75, 1].map((value) => el("span", {}, `${100 * value}%`)))),
    el("p", { class: "legend" }, el("span", {}, el("i", { class: "dot one" }), "pass@1"),
      evaluated.some((stage) => stage.accuracy.majority) ? el("span", {}, el("i", { class: "dot vote" }), `majority@${evaluated[0].accuracy.votes}`) : null));
}

function mark({ mean, low, high }, kind) {
  return [el("i", { class: `span ${kind}`, style: { left: percent(low), width: percent(high - low) } }),
    el("i", { class: `dot ${kind}`, style: { left: percent(mean) } })];
}

/** A table whose first `texts` columns are text and whose others are figures. */
function table(texts, names, rows) {
  const isText = (index) => index < texts;
  return el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, names.map((name, i) => el("th", { class: isText(i) ? null : "number" }, name)))),
    el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell, i) => el("td", { class: isText(i) ? null : "number" }, cell)))))));
}

function armsSection() {
  if (arms.length < 2) return null;
  const of = (arm) => stages.filter((stage) => stage.arm === arm);
  const sum = (arm, key) => of(arm).reduce((total, stage) => total + stage[key], 0);
  return section("arms", "Arms",
    el("p", { class: "quiet" }, "Each arm at its last stage. Tokens, minutes and dollars are those of the arm's own stages, without the ones that arms share."),
    table(2, ["arm", "its stages", "pass@1", "majority", "tokens", "minutes", "USD"], arms.map((arm) => {
      const accuracy = lastOf(arm)?.accuracy;
      return [arm, of(arm).map((stage) => stage.name).join(", "), accuracy ? interval(accuracy.pass_at_1) : "",
        accuracy?.majority ? interval(accuracy.majority) : "", count(sum(arm, "tokens")), minutes(sum(arm, "minutes")), usd(sum(arm, "usd"))];
    })));
}

function stageTable() {
  const names = ["stage", "takes", "arm", "pass@1", "majority", "tokens per completion", "truncated", "mixed scripts", "rows", "tokens", "minutes", "USD"];
  return section("stages", "Stages", table(3, names, stages.map((stage) => {
    const accuracy = stage.accuracy;
    return [el("span", {}, el("b", {}, stage.name), el("span", { class: "quiet small" }, ` ${stage.kind}${stage.state === "finished" ? "" : `, ${stage.state}`}`)),
      stage.takes, stage.arm, ...(accuracy ? [percent(accuracy.pass_at_1.mean), accuracy.majority ? percent(accuracy.majority.mean) : "",
        accuracy.length.toFixed(1), percent(accuracy.truncated), percent(accuracy.mixed)] : ["", "", "", "", ""]),
      count(stage.rows), count(stage.tokens), minutes(stage.minutes), usd(stage.usd)];
  })), el("p", { class: "note" }, "Mixed scripts: completions whose thought has words in two scripts. Rows: of the data that a traces stage wrote. ",
    "Minutes: wall-clock time of the stage's process, with setup and its own evaluations."));
}

function dataSection() {
  const parts = stages.filter((stage) => stage.counts.length).map((stage) => el("div", {}, el("h3", {}, stage.name),
    table(1, ["filter", "rows in", "rows out", "rejected"], stage.counts.map(([filter, before, after]) =>
      [filter, before.toLocaleString("en"), after.toLocaleString("en"), (before - after).toLocaleString("en")]))));
  return parts.length ? section("rows", "Data", el("div", { class: "columns" }, parts)) : null;
}

function transcriptsSection() {
  const { models, problems } = report.transcripts;
  if (!problems.length) return null;
  return section("transcripts", "The same problems after each stage",
    el("p", { class: "quiet" }, "Held-out problems, first those that the first model fails and the last one solves, with one sampled completion per model."),
    el("div", { class: "stages" }, problems.map((row) => transcriptRow(models, row))), spanKey(problems.flat()));
}

function transcriptRow(models, row) {
  const prompt = row[0].prompt.trim();
  return el("div", { class: "stage-row" },
    prompt.length < 120 ? el("div", { class: "mono" }, prompt) :
      el("details", {}, el("summary", { class: "mono" }, row[0].key.slice(0, 160)), el("pre", { class: "prompt" }, prompt)),
    el("div", { class: "columns" }, row.map((sample, i) => el("div", {},
      el("div", { class: "small" }, el("b", {}, `${models[i]} `), verdict(sample),
        el("span", { class: "quiet" }, ` ${show(sample.tokens)} tokens${sample.tries ? `, ${triesText(sample)}` : ""}`)),
      completionElement(sample)))));
}

function commandsSection() {
  return section("commands", "Commands", el("details", {}, el("summary", {}, `The commands of ${Object.keys(report.commands).length} stages`),
    Object.entries(report.commands).map(([name, command]) => [el("h3", {}, name), el("pre", {}, command.join(" "))])));
}

document.getElementById("page").append(...[headElement(), accuracySection(), armsSection(), stageTable(), dataSection(),
  transcriptsSection(), commandsSection(), el("footer", {}, `Written by AhaZero on ${report.written}.`)].filter(Boolean));
document.documentElement.dataset.ready = "yes";
