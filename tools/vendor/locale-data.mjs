// Reads the locale data of formatjs, cut to what the sandbox answers.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import vm from "node:vm";

/** Locales with data of their own; the sandbox answers regions like sv-SE from these. */
export const LOCALES = ["en", "en-GB", "en-CA", "sv", "fr", "es", "pt", "ar", "sw"];
const ZONES = /^(Africa|Asia)\/|^UTC$/;
const FORMATS = {
  DateTimeFormat: "intl-datetimeformat",
  NumberFormat: "intl-numberformat",
  PluralRules: "intl-pluralrules",
};

const require = createRequire(import.meta.url);

// A data file hands its content to a function of the global Intl.
async function read(format, file) {
  const path = join(dirname(require.resolve(`@formatjs/${FORMATS[format]}`)), file);
  /** @type {any} */
  let content;
  const receive = (data) => {
    content = data;
  };
  const context = { Intl: { [format]: { __addLocaleData: receive, __addTZData: receive } } };
  vm.runInNewContext(await readFile(path, "utf8"), context);
  return content;
}

const pick = (object, keep) => Object.fromEntries(Object.entries(object).filter(([key]) => keep(key)));

// formatjs joins a date and a time by another rule of CLDR than Node: by commas, never by " at ".
function joints(locale) {
  const format = (options) => new Intl.DateTimeFormat(locale, { timeZone: "UTC", ...options }).format(0);
  const jointOf = (dateStyle) =>
    format({ dateStyle, timeStyle: "short" })
      .replace(format({ dateStyle }), "{1}")
      .replace(format({ timeStyle: "short" }), "{0}")
      .replace(/(?<=} ).*[^ ](?= {)/, "'$&'");
  return Object.fromEntries(["full", "long", "medium", "short"].map((style) => [style, jointOf(style)]));
}

async function dates(locale) {
  const { data } = await read("DateTimeFormat", `locale-data/${locale}.js`);
  const { intervalFormatFallback } = data.intervalFormats;
  return {
    locale,
    data: {
      ...data,
      nu: ["latn"],
      ca: ["gregory"],
      dateTimeFormat: joints(locale),
      intervalFormats: { intervalFormatFallback },
      timeZoneName: pick(data.timeZoneName, (zone) => ZONES.test(zone)),
    },
  };
}

async function numbers(locale) {
  const { data } = await read("NumberFormat", `locale-data/${locale}.js`);
  return { locale, data: { ...data, nu: ["latn"] } };
}

export async function zoneData() {
  const data = await read("DateTimeFormat", "add-all-tz.js");
  return { ...data, zones: data.zones.filter((zone) => ZONES.test(zone)) };
}

/** The module `locale-data` as esbuild loads it. Plural rules are code, and imported as they are. */
export const localeData = {
  name: "locale-data",
  setup(build) {
    build.onResolve({ filter: /^locale-data$/ }, ({ path }) => ({ path, namespace: "locale-data" }));
    build.onLoad({ filter: /.*/, namespace: "locale-data" }, async () => ({
      contents: JSON.stringify({
        dates: await Promise.all(LOCALES.map(dates)),
        numbers: await Promise.all(LOCALES.map(numbers)),
        zones: await zoneData(),
      }),
      loader: "json",
    }));
  },
};
