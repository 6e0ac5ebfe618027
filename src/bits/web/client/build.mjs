// Bundle the front end into ../static: names that hold their content's hash, a manifest that maps the plain names
// to them, and budgets that fail the build.
import { build } from "esbuild";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "static");

// Bytes, compressed: each with all that it loads, sooner or later.
const PAGES = { "main.ts": 40_000, "log.ts": 4_000, "edit.ts": 4_000, "style.css": 8_000, "favicon.svg": 1_000, "open.svg": 1_000, "closed.svg": 1_000 };
// For other sites and for the browser itself: one file each, that loads nothing else.
const ALONE = { "widget.ts": 4_000, "frame.css": 1_000, "worker.ts": 4_000 };

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });

const existing = (entries) => Object.keys(entries).filter((file) => existsSync(join(here, file)));
const common = {
  absWorkingDir: here,
  outdir: out,
  bundle: true,
  target: "es2022",
  minify: true,
  legalComments: "none",
  entryNames: "[name]-[hash]",
  loader: { ".svg": "copy" },
  metafile: true,
  logLevel: "warning",
};
const results = await Promise.all([
  // The chart is loaded after the page is live.
  build({ ...common, entryPoints: existing(PAGES), splitting: true, format: "esm", chunkNames: "[name]-[hash]" }),
  build({ ...common, entryPoints: existing(ALONE), format: "iife" }),
]);
const outputs = Object.assign({}, ...results.map((result) => result.metafile.outputs));

function size(path, seen = new Set()) {
  if (seen.has(path) || !(path in outputs)) return 0;
  seen.add(path);
  const own = gzipSync(readFileSync(join(out, basename(path))), { level: 6 }).length;
  return outputs[path].imports.reduce((sum, { path: next }) => sum + size(next, seen), own);
}

const manifest = {};
for (const [path, { entryPoint }] of Object.entries(outputs)) {
  if (!entryPoint) continue;
  manifest[entryPoint.replace(/\.ts$/, ".js")] = basename(path);
  const budget = { ...PAGES, ...ALONE }[entryPoint];
  if (budget === undefined) continue; // loaded by one of ours, and counted there
  console.log(`${entryPoint}: ${size(path)} bytes compressed, of ${budget}`);
  if (size(path) > budget) {
    console.error(`${entryPoint} is over its budget`);
    process.exitCode = 1;
  }
}
writeFileSync(join(out, "manifest.json"), JSON.stringify(manifest, null, 2) + "\n");
