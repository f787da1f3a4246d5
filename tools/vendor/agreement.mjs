// Records what formatjs formats as Node does: combinations of options, zones and names of zones.
// Writes vendor/agreement.js, after vendor/intl.js was built. Takes minutes.
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import vm from "node:vm";

import { LOCALES, zoneData } from "./locale-data.mjs";

const out = join(dirname(fileURLToPath(import.meta.url)), "../../worker/sandbox/javascript/vendor");
vm.runInThisContext(await readFile(join(out, "intl.js"), "utf8"));
const { DateTimeFormat } = globalThis.__formatjs;
const data = await zoneData();
const names = ["UTC", ...data.zones.map((zone) => zone.split("|")[0])];
const HOUR_MS = 3_600_000;
// Half past midnight and noon, morning and evening, days and months of one and two digits.
const PROBES = [[2024, 0, 2, 15, 4, 5], [1999, 10, 23, 0, 30, 0], [2030, 6, 14, 12, 0, 59], [2021, 8, 5, 9, 8, 7]].map(([year, ...parts]) => Date.UTC(year, ...parts));

const tagOf = (locale) => (locale === "en" ? "en-US" : locale);
const textOf = (make) => {
  try {
    return make();
  } catch {
    return undefined;
  }
};

function isSame(locale, options, times) {
  const node = textOf(() => new Intl.DateTimeFormat(tagOf(locale), options));
  const ours = textOf(() => new DateTimeFormat(locale, options));
  if (!node || !ours) return false;
  return times.every((time) => textOf(() => ours.format(time).replace(/\u202f/g, " ")) === node.format(time));
}

// Every choice of one value, or none, for each option.
const choices = (options) =>
  Object.entries(options).reduce(
    (sets, [name, values]) => sets.flatMap((set) => [set, ...values.map((value) => ({ ...set, [name]: value }))]),
    [{}],
  );
const keyOf = (options) => Object.entries(options).map(([name, value]) => `${name}=${value}`).join();
const DIGITS = ["numeric", "2-digit"];
const STYLES = ["full", "long", "medium", "short"];
const CYCLES = [{}, { hour12: true }, { hour12: false }, { hourCycle: "h23" }];
const withCycles = (sets) => sets.flatMap((set) => CYCLES.map((cycle) => ({ ...set, ...cycle })));

const dates = choices({ weekday: ["long", "short"], year: DIGITS, month: [...DIGITS, "long", "short"], day: DIGITS });
const times = withCycles([
  { hour: "numeric" },
  { hour: "2-digit" },
  { hour: "numeric", minute: "2-digit" },
  { hour: "2-digit", minute: "2-digit" },
  { hour: "numeric", minute: "numeric" },
  { hour: "2-digit", minute: "2-digit", second: "2-digit" },
  { hour: "numeric", minute: "2-digit", second: "2-digit" },
  { hour: "numeric", minute: "numeric", second: "numeric" },
]).flatMap((set) => [set, { ...set, timeZoneName: "short" }, { ...set, timeZoneName: "long" }]);
const styles = withCycles(choices({ dateStyle: STYLES, timeStyle: STYLES }).slice(1));

// Less than a whole date beside a time, or a date beside a time in twelve hours, an hour alone or a
// zone's name, is seldom asked for, and refused unseen: each combination takes milliseconds.
const isWhole = (date) => ["year", "month", "day"].every((part) => part in date);
const isSeldom = ({ hour12, minute, timeZoneName }) => hour12 !== undefined || !minute || timeZoneName !== undefined;
const isRecorded = (date, time) => !Object.keys(date).length || !Object.keys(time).length || (isWhole(date) && !isSeldom(time));

const hex = (bits) => {
  const digits = [];
  for (let at = 0; at < bits.length; at += 4) digits.push(bits.slice(at, at + 4).reduce((sum, bit, place) => sum + (bit << place), 0).toString(16));
  return digits.join("").replace(/0+$/, "");
};

// Offsets twice a week from 1970 to 2036, from the zone data itself; and formatjs on both sides of
// each change of an offset.
/** @type {Intl.DateTimeFormatOptions} */
const ZONE_TEXT = { hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" };
const STEP_MS = 84 * HOUR_MS;
const LAST_MS = Date.UTC(2037, 0, 1);
const instants = Array.from({ length: LAST_MS / STEP_MS }, (_, at) => at * STEP_MS);

function zoneIsSame(timeZone) {
  const node = new Intl.DateTimeFormat("en-US", { ...ZONE_TEXT, timeZone });
  const clock = new Intl.DateTimeFormat("en-US", { ...ZONE_TEXT, timeZone: "UTC" });
  const changes = changesOf(timeZone);
  const offsetAt = (time) => changes.findLast(({ from_ms }) => from_ms <= time)?.offset_ms ?? 0;
  const around = changes.flatMap(({ from_ms }) => [from_ms - 1000, from_ms]).filter((time) => time >= 0 && time < LAST_MS);
  return [...instants, ...around].every((time) => node.format(time) === clock.format(time + offsetAt(time))) && isSame("en", { ...ZONE_TEXT, timeZone }, around);
}

function changesOf(timeZone) {
  const text = data.zones.find((zone) => zone.startsWith(`${timeZone}|`));
  const offsets = data.offsets.split("|").map((offset) => parseInt(offset, 36) * 1000);
  return (text?.split("|").slice(1) ?? []).map((change) => {
    const [from, , offset] = change.split(",");
    return { from_ms: from === "" ? -Infinity : from === "NaN" ? Infinity : parseInt(from, 36) * 1000, offset_ms: offsets[Number(offset)] };
  });
}

// Names of zones are answered from 2020 on (locale.js): each month's start, later each half year's.
const NAMED = Array.from({ length: 17 * 12 }, (_, month) => Date.UTC(2020, month, 1, 12)).filter((_, month) => month < 84 || month % 6 === 0);
const STYLE_OF_NAME = { short: "long", long: "full" };
const namedAlike = (locale, name, zones) => zones.filter((timeZone) => isSame(locale, { timeZone, timeStyle: STYLE_OF_NAME[name] }, NAMED));

const zones = names.filter(zoneIsSame);
console.log(`zones: ${zones.length} of ${names.length}`);
const canonical = (timeZone) => new Intl.DateTimeFormat("en", { timeZone }).resolvedOptions().timeZone;

const locales = {};
for (const locale of LOCALES) {
  const bits = dates.flatMap((date) =>
    [{}, ...times].map((time) =>
      Number(isRecorded(date, time) && isSame(locale, { ...date, ...time, timeZone: "UTC" }, Object.keys(time).length ? PROBES : PROBES.slice(0, 2))),
    ),
  );
  locales[locale] = {
    parts: hex(bits),
    styles: hex(styles.map((style) => Number(isSame(locale, { ...style, timeZone: "UTC" }, PROBES)))),
    zoneNames: { short: namedAlike(locale, "short", zones), long: namedAlike(locale, "long", zones) },
  };
  console.log(`${locale}: ${bits.filter(Boolean).length} of ${bits.length} combinations, zones named alike: ${Object.values(locales[locale].zoneNames).map((list) => list.length)}`);
}

const agreement = {
  dateKeys: dates.map(keyOf),
  timeKeys: ["", ...times.map(keyOf)],
  styleKeys: styles.map(keyOf),
  zones: Object.fromEntries([...zones.map((name) => [name.toLowerCase(), { name, canonical: canonical(name) }]), ["gmt", { name: "UTC", canonical: "UTC" }]]),
  locales,
};
await writeFile(join(out, "agreement.js"), `/* Built by tools/vendor/agreement.mjs with Node ${process.version}. */\nglobalThis.__agreement = ${JSON.stringify(agreement, null, 1)};\n`);
