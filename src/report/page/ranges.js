"use strict";
/* Ranges side by side, channels, histograms with the codes over them. */

/* ---- both models on one axis ---- */

function rangeSection() {
  const list = seriesOfRun().filter((s) => s.logs.length), holder = make("div");
  const epochs = epochsOf(list.map((s) => s.logs));
  let epoch = lastOf(epochs), count = "10", order = "wide", filter = "";
  const redraw = () => {
    const rows = list.flatMap((s) => {
      const log = s.logs.find((l) => l.epoch === epoch);
      if (!log) return [];
      const all = s.paths.map((path, i) => ({ path, i, range: rangeAt(log, i) })).filter((r) => r.range !== null && moduleName(r.path).toLowerCase().includes(filter));
      const widest = [...all].sort((a, b) => b.range - a.range).slice(0, count === "all" ? all.length : Number(count));
      return widest.map((r) => ({ name: moduleName(r.path), detail: nameOf(s.types[r.i]), low: log.min[r.i], high: log.max[r.i], range: r.range, place: r.i,
        text: `${fixed(log.min[r.i], 2)} … ${fixed(log.max[r.i], 2)}`, colour: `var(${colourVariable(s.model)})`, model: list.indexOf(s) }));
    });
    rows.sort(order === "wide" ? (a, b) => b.range - a.range : (a, b) => a.model - b.model || a.place - b.place);
    holder.replaceChildren(rows.length ? barList(rows, "activation value, smallest to largest: one axis for all bars") : make("p", { class: "hint" }, "No module of this name."));
  };
  const search = make("input", { type: "search", placeholder: "all modules", "aria-label": "Module" });
  search.addEventListener("input", () => { filter = search.value.trim().toLowerCase(); redraw(); });
  redraw();
  return make("div", {},
    make("div", { class: "controls" }, epochSlider(epochs, epoch, (value) => { epoch = value; redraw(); }),
      select("Bars", [["10", "10 widest of each model"], ["25", "25 widest"], ["all", "all logged"]], count, (value) => { count = value; redraw(); }),
      select("Order", [["wide", "widest first"], ["network", "as computed"]], order, (value) => { order = value; redraw(); }),
      make("label", {}, "Module", search)),
    modelKey(list.map((s) => s.model)), holder, sourceLinks(list.map((s) => s.file)));
}

/* ---- channels of one tensor ---- */

/* Layers whose channels an analysis holds, from both of its lists. */
function channelEntries(analysis) {
  const entries = analysis.channels.filter((c) => c.min && c.max).map((c) => ({ name: c.name || "(network)", min: c.min, max: c.max }));
  const there = new Set(entries.map((e) => e.name));
  for (const t of analysis.tensors)
    if (t.channel_min && t.channel_max && !there.has(t.name)) entries.push({ name: t.name, min: t.channel_min, max: t.channel_max, tensor: t });
  return entries;
}

function drawChannels(entry, sorted, colour) {
  const order = entry.min.map((v, i) => i).filter((i) => known(entry.min[i]) && known(entry.max[i]));
  if (sorted) order.sort((a, b) => entry.max[b] - entry.min[b] - (entry.max[a] - entry.min[a]));
  const low = Math.min(0, ...order.map((i) => entry.min[i])), high = Math.max(0, ...order.map((i) => entry.max[i]));
  return ownCanvas(220, `Ranges of ${order.length} channels of ${entry.name}`, (context, width, height) => {
    const left = 52, bottom = 34, top = 8, span = high - low || 1;
    const y = (value) => top + ((high - value) / span) * (height - top - bottom);
    const step = (width - left - 8) / Math.max(1, order.length);
    context.fillStyle = styleValue("--soft");
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const tick of niceTicks(low, high, 4)) {
      context.fillText(short(tick), left - 8, y(tick));
      context.fillRect(left, Math.round(y(tick)), width - left - 8, tick === 0 ? 1 : 0.25);
    }
    context.textAlign = "center";
    context.textBaseline = "bottom";
    context.fillText(sorted ? "channels, widest first" : "channels in their order", left + (width - left) / 2, height - 2);
    order.forEach((channel, place) => {
      const extreme = entry.min[channel] === low || entry.max[channel] === high;
      context.fillStyle = extreme ? styleValue("--ink") : colour;
      context.fillRect(left + place * step, y(entry.max[channel]), Math.max(1, step * 0.75), Math.max(1, y(entry.min[channel]) - y(entry.max[channel])));
    });
  });
}

function channelSection() {
  const list = ofRun(report.analyses).filter((a) => channelEntries(a).length);
  let sorted = true;
  const panels = list.map((analysis) => ({ analysis, entries: channelEntries(analysis), at: 0, holder: make("div") }));
  /* One panel a model, each with a layer of its own; strips tell of one tensor each, so scales are their own. */
  const redraw = (panel) => {
    const entry = panel.entries[panel.at], widths = entry.min.map((v, i) => entry.max[i] - v).filter(known).sort((a, b) => a - b);
    const whole = Math.max(...entry.max.filter(known)) - Math.min(...entry.min.filter(known));
    panel.holder.replaceChildren(drawChannels(entry, sorted, colourOf(panel.analysis.model)),
      make("p", { class: "facts" }, `${widths.length} channels; the tensor's range is ${short(whole)}, the median channel's ${short(widths[widths.length >> 1])}. Highlighted: the channels that set the range.`));
  };
  panels.forEach(redraw);
  return make("div", {},
    make("div", { class: "controls" }, check("widest first", sorted, (value) => { sorted = value; panels.forEach(redraw); })),
    ...panels.map((panel) => make("div", { class: "panel" }, make("h3", {}, `${panel.analysis.model}, epoch ${short(panel.analysis.epoch)}`),
      make("div", { class: "controls" }, select("Layer", panel.entries.map((e, i) => [i, e.name]), 0, (value) => { panel.at = Number(value); redraw(panel); })), panel.holder)),
    sourceLinks(list.map((a) => a.file)));
}

/* ---- histograms ---- */

function drawHistogram(tensor, logarithmic, colour) {
  const counts = tensor.histogram.map((c) => (known(c) ? c : 0)), bins = counts.length, a = tensor.min, b = tensor.max;
  const low = a, high = b, most = Math.max(1, ...counts);
  const size = (count) => (count === 0 ? 0 : logarithmic ? (1 + Math.log10(count)) / (1 + Math.log10(most)) : count / most);
  return ownCanvas(260, `Histogram of ${tensor.name} with its codes`, (context, width, height) => {
    const left = 12, right = 12, bottom = 56, top = 8, span = high - low || 1;
    const x = (value) => left + ((value - low) / span) * (width - left - right), base = height - bottom;
    if (known(tensor.others_min) && known(tensor.others_max)) {
      context.fillStyle = faint(styleValue("--accent"), 0.12);
      context.fillRect(x(tensor.others_min), top, Math.max(1, x(tensor.others_max) - x(tensor.others_min)), base - top);
    }
    context.fillStyle = colour;
    counts.forEach((count, i) => {
      const from = x(a + ((b - a) * i) / bins), to = x(a + ((b - a) * (i + 1)) / bins);
      context.fillRect(from, base - size(count) * (base - top), Math.max(1, to - from - 0.5), size(count) * (base - top));
    });
    /* Every code where there is room, else every 2nd, 4th … */
    const pixels = (tensor.scale / span) * (width - left - right);
    let stride = 1;
    while (pixels > 0 && pixels * stride < 3) stride *= 2;
    context.fillStyle = styleValue("--ink");
    for (let code = Math.ceil((low / tensor.scale) / stride) * stride; pixels > 0 && code <= high / tensor.scale; code += stride)
      context.fillRect(x(code * tensor.scale), base + 3, 1, code === 0 ? 14 : 7);
    context.fillStyle = styleValue("--soft");
    context.textBaseline = "top";
    context.textAlign = "center";
    for (const tick of niceTicks(low, high, 6)) {
      context.textAlign = x(tick) < 30 ? "left" : x(tick) > width - 30 ? "right" : "center";
      context.fillText(short(tick), x(tick), base + 18);
    }
    context.textAlign = "center";
    context.fillText(stride === 1 ? "value; marks: every INT8 code" : `value; marks: every ${stride}th INT8 code`, width / 2, base + 36);
  });
}

function histogramFacts(t) {
  const parts = [`scale ${short(t.scale)}, zero point ${short(t.zero_point)}`];
  if (known(t.used_codes)) parts.push(`${short(t.used_codes)} codes occur, ${fixed(t.unused_pct, 1)} % of the codes never do`);
  if (known(t.others_codes)) parts.push(`channels ${short(t.low_channel)} and ${short(t.high_channel)} set the range; all others lie within ${short(t.others_codes)} codes (shaded)`);
  if (known(t.zero_pct)) parts.push(`${fixed(t.zero_pct, 1)} % of the values take the code of 0`);
  return `${parts.join("; ")}.`;
}

function histogramSection() {
  const list = ofRun(report.analyses).filter((a) => a.tensors.some((t) => t.histogram && known(t.scale)));
  let logarithmic = true;
  const panels = list.map((analysis) => {
    const tensors = analysis.tensors.filter((t) => t.histogram && t.histogram.length && known(t.scale) && known(t.min) && known(t.max));
    /* First the tensor whose other channels are left the fewest codes. */
    const first = tensors.reduce((best, t, i) => (known(t.others_codes) && (best < 0 || t.others_codes < tensors[best].others_codes) ? i : best), -1);
    return { analysis, tensors, at: Math.max(0, first), holder: make("div") };
  }).filter((panel) => panel.tensors.length);
  const redraw = (panel) => {
    const tensor = panel.tensors[panel.at];
    panel.holder.replaceChildren(drawHistogram(tensor, logarithmic, colourOf(panel.analysis.model)), make("p", { class: "facts" }, histogramFacts(tensor)));
  };
  panels.forEach(redraw);
  return make("div", {},
    make("div", { class: "controls" }, check("logarithmic counts", logarithmic, (value) => { logarithmic = value; panels.forEach(redraw); })),
    ...panels.map((panel) => make("div", { class: "panel" }, make("h3", {}, `${panel.analysis.model}, epoch ${short(panel.analysis.epoch)}`),
      make("div", { class: "controls" }, select("Tensor", panel.tensors.map((t, i) => [i, t.name || "?"]), panel.at, (value) => { panel.at = Number(value); redraw(panel); })), panel.holder)),
    sourceLinks(list.map((a) => a.file)));
}
