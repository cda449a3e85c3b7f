// Measures for scripts/bench_vs_onnxruntime.sh. A pair is one process here (float and INT8 take turns in it), one of
// ONNX Runtime on the float model, and one on its INT8 model with uint8 activations and int8 weights, which it runs
// fastest. Ratios are taken within a pair; the table has their median and spread.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';

const MODELS = ['resnet18', 'efficientnet_b0'];
const CALIBRATION_IMAGES = 64; // speed does not depend on the scales
const WARM_UP = 10;
// [must, stretch]; `less`: a ratio of times or bytes, smaller is better, else one of speeds.
const TARGETS = {
  'float': { less: true, resnet18: [1.1, 0.9], efficientnet_b0: [1.1, 0.9] },
  'int8': { less: true, resnet18: [1.0, 0.7], efficientnet_b0: [0.6, 0.4] },
  'int8 against float': { less: false, resnet18: [2.4, 3.0], efficientnet_b0: [2.14, 3.0] },
  'file size': { less: true, resnet18: [0.28, 0.28], efficientnet_b0: [0.28, 0.28] },
};
const COLUMNS = ['row', 'model', 'unit', 'batch', 'size', 'threads', 'pairs', 'quantdrift', 'beside', 'ratio',
  'ratio_min', 'ratio_max', 'must', 'stretch', 'verdict', 'isa', 'cpu', 'onnxruntime', 'commit'];

const sorted = (values) => Float64Array.from(values).sort();
const median = (values) => {
  const s = sorted(values), half = s.length >> 1;
  return s.length % 2 ? s[half] : (s[half - 1] + s[half]) / 2;
};

// One measurement of ONNX Runtime in a process of its own: median milliseconds a run.
async function child([modules, model, size, threads, runs]) {
  const ort = createRequire(`${modules}/`)('onnxruntime-node');
  const session = await ort.InferenceSession.create(model, {
    intraOpNumThreads: Number(threads), graphOptimizationLevel: 'all', logSeverityLevel: 3 });
  const values = Float32Array.from({ length: 3 * size * size }, (_, i) => Math.sin(i * 12.9898) * 2);
  const feeds = { [session.inputNames[0]]: new ort.Tensor('float32', values, [1, 3, Number(size), Number(size)]) };
  const times = [];
  for (let i = 0; i < WARM_UP + Number(runs); i++) {
    const begin = process.hrtime.bigint();
    await session.run(feeds);
    if (i >= WARM_UP) times.push(Number(process.hrtime.bigint() - begin) * 1e-6);
  }
  console.log(JSON.stringify({ median_ms: median(times) }));
}

function options(argv) {
  const found = { pairs: 5, runs: 100, threads: 2, size: 224 };
  for (let i = 0; i < argv.length; i += 2) {
    const name = argv[i].replace(/^--/, '');
    if (!argv[i].startsWith('--') || argv[i + 1] === undefined) throw new Error(`expected --name value, got ${argv[i]}`);
    found[name] = name in found ? Number(argv[i + 1]) : argv[i + 1];
  }
  return found;
}

const run = (program, args) => execFileSync(program, args.map(String), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });

// The float and the INT8 model of a checkpoint for ONNX Runtime, and the files of both that are kept here.
function exportModels(o, model) {
  const paths = { float: `${o.work}/${model}_float.onnx`, int8: `${o.work}/${model}_u8s8.onnx`,
    floatFile: `${o.work}/${model}.safetensors`, int8File: `${o.work}/${model}_int8.safetensors` };
  const common = ['export', o[model], '--image-size', o.size, '--threads', o.threads];
  run(o.quantdrift, [...common, '--format', 'onnx', '-o', paths.float]);
  run(o.quantdrift, [...common, '--format', 'onnx-qdq', '--unsigned', '--per-channel', '--data', o.data,
    '--calibration-images', CALIBRATION_IMAGES, '-o', paths.int8]);
  run(o.quantdrift, [...common, '--format', 'safetensors', '-o', paths.floatFile]);
  run(o.quantdrift, ['quantize', o[model], '--image-size', o.size, '--threads', o.threads, '--data', o.data,
    '--calibration-images', CALIBRATION_IMAGES, '-o', paths.int8File]);
  return paths;
}

function measureHere(o, model) {
  const json = `${o.work}/infer.json`;
  run(o.quantdrift, ['bench', 'infer', o[model], '--image-size', o.size, '--threads', o.threads, '--runs', o.runs,
    '--json', json]);
  const found = JSON.parse(readFileSync(json, 'utf8'));
  return { cpu: found.cpu, ...found.networks[0] };
}

function measureThere(o, path) {
  const self = fileURLToPath(import.meta.url);
  return JSON.parse(run(process.execPath, [self, '--child', o.modules, path, o.size, o.threads, o.runs])).median_ms;
}

function verdict(row, model, ratio) {
  const { less, [model]: [must, stretch] } = TARGETS[row];
  const meets = (limit) => (less ? ratio <= limit : ratio >= limit);
  return meets(stretch) ? 'stretch' : meets(must) ? 'met' : 'MISSED';
}

function summarise(row, model, unit, pairs, commonFields) {
  const ratios = sorted(pairs.map((p) => p.ratio));
  const [must, stretch] = TARGETS[row][model];
  return { ...commonFields, row, model, unit, must, stretch, pairs: pairs.length,
    quantdrift: median(pairs.map((p) => p.ours)).toPrecision(4), beside: median(pairs.map((p) => p.beside)).toPrecision(4),
    ratio: median(ratios).toFixed(3), ratio_min: ratios[0].toFixed(3), ratio_max: ratios.at(-1).toFixed(3),
    verdict: verdict(row, model, median(ratios)) };
}

function show(line) {
  const cells = [line.row.padEnd(18), line.model.padEnd(15), line.unit.padEnd(3), ...['quantdrift', 'beside', 'ratio',
    'ratio_min', 'ratio_max'].map((name) => line[name].padStart(10)), ` ${line.must}/${line.stretch} ${line.verdict}`];
  console.log(cells.join(' '));
}

function measureModel(o, model, commonFields) {
  const paths = exportModels(o, model);
  const pairs = [];
  for (let i = 0; i < o.pairs; i++) {
    const here = measureHere(o, model);
    pairs.push({ here, float: measureThere(o, paths.float), int8: measureThere(o, paths.int8) });
  }
  const fields = { ...commonFields, isa: pairs[0].here.cpu };
  const line = (row, unit, ours, beside, inverse) => summarise(row, model, unit, pairs.map((p) => ({
    ours: ours(p), beside: beside(p), ratio: inverse ? beside(p) / ours(p) : ours(p) / beside(p) })), fields);
  const lines = [
    line('float', 'ms', (p) => p.here.float.median_ms, (p) => p.float),
    line('int8', 'ms', (p) => p.here.int8.median_ms, (p) => p.int8),
    line('int8 against float', 'ms', (p) => p.here.int8.median_ms, (p) => p.here.float.median_ms, true),
    line('file size', 'MB', () => 1e-6 * statSync(paths.int8File).size, () => 1e-6 * statSync(paths.floatFile).size),
  ];
  if (lines[0].verdict === 'MISSED' && lines[2].verdict !== 'MISSED') lines[2].verdict = 'does not count';
  lines.forEach(show);
  return lines;
}

function main() {
  const o = options(process.argv.slice(2));
  rmSync(o.work, { recursive: true, force: true });
  mkdirSync(o.work, { recursive: true });
  const commit = /commit\s+(\S+)/.exec(run(o.quantdrift, ['--version']))[1];
  const { version } = JSON.parse(readFileSync(`${o.modules}/node_modules/onnxruntime-node/package.json`, 'utf8'));
  const commonFields = { batch: 1, size: o.size, threads: o.threads, cpu: cpus()[0].model, onnxruntime: version, commit };
  console.log(['row'.padEnd(18), 'model'.padEnd(15), '   ', ...['quantdrift', 'beside', 'ratio', 'min', 'max'].map((s) =>
    s.padStart(10)), ' must/stretch'].join(' '));
  const lines = MODELS.flatMap((model) => measureModel(o, model, commonFields));
  if (o.csv) writeFileSync(o.csv, [COLUMNS.join(','), ...lines.map((l) => COLUMNS.map((c) => l[c]).join(','))].join('\n') + '\n');
  process.exit(lines.some((l) => l.verdict === 'MISSED') ? 1 : 0);
}

if (process.argv[2] === '--child') await child(process.argv.slice(3));
else main();
