// Bundles one adaptor into a script for the sandbox: node bundle.mjs ADAPTOR FOLDER OUT
//
// Only files of FOLDER and of the tool chain get into the bundle, whatever an import or a link leads to.
// Modules of Node are replaced by packages of npm, by our modules, or by errors; all network access
// goes through one function of the host. Prints, as JSON, the forbidden modules and their importers.
import { build } from "esbuild";
import { existsSync, realpathSync } from "node:fs";
import { builtinModules, createRequire } from "node:module";
import { dirname, join, sep } from "node:path";
import { fileURLToPath } from "node:url";

const [name, folder, out] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const modules = join(here, "modules");

const REPLACED = {
  assert: "assert/build/assert.js",
  events: "events/events.js",
  os: "os-browserify/browser.js",
  path: "path-browserify/index.js",
  querystring: "querystring-es3/index.js",
  stream: "readable-stream/lib/ours/browser.js",
  string_decoder: "string_decoder/lib/string_decoder.js",
  url: "url/url.js",
  util: "util/util.js",
};
const OURS = ["buffer", "crypto", "perf_hooks", "process", "timers", "undici"];
// Adaptors that import one of these cannot be installed. Other modules throw when they are used.
const FORBIDDEN = ["child_process", "cluster", "dgram", "net", "tls", "worker_threads"];
const refused = new Map();

const roots = [folder, here].map((root) => realpathSync(root) + sep);

/** Refuses to read any other file: an adaptor's imports are a stranger's, and this reads with the user's rights. */
const inside = {
  name: "inside",
  setup({ onLoad }) {
    onLoad({ filter: /.*/, namespace: "file" }, ({ path }) => {
      // A package can name a file of its own that browsers do without: esbuild makes it empty.
      if (!existsSync(path)) return undefined;
      const real = realpathSync(path);
      if (roots.some((root) => real.startsWith(root))) return undefined;
      return { errors: [{ text: `the package imports a file from outside of it: ${path}` }] };
    });
  },
};

const node = {
  name: "node",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(node:)?[a-z_0-9]+(\/[a-z/]*)?$/ }, ({ path, importer }) => {
      const bare = path.replace(/^node:/, "").replace(/\/+$/, "");
      const [root] = bare.split("/");
      if (OURS.includes(root)) return { path: join(modules, `${root}.js`) };
      if (!builtinModules.includes(root)) return undefined;
      // A trailing slash in the import means npm's package of that name, which is the replacement.
      if (REPLACED[root] && bare === root) return { path: require.resolve(REPLACED[root]) };
      if (FORBIDDEN.includes(root)) refused.set(root, importer);
      return { path: root, namespace: "absent" };
    });
    onLoad({ filter: /.*/, namespace: "absent" }, ({ path }) => ({
      resolveDir: here,
      contents: `
        import { absent } from ${JSON.stringify(join(modules, "absent.js"))};
        module.exports = absent(${JSON.stringify(path)});`,
      loader: "js",
    }));
  },
};

/** A package that is required where it is used, and not installed, is absent: one of several drivers of databases. */
const optional = {
  name: "optional",
  setup({ onResolve, resolve }) {
    onResolve({ filter: /^[^./]/ }, async ({ path, kind, resolveDir, importer, pluginData }) => {
      if (kind !== "require-call" || pluginData === optional) return undefined;
      const { errors } = await resolve(path, { kind, resolveDir, importer, pluginData: optional });
      return errors.length ? { path, namespace: "absent" } : undefined;
    });
  },
};

await build({
  stdin: {
    contents: `
      import * as all from ${JSON.stringify(name)};
      globalThis.__adaptor = { ...all };`,
    resolveDir: folder,
  },
  outfile: out,
  bundle: true,
  format: "iife",
  platform: "browser",
  // As Node: a package without exports is what its `main` names. Others export differently there.
  mainFields: ["main"],
  conditions: ["import", "module", "default"],
  target: "es2022",
  minify: true,
  lineLimit: 200,
  legalComments: "none",
  inject: [join(modules, "globals.js")],
  define: { global: "globalThis", "process.env.NODE_ENV": '"production"', "import.meta.url": '"file:///adaptor.js"' },
  plugins: [inside, node, optional],
  tsconfigRaw: "{}",
  logLevel: "error",
});
console.log(JSON.stringify({ forbidden: Object.fromEntries(refused) }));
