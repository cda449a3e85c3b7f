"use strict";
/* What was measured on checkpoints: sensitivity, recipes; and several runs side by side. */

const modeTitles = {
  both: "weights and activations", weights: "weights alone", activations: "activations alone", silu_input_float: "all but SiLU's input",
  silu_input_and_sigmoid_float: "all but SiLU's input and sigmoid", fused_silu: "SiLU as one table",
};
const scoreMetrics = {
  drop: { title: "accuracy drop, points", get: (score) => score[1], show: (v) => fixed(v, 2) },
  kl: { title: "KL divergence, nats", get: (score) => score[2], show: short },
  mse: { title: "error of the logits, MSE", get: (score) => score[3], show: short },
};

function modeBars(list) {
  /* The same mode of all models side by side. */
  const order = [...new Set(list.flatMap((s) => s.modes.map((m) => nameOf(m.name))))];
  const rows = order.flatMap((mode) => list.flatMap((s) => s.modes.filter((m) => nameOf(m.name) === mode && known(m.score[1])).map((m) => ({
    name: modeTitles[nameOf(m.name)] || nameOf(m.name), detail: s.model, low: Math.min(0, m.score[1]), high: Math.max(0, m.score[1]),
    text: fixed(m.score[1], 2), colour: `var(${colourVariable(s.model)})`,
  }))));
  return rows.length ? barList(rows, "accuracy drop when only this is in INT8, points") : make("p", { class: "hint" }, "No modes in this file.");
}

function sensitivitySection() {
  const list = ofRun(report.sensitivities), holder = make("div");
  let metric = "drop", side = "only";
  const redraw = () => {
    const m = scoreMetrics[metric];
    const rows = list.flatMap((s) => s.layers.map((layer, i) => ({ layer, i, model: s.model, value: m.get(layer[side]) })).filter((r) => known(r.value))
      .sort((a, b) => (side === "only" ? b.value - a.value : a.value - b.value)).slice(0, 15));
    rows.sort((a, b) => (side === "only" ? b.value - a.value : a.value - b.value));
    holder.replaceChildren(rows.length ? barList(rows.map((r) => ({ name: moduleName(r.layer.name), detail: nameOf(r.layer.kind), low: Math.min(0, r.value), high: Math.max(0, r.value),
      text: m.show(r.value), colour: `var(${colourVariable(r.model)})` })), `${m.title}, ${side === "only" ? "this layer alone in INT8" : "all but this layer in INT8"}`) : make("p", { class: "hint" }, "No layers in this file."));
  };
  redraw();
  const kept = list.filter((s) => s.kept_known).map((s) => make("p", { class: "facts" }, `${s.model}: ` + (!s.kept_reached
    ? `no tried choice of layers left in float keeps the drop within ${short(s.max_drop)} points.`
    : s.kept.length === 0 ? `nothing has to stay float to keep the drop within ${short(s.max_drop)} points.`
      : `left in float, ${s.kept.map(moduleName).join(", ")} bring${s.kept.length === 1 ? "s" : ""} the drop to ${fixed(s.kept_score[1], 2)} points.`)));
  const rows = list.flatMap((s) => s.layers.map((layer) => ({ model: s.model, layer })));
  const column = (title, key, which, show) => ({ title, num: true, get: (r) => scoreMetrics[which].get(r.layer[key]), show });
  return make("div", {}, make("h3", {}, "Weights or activations"), modelKey(list.map((s) => s.model)), modeBars(list), ...kept,
    make("h3", {}, "Layer by layer"),
    make("div", { class: "controls" }, select("By", Object.entries(scoreMetrics).map(([k, m]) => [k, m.title]), metric, (v) => { metric = v; redraw(); }),
      select("Quantized", [["only", "this layer alone"], ["without", "all but this layer"]], side, (v) => { side = v; redraw(); })), holder,
    sortableTable("Every layer", [
      { title: "Model", get: (r) => r.model }, { title: "Layer", get: (r) => moduleName(r.layer.name), name: true }, { title: "Kind", get: (r) => nameOf(r.layer.kind) },
      column("Alone: drop", "only", "drop", (v) => fixed(v, 2)), column("KL", "only", "kl", short), column("MSE", "only", "mse", short),
      column("All but it: drop", "without", "drop", (v) => fixed(v, 2)), column("KL", "without", "kl", short),
    ], rows), sourceLinks(list.map((s) => s.file)));
}

function gridSection() {
  const two = (v) => fixed(v, 2);
  const interval = (v, r) => (known(v) ? `${two(v)} to ${two(r.high)}` : "–");
  const rows = [...report.grid].sort((a, b) => (b.recovered ?? -Infinity) - (a.recovered ?? -Infinity));
  const chosen = make("p", { class: "note" }, `Every recipe is scored on the same images. The best of ${rows.length} is the best on these: part of its gain is luck of the choice, and other images would show less.`);
  return make("div", {}, rows.length > 2 ? chosen : null, sortableTable("Recipes, by what differs from the first of their file", [
    { title: "Model", get: (r) => nameOf(r.model) }, { title: "Recipe", get: (r) => nameOf(r.recipe) }, { title: "Form", get: (r) => nameOf(r.form) },
    { title: "Float %", get: (r) => r.float, show: two, num: true }, { title: "Accuracy %", get: (r) => r.accuracy, show: two, num: true },
    { title: "Drop", get: (r) => r.drop, show: two, num: true }, { title: "95 % interval", get: (r) => r.low, show: interval, num: true },
    { title: "Gain", get: (r) => r.recovered, show: two, num: true }, { title: "Checkpoint", get: (r) => nameOf(r.checkpoint), name: true },
  ], rows), sourceLinks(rows.map((r) => r.file)));
}

/* ---- codes that collapse ---- */

function collapseSection() {
  const list = ofRun(report.analyses).filter((a) => a.collapse.rows.length);
  const values = list[0].collapse.values || [];
  const rows = list.flatMap((a) => a.collapse.rows.map((row) => ({ model: a.model, row })));
  const at = (key, i) => (r) => (r.row[key] ? r.row[key][i] : null);
  return make("div", {}, sortableTable("Codes of given values under each network's scale, like beside like", [
    { title: "Side", get: (r) => r.row.side }, { title: "Model", get: (r) => r.model }, { title: "Module", get: (r) => r.row.module || "(network)", name: true },
    { title: "Scale", get: (r) => r.row.scale, show: short, num: true }, { title: "Zero point", get: (r) => r.row.zero_point, num: true },
    ...values.flatMap((value, i) => [{ title: `Code of ${short(value)}`, get: at("codes", i), num: true }, { title: "read back", get: at("values_back", i), show: short, num: true },
      { title: "to next code", get: at("distances", i), show: short, num: true }]),
  ], rows), sourceLinks(list.map((a) => a.file)));
}

/* ---- BatchNorm ---- */

function batchnormSection() {
  const list = ofRun(report.analyses), of = (key) => list.flatMap((a) => a[key].map((row) => ({ model: a.model, row })));
  const model = { title: "Model", get: (r) => r.model };
  const number = (title, key) => ({ title, get: (r) => r.row[key], show: short, num: true });
  const widest = (rows, key) => rows.sort((a, b) => (b.row[key] ?? -Infinity) - (a.row[key] ?? -Infinity));
  const cases = list.flatMap((a) => a.example.cases.map((row) => ({ model: row.source === "post" ? "the post" : a.model, row })))
    .filter((r, i, all) => r.model !== "the post" || all.findIndex((o) => o.model === "the post" && o.row.gamma === r.row.gamma) === i);
  const x = (list.find((a) => a.example.x) || { example: {} }).example.x || [];
  return make("div", {},
    sortableTable("Gamma of every BatchNorm over its channels, and the largest with its beta", [model, { title: "BatchNorm", get: (r) => r.row.name, name: true },
      number("Channels", "channels"), number("Mean", "mean"), number("Std", "std"), number("Min", "min"), number("Max", "max"), number("Of channel", "channel"), number("Its beta", "beta")], widest(of("batchnorm"), "max")),
    sortableTable("Range of a convolution's output, and behind its BatchNorm", [model, { title: "Convolution", get: (r) => r.row.convolution, name: true },
      number("Range", "convolution_range"), { title: "BatchNorm", get: (r) => r.row.batchnorm, name: true }, number("Range", "batchnorm_range"), number("Ratio", "ratio")], widest(of("batchnormRanges"), "ratio")),
    cases.length ? sortableTable("Ten values through the largest gamma of each network, and through the post's", [model, { title: "Source", get: (r) => r.row.source, name: true }, number("Gamma", "gamma"), number("Beta", "beta"),
      ...x.map((value, i) => ({ title: `x = ${short(value)}`, get: (r) => (r.row.y ? r.row.y[i] : null), show: short, num: true })), number("Range", "range")], cases) : null,
    sourceLinks(list.map((a) => a.file)));
}

/* ---- several runs ---- */

function comparisonSection() {
  const two = (v) => fixed(v, 2), spread = (s) => (known(s[1]) ? two(s[1]) + (known(s[2]) ? ` ± ${two(s[2])}` : "") : "–");
  const title = (cell) => cell.model + (cell.label ? `, ${cell.label}` : "");
  const cells = report.cells.filter((c) => known(c.drop[1]));
  const rows = [...cells].sort((a, b) => b.drop[1] - a.drop[1]).map((c) => ({ name: title(c), low: Math.min(0, c.drop[1]), high: Math.max(0, c.drop[1]),
    text: spread(c.drop), colour: `var(${colourVariable(c.model)})` }));
  const column = (name, key) => ({ title: name, num: true, get: (c) => c[key][1], show: (v, c) => spread(c[key]) });
  const pairs = report.cellPairs.map((p) => ({ ...p, a: report.cells[p.first], b: report.cells[p.second] }));
  return make("div", {}, rows.length ? barList(rows, "mean drop in INT8, points (± standard deviation over runs)") : null,
    sortableTable("Models and settings, mean ± standard deviation over seeds", [
      { title: "Model", get: (c) => c.model }, { title: "Setting", get: (c) => c.label }, { title: "Runs", get: (c) => c.runs, num: true },
      { title: "Epoch", get: (c) => (c.epoch < 0 ? null : c.epoch), num: true }, column("Float %", "float"), column("INT8 %", "int8"), column("Drop", "drop"), column("Widest range", "widest"),
    ], report.cells),
    pairs.length ? sortableTable("Models of the same run or seed: how much more the first loses", [
      { title: "First", get: (p) => p.a.model }, { title: "Second", get: (p) => p.b.model }, { title: "Setting", get: (p) => p.a.label }, { title: "Pairs", get: (p) => p.difference[0], num: true },
      { title: "Difference", get: (p) => p.difference[1], show: (v, p) => spread(p.difference), num: true },
      { title: "95 % interval of the mean", get: (p) => p.difference[3], show: (v, p) => (known(v) ? `${two(v)} to ${two(p.difference[4])}` : "–"), num: true },
    ], pairs) : null, sourceLinks(report.series.map((s) => s.file)));
}
