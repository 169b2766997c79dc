// The page of `make reproduce`, from top to bottom. It follows dom.js of the report of a run.

const COLORS = { holds: "good", refuted: "bad", undecided: "warn", "not run": "quiet" };

function verdictElement(verdict) {
  return verdict ? el("span", { class: `state ${COLORS[verdict]}` }, verdict) : el("span", { class: "quiet small" }, "shown only");
}

function headElement() {
  const { counts, seeds } = report;
  const facts = { seeds: seeds.join(", ") || "none", commit: report.git ? report.git.commit.slice(0, 12) : null, cores: report.cores,
    price: `$${report.usd_per_hour} an hour`, power: `${report.watts} W` };
  const figures = [["claims that hold", counts.holds, "the whole interval is at least what is claimed"],
    ["refuted", counts.refuted, "the whole interval is below"], ["undecided", counts.undecided, "the interval contains it"],
    ["not run", counts["not run"], "on this machine"],
    ["time", `${report.minutes.toFixed(0)} min`, `$${report.usd.toFixed(2)}, ${report.kwh.toFixed(2)} kWh`]];
  return el("header", {}, el("div", { class: "over" }, "AhaZero · reproduction"), el("h1", {}, "Claims about reasoning models, tested"),
    el("div", { class: "facts" }, Object.entries(facts).filter(([, value]) => value !== null).map(([name, value]) =>
      el("span", {}, el("span", { class: "quiet" }, `${name} `), el("b", {}, String(value))))),
    el("div", { class: "headline" }, figures.map(([label, value, remark]) => el("div", {},
      el("div", { class: "label" }, label), el("div", { class: "value" }, String(value)), el("div", { class: "remark" }, remark)))));
}

function pictureElement(source, text) {
  return el("img", { src: source, alt: text, style: { width: "100%", background: "#fff", borderRadius: "10px", border: "1px solid var(--line)" } });
}

function overviewSection() {
  return section("overview", "All effects",
    el("p", { class: "quiet" }, "Each line is a comparison that decides a claim: the effect and its interval, over seeds and problems. ",
      "The vertical mark is what is claimed. A claim holds where the whole interval is to the right of its mark."),
    report.overview ? pictureElement(report.overview, "effects and intervals of all comparisons") : el("p", { class: "quiet" }, "Nothing has been run yet."));
}

function isShort(cell) {
  return typeof cell === "string" && cell.length < 24;
}

function figures(names, rows) {
  return el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, names.map((name) => el("th", {}, name)))),
    el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell) => el("td", isShort(cell) ? { style: { whiteSpace: "nowrap" } } : {}, cell)))))));
}

function tableSection() {
  return section("table", "All claims", figures(["claim", "verdict", "", "effect", "interval", "claimed"], report.claims.flatMap((claim) =>
    claim.comparisons.filter((each) => each.verdict).map((each, i) => [
      i ? "" : el("a", { href: `#${claim.name}` }, `${claim.number}. ${claim.title}`), i ? "" : verdictElement(claim.verdict),
      each.label, each.effect, each.interval, each.claimed]))));
}

function claimSection(claim) {
  const measured = claim.comparisons.filter((each) => each.effect);
  return section(claim.name, `${claim.number}. ${claim.title}`,
    el("p", {}, verdictElement(claim.verdict), " ", claim.sentence, " ",
      el("a", { href: claim.url, rel: "noreferrer" }, claim.source)),
    el("p", {}, el("b", {}, "What was done. "), claim.done),
    measured.length ? figures(["comparison", "arms", "effect", "interval", "p", "claimed", "verdict", "seeds", "problems"],
      measured.map((each) => [each.label, each.arms.map((arm) => el("div", {}, arm)), each.effect, each.interval, each.p, each.claimed,
        verdictElement(each.verdict), String(each.seeds), String(each.problems)])) : el("p", { class: "quiet" }, "It has not been run."),
    measured.some((each) => each.seeds === 1) ? note("The intervals of a single seed cover the choice of problems only, not the variation between runs.") : null,
    claim.figure ? pictureElement(claim.figure, claim.title) : null,
    el("p", {}, el("b", {}, "What it does not show. "), claim.limits),
    claim.verdict === "holds" || claim.verdict === "not run" ? null : el("p", {}, el("b", {}, "What could change the verdict. "), `${claim.needed[0].toUpperCase()}${claim.needed.slice(1)}.`),
    el("p", { class: "note" }, `Cost of all its stages: ${claim.minutes.toFixed(1)} minutes, $${claim.usd.toFixed(3)}, ${claim.kwh.toFixed(3)} kWh; claims share stages.`));
}

document.getElementById("page").append(headElement(), overviewSection(), tableSection(), ...report.claims.map(claimSection),
  el("footer", {}, `Written by AhaZero on ${report.written}.`));
document.documentElement.dataset.ready = "yes";
