// Bundles each library into one script for QuickJS, with the licences of everything in it.
import { build } from "esbuild";
import { readFile, readdir, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

import { localeData } from "./locale-data.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "../../worker/sandbox/javascript/vendor");
const packages = new Set();

for (const name of ["web", "lodash", "date-fns", "jsonpath", "intl"]) {
  const { metafile } = await build({
    entryPoints: [join(here, "src", `${name}.js`)],
    outfile: join(out, `${name}.js`),
    bundle: true,
    format: "iife",
    platform: "browser",
    target: "es2022",
    minify: true,
    lineLimit: 200,
    legalComments: "none",
    metafile: true,
    plugins: [localeData],
    inject: name === "intl" ? [join(here, "src/intl-global.js")] : [],
    // Code cannot be made from text where these run, so nothing may look for the global that way.
    define: { global: "globalThis", "process.env.NODE_ENV": '"production"' },
    banner: { js: "/* Built by tools/vendor/build.mjs. Licences: LICENSES.txt. */" },
  });
  for (const input of Object.keys(metafile.inputs)) {
    const match = input.match(/node_modules\/((?:@[^/]+\/)?[^/]+)\//);
    if (match) packages.add(match[1]);
  }
}

const licences = [];
for (const name of [...packages].sort()) {
  const folder = join(here, "node_modules", name);
  const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
  licences.push(`${name} ${version} (${license})\n\n${(await readFile(join(folder, file), "utf8")).trim()}`);
}
// formatjs carries data of CLDR; the order of text comes from ICU.
const unicode = await readFile(join(here, "LICENSE-unicode.txt"), "utf8");
licences.push(`Unicode CLDR and ICU data (Unicode-3.0)\n\n${unicode.trim()}`);
await writeFile(join(out, "LICENSES.txt"), `${licences.join(`\n\n${"=".repeat(80)}\n\n`)}\n`);
console.log(`bundled ${[...packages].sort().join(", ")} into ${relative(process.cwd(), out)}`);
