"use strict";
/* The data inside the page, and small things to say about it. Nothing here builds HTML from text. */
const report = JSON.parse(document.getElementById("data").textContent);

const nameOf = (index) => (index >= 0 && index < report.names.length ? report.names[index] : "");
const moduleName = (index) => nameOf(index) || "(network)";
const known = (value) => typeof value === "number" && Number.isFinite(value);
const fixed = (value, decimals) => (known(value) ? value.toFixed(decimals).replace(/^-(0\.?0*)$/, "$1") : "–");

/* Few digits, whatever the size. */
function short(value) {
  if (!known(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

/* Which run is looked at; sections draw themselves again when it changes. */
const state = { run: -1 };
const runsWithSeries = report.runs.map((run, index) => index).filter((index) => report.series.some((s) => s.run === index));
const seriesOfRun = () => report.series.filter((s) => s.run === state.run);
const sameModel = (a, b) => (a.key && b.key ? a.key === b.key : a.model === b.model);
const ofRun = (list) => list.filter((item) => item.runs.includes(state.run));

/* Models keep their colour through all sections. */
const modelNames = [...new Set(report.series.map((s) => s.model).concat(report.sensitivities.map((s) => s.model)))];
const styleValue = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colourVariable = (model) => `--m${Math.max(0, modelNames.indexOf(model)) % 4}`;
const colourOf = (model) => styleValue(colourVariable(model));

const rangeAt = (log, index) => (known(log.max[index]) && known(log.min[index]) ? log.max[index] - log.min[index] : null);
const lastOf = (list) => list[list.length - 1];
const epochsOf = (lists) => [...new Set(lists.flatMap((list) => list.map((item) => item.epoch)))].sort((a, b) => a - b);
