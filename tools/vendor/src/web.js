// The web and Node APIs that jobs expect and QuickJS lacks, as globals.
import "./buffer.js";
import "fast-text-encoding"; // TextEncoder, TextDecoder
import structuredClone from "core-js-pure/actual/structured-clone";
import URL from "core-js-pure/actual/url";
import URLSearchParams from "core-js-pure/actual/url-search-params";

const globals = { TextDecoder, TextEncoder, URL, URLSearchParams, structuredClone };
for (const [name, value] of Object.entries(globals))
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
