// Bundles the layout library into one script for QuickJS, with the licences of everything in it.
import { build } from "esbuild";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "../../worker/view/graph/vendor");
const packages = new Set();

const { metafile } = await build({
  entryPoints: [join(here, "src/dagre.js")],
  outfile: join(out, "dagre.js"),
  bundle: true,
  format: "iife",
  platform: "browser",
  target: "es2022",
  minify: true,
  lineLimit: 200,
  legalComments: "none",
  metafile: true,
  banner: { js: "/* Built by tools/dagre/build.mjs. Licences: LICENSES.txt. */" },
});
for (const input of Object.keys(metafile.inputs)) {
  const match = input.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//);
  if (match) packages.add(match[1]);
}
// dagre's own build has this one inside.
packages.add("@dagrejs/graphlib");

const licences = [];
for (const name of [...packages].sort()) {
  const folder = join(here, "node_modules", name);
  const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
  licences.push(`${name} ${version} (${license})\n\n${(await readFile(join(folder, file), "utf8")).trim()}`);
}
await writeFile(join(out, "LICENSES.txt"), `${licences.join(`\n\n${"=".repeat(80)}\n\n`)}\n`);
console.log(`bundled ${[...packages].sort().join(", ")} into ${relative(process.cwd(), out)}`);
