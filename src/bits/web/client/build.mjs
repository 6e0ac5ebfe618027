// Bundle the front end into ../static: names that hold their content's hash, a manifest that maps the plain names
// to them, and a budget that fails the build.
import { build } from "esbuild";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "static");
const budget = { js: 35_000, css: 8_000 }; // bytes, compressed, all files of the kind together

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });

const result = await build({
  absWorkingDir: here,
  entryPoints: ["main.ts", "style.css", "favicon.svg"],
  outdir: out,
  bundle: true,
  splitting: true, // the chart is loaded after the page is live
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "none",
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  loader: { ".svg": "copy" },
  metafile: true,
  logLevel: "warning",
});

const manifest = {};
const sizes = { js: 0, css: 0 };
for (const [path, output] of Object.entries(result.metafile.outputs)) {
  const file = basename(path);
  const kind = file.split(".").at(-1);
  if (kind in sizes) sizes[kind] += gzipSync(readFileSync(join(out, file)), { level: 6 }).length;
  if (output.entryPoint) manifest[output.entryPoint.replace(/\.ts$/, ".js")] = file;
}
writeFileSync(join(out, "manifest.json"), JSON.stringify(manifest, null, 2) + "\n");

for (const [kind, size] of Object.entries(sizes)) {
  console.log(`${kind}: ${size} bytes compressed, of ${budget[kind]}`);
  if (size > budget[kind]) {
    console.error(`the front end's ${kind} is over its budget`);
    process.exitCode = 1;
  }
}
