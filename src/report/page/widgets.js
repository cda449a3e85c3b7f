"use strict";
/* Elements, tables, bars and charts that the sections are made of. */

/* An element with attributes and children; texts become text nodes, whatever they hold. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") Object.assign(element.style, value);
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/* Sentences name commands between backticks. */
const sentence = (text) => text.replaceAll(" %", "\u00a0%").split("`").map((part, i) => (i % 2 ? make("code", {}, part) : part));

/* Links to the files that a section was drawn from. */
function sourceLinks(files) {
  const line = make("p", { class: "source" }, "Drawn from ");
  [...new Set(files)].forEach((index, place) => {
    const file = report.files[index];
    line.append(place ? ", " : "", file.url ? make("a", { href: file.url }, file.path) : file.path);
  });
  return line;
}

function select(label, options, value, onchange) {
  const control = make("select", { onchange: () => onchange(control.value) });
  for (const [key, text] of options) control.append(make("option", { value: key, ...(String(key) === String(value) ? { selected: "" } : {}) }, text));
  return make("label", {}, label, control);
}

function check(label, value, onchange) {
  const box = make("input", { type: "checkbox", onchange: () => onchange(box.checked) });
  box.checked = value;
  return make("label", {}, box, label);
}

/* A slider over the logged epochs. */
function epochSlider(epochs, value, onchange) {
  const shown = make("output", {}, `epoch ${value}`);
  const slider = make("input", { type: "range", min: 0, max: Math.max(0, epochs.length - 1), step: 1, "aria-label": "epoch" });
  slider.value = epochs.indexOf(value);
  slider.addEventListener("input", () => {
    shown.textContent = `epoch ${epochs[slider.value]}`;
    slider.setAttribute("aria-valuetext", shown.textContent);
    onchange(epochs[slider.value]);
  });
  return make("label", {}, "Epoch", slider, shown);
}

function modelKey(models) {
  return make("div", { class: "key" }, ...models.map((model) =>
    make("span", {}, make("span", { class: "swatch", style: { background: `var(${colourVariable(model)})` } }), model)));
}

/* ---- sortable tables ---- */

const FIRST_ROWS = 60;

/* columns: {title, get(row), show(value), num, name}. Rows keep their order until a head is pressed. */
function sortableTable(caption, columns, rows) {
  let order = null, ascending = true, all = rows.length <= FIRST_ROWS + 10;
  const body = make("tbody"), heads = [];
  const more = make("button", { type: "button", class: "more", onclick: () => { all = true; fill(); } }, `Show all ${rows.length} rows`);
  function sorted() {
    if (order === null) return rows;
    const get = columns[order].get, sign = ascending ? 1 : -1;
    const missing = (value) => value === null || value === undefined || value === "";
    return [...rows].sort((a, b) => {
      const x = get(a), y = get(b);
      if (missing(x) || missing(y)) return missing(x) - missing(y);
      return sign * (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y);
    });
  }
  function fill() {
    body.replaceChildren(...sorted().slice(0, all ? rows.length : FIRST_ROWS).map((row) =>
      make("tr", {}, ...columns.map((column) => {
        const value = column.get(row);
        return make("td", { class: column.num ? "num" : column.name ? "name" : null }, column.show ? column.show(value, row) : value ?? "–");
      }))));
    more.hidden = all;
    heads.forEach((head, index) => head.setAttribute("aria-sort", index !== order ? "none" : ascending ? "ascending" : "descending"));
  }
  columns.forEach((column, index) => {
    const press = () => {
      /* Numbers are asked for their largest first. */
      ascending = order === index ? !ascending : !column.num;
      order = index;
      fill();
    };
    heads.push(make("th", { scope: "col", class: column.num ? "num" : null }, make("button", { type: "button", onclick: press }, column.title)));
  });
  fill();
  const table = make("table", { class: "data" }, make("caption", {}, caption), make("thead", {}, make("tr", {}, ...heads)), body);
  return make("div", {}, make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table), more);
}

/* ---- bars on one axis ---- */

function niceTicks(low, high, count) {
  const step0 = (high - low) / Math.max(1, count), power = 10 ** Math.floor(Math.log10(step0 || 1));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= step0) || power;
  const ticks = [];
  for (let t = Math.ceil(low / step) * step; t <= high + step * 1e-9; t += step) ticks.push(Number(t.toPrecision(12)));
  return ticks;
}

/* rows: {name, detail, low, high, text, colour (a CSS value)}; all on one scale that holds 0. */
function barList(rows, axisTitle) {
  const low = Math.min(0, ...rows.map((row) => row.low)), high = Math.max(0, ...rows.map((row) => row.high));
  const span = high - low || 1, place = (value) => `${(100 * (value - low)) / span}%`;
  const axis = make("div", { class: "track axis", "aria-hidden": "true" },
    ...niceTicks(low, high, 5).map((t) => make("span", { style: { left: place(t) } }, short(t))));
  const list = make("div", { class: "bars" });
  const axisRow = () => make("div", { class: "row" }, make("span", { class: "name" }), axis.cloneNode(true), make("span", { class: "value" }));
  list.append(axisRow());
  for (const row of rows) {
    const width = Math.max(0, row.high - row.low);
    const track = make("div", { class: "track" }, make("i", { style: { left: place(row.low), width: `${(100 * width) / span}%`, background: row.colour } }));
    track.style.setProperty("--zero", place(0));
    list.append(make("div", { class: "row" }, make("span", { class: "name" }, row.name, row.detail ? make("small", {}, ` ${row.detail}`) : null),
      track, make("span", { class: "value" }, row.text)));
  }
  list.append(make("div", { class: "axis-title" }, axisTitle));
  return list;
}

/* ---- line charts ---- */

/* Fewer colours with alpha than CSS has, and uPlot wants them ready. */
function faint(colour, alpha) {
  const n = parseInt(colour.slice(1), 16);
  return `rgba(${n >> 16}, ${(n >> 8) & 255}, ${n & 255}, ${alpha})`;
}

/* lines: {label, colour, dash, xs, ys, lows, highs}; options: {x, y, range: [low, high] or null, log, height, integers}. */
function lineChart(lines, options) {
  const holder = make("div", { class: "chart", role: "img", "aria-label": options.title || options.y });
  const xs = [...new Set(lines.flatMap((line) => line.xs))].sort((a, b) => a - b);
  const column = (line, values) => {
    const known = new Map(line.xs.map((x, i) => [x, values[i]]));
    return xs.map((x) => (known.has(x) ? known.get(x) : null));
  };
  const data = [xs], series = [{ label: options.xShort || options.x, value: (u, v) => (v === null ? "–" : short(v)) }], bands = [];
  for (const line of lines) {
    data.push(column(line, line.ys));
    series.push({
      label: line.label, stroke: line.colour, width: 2, dash: line.dash || [], spanGaps: true,
      points: { show: xs.length <= 40, size: 6, fill: line.colour }, value: (u, v) => (v === null ? "–" : short(v)),
    });
    if (!line.lows) continue;
    for (const values of [line.highs, line.lows]) {
      data.push(column(line, values));
      series.push({ label: "", stroke: "transparent", points: { show: false }, spanGaps: true, class: "edge" });
    }
    bands.push({ series: [series.length - 2, series.length - 1], fill: faint(line.colour, Number(styleValue("--band"))) });
  }
  const ink = styleValue("--soft"), grid = { stroke: styleValue("--grid"), width: 1 };
  const font = '12px system-ui, "DejaVu Sans", sans-serif';
  const chart = new uPlot({
    width: 300, height: options.height || 260, series, bands,
    scales: { x: { time: false, ...(xs.length === 1 ? { range: [xs[0] - 1, xs[0] + 1] } : {}) },
              y: { ...(options.range ? { range: options.range } : {}), ...(options.log ? { distr: 3 } : {}) } },
    axes: [
      { label: options.x, stroke: ink, grid, ticks: grid, font, labelFont: font, labelSize: 22, ...(options.integers ? { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500] } : {}) },
      { label: options.y, stroke: ink, grid, ticks: grid, font, labelFont: font, labelSize: 22, size: 58, values: (u, ticks) => ticks.map((t) => (t === null ? "" : short(t))) },
    ],
    cursor: { drag: { x: false, y: false } },
    legend: { markers: { width: 2 } },
  }, data, holder);
  for (const edge of holder.querySelectorAll(".u-legend .edge")) edge.remove();
  /* Told of every new width, and of the end: a chart that has left the page is let go. */
  const observer = new ResizeObserver(() => {
    if (holder.isConnected) {
      if (holder.clientWidth > 0) chart.setSize({ width: holder.clientWidth, height: options.height || 260 });
    } else {
      observer.disconnect();
      chart.destroy();
    }
  });
  observer.observe(holder);
  return holder;
}

/* A canvas that is drawn at the screen's resolution whenever its width changes: draw(context, width, height). */
function ownCanvas(height, label, draw) {
  const canvas = make("canvas", { class: "own", role: "img", "aria-label": label, style: { height: `${height}px` } });
  const paint = () => {
    const width = canvas.clientWidth, ratio = window.devicePixelRatio || 1;
    if (width === 0) return;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = '12px system-ui, "DejaVu Sans", sans-serif';
    draw(context, width, height);
  };
  new ResizeObserver(paint).observe(canvas);
  return canvas;
}
