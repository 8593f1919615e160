// Sums the gzipped JavaScript of each route's first load, the larger language included, and fails above the budget.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const ROOT = new URL("../../tuneyard/web/static/", import.meta.url);
const LIMIT_KB = 200;
const manifest = JSON.parse(readFileSync(new URL(".vite/manifest.json", ROOT)));
const size = (file) => gzipSync(readFileSync(new URL(file, ROOT)), { level: 9 }).length / 1000;

function needed(key, seen = new Set()) {
  if (seen.has(key)) return seen;
  seen.add(key);
  for (const other of manifest[key].imports ?? []) needed(other, seen);
  return seen;
}

const total = (keys) => [...keys].reduce((sum, key) => sum + (manifest[key].file.endsWith(".js") ? size(manifest[key].file) : 0), 0);
const entry = Object.keys(manifest).find((key) => manifest[key].isEntry);
const languages = ["src/i18n/en.ts", "src/i18n/zh.ts"];
const language = languages.reduce((a, b) => (total(needed(a)) > total(needed(b)) ? a : b));
// What a page loads by itself as soon as it is shown.
const alsoLoaded = { "src/pages/job.tsx": ["src/charts/charts.tsx"], "src/pages/compare.tsx": ["src/charts/charts.tsx"] };
let worst = 0;
for (const page of Object.keys(manifest).filter((key) => key.startsWith("src/pages/"))) {
  const seen = new Set();
  for (const key of [entry, language, page, ...(alsoLoaded[page] ?? [])]) needed(key, seen);
  const kb = total(seen);
  worst = Math.max(worst, kb);
  console.log(`${kb.toFixed(1).padStart(7)} KB  ${page}`);
}
if (worst > LIMIT_KB) {
  console.error(`first load of ${worst.toFixed(1)} KB is above ${LIMIT_KB} KB`);
  process.exit(1);
}
