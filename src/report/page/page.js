"use strict";
/* Puts the sections together and listens to run, theme and hash. */

const hasModules = () => seriesOfRun().some((s) => s.paths && s.logs && s.logs.length);
const hasAnalysis = (test) => ofRun(report.analyses).some(test);

/* Sections in order: when they have something to show, and what they say about it. */
const sections = [
  { id: "accuracy", title: "Accuracy by epoch", draw: accuracySection, shown: () => seriesOfRun().length > 0,
    text: "Validation accuracy in float32 and in INT8, on one scale. Intervals are Newcombe's for paired shares; of results files that do not tell how many images one network alone gets right, his for independent shares, which is wider." },
  { id: "drift", title: "Drift of a layer", draw: driftSection, shown: () => hasModules() || seriesOfRun().some((s) => s.tensors.length && s.paths),
    text: "Without a layer's name the four most extreme of the last epoch are drawn. A part of a name takes the most extreme that hold it." },
  { id: "noise", title: "Where the noise comes in", draw: noiseSection, shown: () => seriesOfRun().some((s) => s.quantized.length && s.tensors.length && s.quantized[0].accumulated),
    text: "Signal to quantization noise of each tensor in the order of computation: the noise that has come together by then, or of the tensor's own rounding." },
  { id: "ranges", title: "Dynamic ranges on one axis", draw: rangeSection, shown: hasModules, text: "Each bar reaches from a module's smallest to its largest activation." },
  { id: "channels", title: "Channels", draw: channelSection, shown: () => hasAnalysis((a) => channelEntries(a).length > 0), text: "Range of each channel: one wide channel makes the codes of all others coarse." },
  { id: "histograms", title: "Values and codes", draw: histogramSection, shown: () => hasAnalysis((a) => a.tensors.some((t) => t.histogram && known(t.scale))),
    text: "How often values occur, over the codes that INT8 has for them. Shaded: where the channels lie that do not set the range." },
  { id: "collapse", title: "Values that share a code", draw: collapseSection, shown: () => hasAnalysis((a) => a.collapse.rows.length > 0),
    text: "After activations beside after, before beside before. Two values with one code have become the same." },
  { id: "batchnorm", title: "BatchNorm", draw: batchnormSection, shown: () => hasAnalysis((a) => a.batchnorm.length + a.batchnormRanges.length > 0),
    text: "Gamma multiplies what a BatchNorm has made of unit variance: a channel with a large one sets the range that all others share." },
  { id: "sensitivity", title: "Sensitivity", draw: sensitivitySection, shown: () => ofRun(report.sensitivities).length > 0, text: "What INT8 costs in part of the network, the rest in float32." },
  { id: "recipes", title: "Recipes", draw: gridSection, shown: () => report.grid.length > 0, text: "Calibrators, schemes and remedies on the same checkpoints; gain over the first recipe of the file." },
  { id: "runs", title: "Runs side by side", draw: comparisonSection, shown: () => runsWithSeries.length > 1, text: "Runs that differ in their seed alone are one row." },
  { id: "files", title: "Files", draw: filesSection, shown: () => true, text: "What was read, what was left out, and what these files do not say." },
];

/* ---- answers ---- */

/* The first sentence leads. An end is a full stop before a space and a capital: names and numbers have stops too. */
function splitLead(text) {
  const end = text.search(/\.\s+[A-Z]/);
  return end < 0 ? [text, ""] : [text.slice(0, end + 1), text.slice(end + 1).trim()];
}

function drawAnswers() {
  const overall = state.run < 0 || !report.runs[state.run].answers;
  const answers = overall ? report.answers : report.runs[state.run].answers;
  const links = [["accuracy", "Accuracy by epoch"], ["noise", "Where the noise comes in"], report.sensitivities.length ? ["sensitivity", "Sensitivity"] : ["files", "What is missing"]];
  document.getElementById("answers").replaceChildren(...report.questions.map((question, i) => {
    const [lead, rest] = splitLead(answers[i] || "");
    return make("article", { class: "answer" }, make("h2", {}, question), make("p", { class: "lead" }, ...sentence(lead)), rest ? make("p", {}, ...sentence(rest)) : null,
      make("p", {}, make("a", { href: `#${links[i][0]}` }, links[i][1])));
  }));
}

/* ---- files ---- */

function filesSection() {
  const list = (texts) => make("ul", { class: "plain" }, ...texts.map((text) => make("li", {}, ...sentence(text))));
  const box = make("div");
  if (report.skipped.length) box.append(make("h3", {}, "Left out"), list(report.skipped));
  if (report.lacks.length) {
    const all = list(report.lacks);
    box.append(make("h3", {}, "What these files do not say"), report.lacks.length > 8 ? make("details", {}, make("summary", {}, `${report.lacks.length} sentences`), all) : all);
  }
  if (report.detail > 0)
    box.append(make("p", { class: "note" }, "Of so many trainings not everything fits into one page: some statistics by module, tensor or channel are left out here. A report on fewer folders holds them."));
  box.append(sortableTable("Files that were looked at", [
    { title: "Kind", get: (f) => f.kind }, { title: "File", get: (f) => f.path, name: true, show: (v, f) => (f.url ? make("a", { href: f.url }, f.path) : f.path) },
  ], report.files));
  return box;
}

/* ---- sections ---- */

/* A section that cannot be drawn says so; the others stay. */
function drawSection(section) {
  let content;
  try {
    content = section.draw();
  } catch (error) {
    console.error(error);
    content = make("p", { class: "note" }, `This section could not be drawn: ${error.message}`);
  }
  return make("section", { class: "section", id: section.id, "aria-labelledby": `${section.id}-title` },
    make("h2", { id: `${section.id}-title` }, section.title), make("p", {}, section.text), content);
}

function drawAll() {
  const shown = sections.filter((section) => section.shown());
  drawAnswers();
  document.getElementById("toc").replaceChildren(...shown.map((s) => make("a", { href: `#${s.id}` }, s.title)));
  document.getElementById("sections").replaceChildren(...shown.map(drawSection));
}

/* ---- run and theme ---- */

function setUpRuns() {
  const pick = document.getElementById("run");
  if (runsWithSeries.length > 1) pick.append(make("option", { value: -1 }, "all runs: answers; charts of the first"));
  for (const index of runsWithSeries) pick.append(make("option", { value: index }, report.runs[index].name + (report.runs[index].state && report.runs[index].state !== "complete" ? ` (${report.runs[index].state})` : "")));
  document.getElementById("run-pick").hidden = runsWithSeries.length < 2;
  if (runsWithSeries.length === 1) document.querySelector("h1 span").textContent = report.runs[runsWithSeries[0]].name;
  state.run = runsWithSeries.length ? runsWithSeries[0] : report.runs.length ? 0 : -1;
  pick.addEventListener("change", () => {
    const value = Number(pick.value);
    state.run = value < 0 ? runsWithSeries[0] : value;
    drawAll();
    if (value < 0) drawOverall();
  });
  if (runsWithSeries.length > 1) state.overall = true;
}

function drawOverall() {
  const run = state.run;
  state.run = -1;
  drawAnswers();
  state.run = run;
}

function setUpTheme() {
  const button = document.getElementById("theme"), order = ["auto", "light", "dark"];
  let theme = "auto";
  button.addEventListener("click", () => {
    theme = order[(order.indexOf(theme) + 1) % order.length];
    if (theme === "auto") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.setAttribute("data-theme", theme);
    button.textContent = `Theme: ${theme}`;
    drawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());
}

setUpRuns();
setUpTheme();
drawAll();
if (state.overall) drawOverall();
document.getElementById("footer").textContent = `Made by quantdrift ${report.version} (${report.commit}) from files alone. This page holds all it shows and asks nobody for anything.`;
/* The sections were not there when the browser looked for the hash. */
if (location.hash.length > 1) document.getElementById(location.hash.slice(1))?.scrollIntoView();
