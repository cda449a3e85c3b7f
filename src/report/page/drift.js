"use strict";
/* What changes from epoch to epoch: accuracy, ranges, noise. */

const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3]];

/* ---- accuracy ---- */

function accuracyPanel(series, range) {
  const validated = series.history.filter((h) => known(h[4]));
  const lines = [
    { label: "float32", colour: styleValue("--soft"), dash: [6, 4], xs: validated.map((h) => h[0]), ys: validated.map((h) => h[4]) },
    { label: "INT8", colour: colourOf(series.model), xs: series.quantized.map((q) => q.epoch), ys: series.quantized.map((q) => q.int8) },
  ];
  return make("div", { class: "panel" }, make("h3", {}, series.model),
    lineChart(lines, { x: "epoch", y: "accuracy, %", range, integers: true, title: `${series.model}: accuracy by epoch` }));
}

function dropChart(list) {
  const lines = list.filter((s) => s.quantized.length).map((s) => ({
    label: s.model, colour: colourOf(s.model), xs: s.quantized.map((q) => q.epoch), ys: s.quantized.map((q) => q.drop),
    ...(s.quantized.every((q) => known(q.low)) ? { lows: s.quantized.map((q) => q.low), highs: s.quantized.map((q) => q.high) } : {}),
  }));
  return lineChart(lines, { x: "epoch", y: "drop, points", integers: true, height: 240, title: "Drop in INT8 by epoch" });
}

function epochRows() {
  return seriesOfRun().flatMap((s) => epochsOf([s.logs || [], s.quantized]).map((epoch) => {
    const log = (s.logs || []).find((l) => l.epoch === epoch), q = s.quantized.find((item) => item.epoch === epoch);
    const validated = s.history.find((h) => h[0] === epoch);
    const ranges = log ? s.paths.map((p, i) => rangeAt(log, i)) : [];
    const widest = ranges.reduce((best, r, i) => (r !== null && (best < 0 || r > ranges[best]) ? i : best), -1);
    return { model: s.model, epoch, val: validated ? validated[4] : null, q: q || {}, widest: widest >= 0 ? ranges[widest] : null,
             at: widest >= 0 ? moduleName(s.paths[widest]) : "" };
  }));
}

function accuracySection() {
  const list = seriesOfRun(), box = make("div");
  /* One scale for all panels. */
  const panels = make("div", { class: "panels" }, ...list.map((s) => accuracyPanel(s, [0, 100])));
  box.append(panels, make("h3", {}, "Drop: float minus INT8 on the same images, with its 95 % interval"), dropChart(list));
  const two = (value) => fixed(value, 2);
  box.append(sortableTable("Every logged epoch", [
    { title: "Model", get: (r) => r.model },
    { title: "Epoch", get: (r) => r.epoch, num: true },
    { title: "Val %", get: (r) => r.val, show: two, num: true },
    { title: "Float %", get: (r) => r.q.float, show: two, num: true },
    { title: "INT8 %", get: (r) => r.q.int8, show: two, num: true },
    { title: "Drop", get: (r) => r.q.drop, show: two, num: true },
    { title: "95 % interval", get: (r) => r.q.low, show: (v, r) => (known(v) ? `${two(v)} to ${two(r.q.high)}` : "–"), num: true },
    { title: "Widest range", get: (r) => r.widest, show: two, num: true },
    { title: "At module", get: (r) => r.at, name: true },
  ], epochRows()));
  for (const s of list.filter((one) => one.qat))
    box.append(make("p", { class: "facts" }, `${s.model}, trained ${short(s.qat.epochs)} more epochs for INT8: ${two(s.qat.int8)} % in INT8 and ${two(s.qat.trainedFloat)} % in float; `
      + `before, ${two(s.qat.static)} % and ${two(s.qat.float)} % (${short(s.qat.images)} images).`));
  box.append(sourceLinks(list.map((s) => s.file)));
  return box;
}

/* ---- drift of chosen layers ---- */

/* What a chart may show: get(series, place) gives [epoch, value] pairs; `of` tells what places are. */
const metrics = {
  range: { title: "Range (max − min)", y: "range", of: "modules", value: (log, i) => rangeAt(log, i) },
  max: { title: "Largest value", y: "max", of: "modules", value: (log, i) => log.max[i] },
  min: { title: "Smallest value", y: "min", of: "modules", value: (log, i) => log.min[i] },
  std: { title: "Standard deviation", y: "std", of: "modules", value: (log, i) => (log.std ? log.std[i] : null) },
  ratio: { title: "BatchNorm range / convolution range", y: "ratio", of: "pairs", value: (log, i) => { const c = rangeAt(log, i - 1); return c > 0 ? rangeAt(log, i) / c : null; } },
  accumulated: { title: "SQNR through the network", y: "SQNR, dB", of: "tensors", value: (q, i) => q.accumulated[i] },
  rounding: { title: "SQNR of own rounding", y: "SQNR, dB", of: "tensors", value: (q, i) => q.rounding[i] },
  scale: { title: "INT8 scale", y: "scale", of: "tensors", value: (q, i) => q.scale[i] },
};

function placesOf(series, metric) {
  if (metric.of === "tensors") return series.tensors.map((name, i) => ({ place: i, name: moduleName(name) }));
  if (metric.of === "pairs") return series.pairs.map((i) => ({ place: i, name: moduleName(series.paths[i]) }));
  return series.paths.map((name, i) => ({ place: i, name: moduleName(name) }));
}

const logsOf = (series, metric, batch) => (metric.of === "tensors" ? series.quantized : batch === "mixed" ? series.mixed : series.logs);

/* The places that stand out at the last epoch: widest ranges, lowest ratios of signal to noise. */
function standOut(series, metric, batch) {
  const last = lastOf(logsOf(series, metric, batch) || []);
  if (!last) return [];
  const low = metric.y.startsWith("SQNR") || metric === metrics.min;
  return placesOf(series, metric).map((p) => ({ ...p, value: metric.value(last, p.place) })).filter((p) => known(p.value))
    .sort((a, b) => (low ? a.value - b.value : b.value - a.value));
}

const drift = { metric: "range", batch: "logs", layer: "", log: false };

function driftPanel(series, metric, range) {
  const ranked = standOut(series, metric, drift.batch), wanted = drift.layer.toLowerCase();
  const chosen = (wanted ? ranked.filter((p) => p.name.toLowerCase().includes(wanted)) : ranked).slice(0, 4);
  const logs = logsOf(series, metric, drift.batch);
  const lines = chosen.map((p, i) => ({ label: p.name, colour: colourOf(series.model), dash: DASHES[i], xs: logs.map((l) => l.epoch), ys: logs.map((l) => metric.value(l, p.place)) }));
  return make("div", { class: "panel" }, make("h3", {}, series.model), lines.length
    ? lineChart(lines, { x: "epoch", y: metric.y, integers: true, log: drift.log, range: drift.log ? null : range, title: `${series.model}: ${metric.title} by epoch` })
    : make("p", { class: "hint" }, wanted ? "No layer of this name here." : "Not in this run's files."));
}

/* Panels are compared: one scale, from what they will show. */
function sharedRange(list, metric) {
  const values = list.flatMap((s) => {
    const wanted = drift.layer.toLowerCase();
    const chosen = standOut(s, metric, drift.batch).filter((p) => p.name.toLowerCase().includes(wanted)).slice(0, 4);
    return logsOf(s, metric, drift.batch).flatMap((l) => chosen.map((p) => metric.value(l, p.place))).filter(known);
  });
  if (!values.length) return null;
  const low = Math.min(0, ...values), high = Math.max(0, ...values);
  return [low < 0 ? low * 1.05 : 0, high > 0 ? high * 1.05 : 1];
}

function driftSection() {
  const list = seriesOfRun(), panels = make("div", { class: "panels" });
  const names = [...new Set(list.flatMap((s) => s.paths.concat(s.tensors)).map(moduleName))];
  const search = make("input", { type: "search", list: "layer-names", placeholder: "the most extreme", "aria-label": "Layer", value: drift.layer });
  const redraw = () => {
    const metric = metrics[drift.metric];
    panels.replaceChildren(...list.map((s) => driftPanel(s, metric, sharedRange(list, metric))));
  };
  search.addEventListener("input", () => { drift.layer = search.value.trim(); redraw(); });
  const set = (key) => (value) => { drift[key] = value; redraw(); };
  const controls = make("div", { class: "controls" },
    select("Show", Object.entries(metrics).map(([key, m]) => [key, m.title]), drift.metric, set("metric")),
    make("label", {}, "Layer", search), make("datalist", { id: "layer-names" }, ...names.map((n) => make("option", { value: n }))),
    list.some((s) => (s.mixed || []).length) ? select("Batch", [["logs", "fixed batch"], ["mixed", "mixed classes"]], drift.batch, set("batch")) : null,
    check("logarithmic", drift.log, set("log")));
  redraw();
  return make("div", {}, controls, panels, sourceLinks(list.map((s) => s.file)));
}

/* ---- noise along the network ---- */

function noiseSection() {
  const list = seriesOfRun().filter((s) => s.quantized.length && s.tensors.length), box = make("div"), holder = make("div");
  const epochs = epochsOf(list.map((s) => s.quantized));
  let epoch = lastOf(epochs), column = "accumulated";
  const redraw = () => {
    const lines = [], rows = [];
    for (const s of list) {
      const q = s.quantized.find((item) => item.epoch === epoch);
      if (!q) continue;
      /* Networks of different depth on one axis: the share of the way. */
      const step = 100 / Math.max(1, s.tensors.length - 1);
      lines.push({ label: s.model, colour: colourOf(s.model), xs: s.tensors.map((t, i) => i * step), ys: q[column] });
      s.tensors.forEach((t, i) => rows.push({ model: s.model, order: i + 1, name: moduleName(t), q, i }));
    }
    const edge = { label: `${report.noisy} dB: noise is 1 % of the energy`, colour: styleValue("--soft"), dash: [3, 4], xs: [0, 100], ys: [report.noisy, report.noisy] };
    const get = (key) => (r) => r.q[key][r.i], one = (v) => fixed(v, 1);
    holder.replaceChildren(lineChart([...lines, edge], { x: "way through the network, % of its tensors", xShort: "way, %", y: "SQNR, dB", height: 300, title: "Signal to quantization noise along the network" }),
      sortableTable(`Every quantized tensor at epoch ${epoch}`, [
        { title: "Model", get: (r) => r.model }, { title: "Order", get: (r) => r.order, num: true },
        { title: "Tensor", get: (r) => r.name, name: true },
        { title: "SQNR, dB", get: get("accumulated"), show: one, num: true }, { title: "Rounding, dB", get: get("rounding"), show: one, num: true },
        { title: "Min", get: get("min"), show: short, num: true }, { title: "Max", get: get("max"), show: short, num: true },
        { title: "Scale", get: get("scale"), show: short, num: true }, { title: "Zero point", get: get("zero"), num: true },
      ], rows));
  };
  box.append(make("div", { class: "controls" }, epochSlider(epochs, epoch, (value) => { epoch = value; redraw(); }),
    select("Noise", [["accumulated", "through the network"], ["rounding", "of own rounding"]], column, (value) => { column = value; redraw(); })), holder);
  redraw();
  box.append(sourceLinks(list.map((s) => s.file)));
  return box;
}
