// Opens a report in Chromium, uses every control, and fails on the first thing that is not as it should be.
// Usage: node scripts/check_report_page.mjs MODULES REPORT.html all|some [SCREENSHOTS]; scripts/check_report.sh calls it.
import { mkdirSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import path from "node:path";

const [modules, file, extent, shots] = process.argv.slice(2);
const { chromium } = createRequire(path.resolve(modules, "node_modules") + "/")("playwright-core");
const url = pathToFileURL(realpathSync(file)).href;
const problems = [];
const expect = (fine, sentence) => { if (!fine) problems.push(sentence); };

/* A page that reports everything it should not do. */
async function open(browser, width, colorScheme) {
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) problems.push(`console: ${message.text()}`); });
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
  page.on("request", (request) => { if (request.url() !== url) problems.push(`request: ${request.url()}`); });
  page.on("dialog", (dialog) => { problems.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  await page.goto(url);
  await page.waitForTimeout(300);
  return page;
}

/* Every choice of every select, both ends of every slider, every box and a search. */
async function useControls(page) {
  let used = 0;
  for (const id of await page.$$eval("section.section", (all) => all.map((s) => s.id))) {
    const section = page.locator(`section[id="${id}"]`);
    for (const select of await section.locator("select").all()) {
      for (const value of await select.locator("option").evaluateAll((all) => all.slice(0, 12).map((o) => o.value))) await select.selectOption(value);
      await select.selectOption({ index: 0 });
      used++;
    }
    for (const slider of await section.locator("input[type=range]").all()) {
      await slider.focus();
      await page.keyboard.press("Home");
      await page.keyboard.press("ArrowRight");
      await page.keyboard.press("End");
      used++;
    }
    for (const box of await section.locator("input[type=checkbox]").all()) {
      await box.click();
      await box.click();
      used++;
    }
    for (const search of await section.locator("input[type=search]").all()) {
      await search.fill("conv");
      await search.fill("no such layer");
      await search.fill("");
      used++;
    }
  }
  return used;
}

/* A press sorts, another turns it round: by keyboard, on the first table. */
async function checkSorting(page) {
  const table = page.locator("table.data").first(), head = table.locator("thead th").nth(1);
  const column = () => table.locator("tbody tr td:nth-child(2)").evaluateAll((cells) => cells.map((c) => Number(c.textContent)));
  const isSorted = (values, sign) => values.every((v, i) => i === 0 || sign * (v - values[i - 1]) >= 0);
  await head.locator("button").focus();
  await page.keyboard.press("Enter");
  expect((await head.getAttribute("aria-sort")) === "descending" && isSorted(await column(), -1), "a head does not sort its column downwards");
  await page.keyboard.press("Enter");
  expect((await head.getAttribute("aria-sort")) === "ascending" && isSorted(await column(), 1), "a head does not sort its column upwards");
}

/* What a report on files of every kind has to show: in which section, which texts, and how many rows its table has. */
const contents = [
  ["accuracy", "Every logged epoch", 4, /^-?[\d.]+ to -?[\d.]+$/],
  ["batchnorm", "Gamma of every BatchNorm", 20, /^-?[\d.]+$/],
  ["batchnorm", "Range of a convolution's output", 20, /^-?[\d.]+$/],
  ["batchnorm", "Ten values through the largest gamma", 3, /^the post$/],
  ["collapse", "Codes of given values", 2, /^-?\d+$/],
  ["sensitivity", "Every layer", 20, /^ResNet18$/],
  ["recipes", "Recipes, by what differs", 3, /^per_channel$/],
  ["runs", "Models and settings", 2, /^ResNet18$/],
];
const sentences = [
  ["accuracy", /Newcombe's for paired shares/], ["accuracy", /trained 1 more epochs for INT8: [\d.]+.% in INT8 and [\d.]+.% in float; before/],
  ["recipes", /part of its gain is luck of the choice/], ["sensitivity", /drop/],
];

async function checkContents(page, what) {
  for (const [id, caption, least, cell] of contents) {
    const table = page.locator(`section[id="${id}"] table.data`).filter({ has: page.locator("caption", { hasText: caption }) });
    if ((await table.count()) !== 1) { problems.push(`${what}: ${id} has no table '${caption}'`); continue; }
    const rows = await table.locator("tbody tr").count(), cells = await table.locator("tbody td").allTextContents();
    expect(rows >= least, `${what}: '${caption}' has ${rows} rows, fewer than ${least}`);
    expect(cells.some((text) => cell.test(text)), `${what}: no cell of '${caption}' is like ${cell}`);
  }
  for (const [id, text] of sentences)
    expect(text.test(await page.locator(`section[id="${id}"]`).innerText()), `${what}: ${id} does not say ${text}`);
  /* Raw ranges by epoch: the ratio is drawn for a convolution and its BatchNorm of both models. */
  const drift = page.locator('section[id="drift"]');
  await drift.locator("select").first().selectOption("ratio");
  expect((await drift.locator(".chart .uplot").count()) === 2, `${what}: the ratios of two models are not drawn`);
  await drift.locator("select").first().selectOption("range");
}

async function checkPage(browser, width, scheme) {
  const page = await open(browser, width, scheme), what = `${width} px, ${scheme}`;
  expect((await page.locator(".answer").count()) === 3, `${what}: not three answers`);
  expect(await page.locator(".answer .lead").evaluateAll((all) => all.every((p) => p.textContent.length > 20)), `${what}: an answer is empty`);
  expect((await page.locator("section.section").count()) > 1, `${what}: no sections`);
  expect((await page.getByText("could not be drawn").count()) === 0, `${what}: a section could not be drawn`);
  /* The questions and answers are what one sees without scrolling, on a screen. */
  if (width > 900) expect(await page.locator("#answers").evaluate((e) => e.getBoundingClientRect().bottom <= innerHeight), `${what}: the answers do not fit the first screen`);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  expect(wide <= 0, `${what}: the page is ${wide} px wider than its window`);
  const blank = await page.$$eval(".chart canvas, canvas.own", (all) => all.filter((c) => c.width === 0 || !c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some((v) => v > 0)).length);
  expect(blank === 0, `${what}: ${blank} charts are blank`);
  if (extent === "all") await checkContents(page, what);
  const used = await useControls(page);
  await checkSorting(page);
  const theme = page.locator("#theme");
  for (let i = 0; i < 3; i++) await theme.click();
  const runs = page.locator("#run");
  if (await runs.isVisible())
    for (const value of await runs.locator("option").evaluateAll((all) => all.map((o) => o.value))) await runs.selectOption(value);
  await page.waitForTimeout(200);
  const charts = await page.locator(".chart .uplot").count();
  if (shots) await page.screenshot({ path: path.join(shots, `${width}_${scheme}.png`), fullPage: true });
  await page.close();
  return { used, charts };
}

if (shots) mkdirSync(shots, { recursive: true });
/* Chromium's sandbox does not work for root, and the page is our own. */
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
let done = { used: 0, charts: 0 };
for (const [width, scheme] of [[1280, "light"], [1280, "dark"], [390, "light"]]) done = await checkPage(browser, width, scheme);
await browser.close();
for (const problem of problems.slice(0, 20)) console.log(`check_report: ${problem}`);
console.log(`check_report: ${problems.length === 0 ? "fine" : `${problems.length} problems`}; ${done.used} controls used, ${done.charts} line charts, 3 windows`);
process.exit(problems.length === 0 ? 0 : 1);
