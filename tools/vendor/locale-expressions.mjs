// Writes tests/data/locale.jsonl: expressions, and what Node answers or throws. Run with TZ=UTC.
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import vm from "node:vm";

const out = join(dirname(fileURLToPath(import.meta.url)), "../../tests/data/locale.jsonl");
const LOCALES = ["en-US", "en-GB", "en-CA", "sv", "fr", "es", "pt", "ar", "sw"];
const DAY = "new Date(Date.UTC(2024, 0, 2, 15, 4, 5))";
const NIGHT = "new Date('2023-12-31T22:30:00Z')";
const all = (make, values = LOCALES) => values.map((value) => make(typeof value === "string" ? `'${value}'` : value));

// Every pair of these is compared.
const WORDS = "a A á Á à ä å ã ą ā aa ab Ab aB æ Æ ae AE af ß ss SS sz co-op coop co_op 'co op' (co) č ç c C cz đ d D ð0 é É ê ě e1 e10 e9 e09 ı0 i I İ ł l Ł L lz ñ n ņ nz ŋ Ŋ o ø ö ő œ oe of ɔ ɛ e ƙ k š ş s ș z ž Ž ź 1 2 10 ² – — ‘ ’ € $ % & …".split(" ").filter((word) => !/[ðı]/.test(word));
const pairs = (options) => `((words) => words.map((a) => words.map((b) => a.localeCompare(b${options}) + 1).join('')).join())(${JSON.stringify(WORDS)})`;

const expressions = [
  // Without arguments.
  ...["", "Date", "Time"].flatMap((part) => [`${DAY}.toLocale${part}String()`, `new Date(0).toLocale${part}String()`, `new Date(NaN).toLocale${part}String()`, `${NIGHT}.toLocale${part}String(undefined)`]),
  ...["0", "-0", "0.5", "-1234.5678", "1234567.891", "0.0005", "0.00049", "1.0005", "999999.9996", "1e21", "1.5e300", "1e-7", "NaN", "-Infinity", "123456789.987"].map((number) => `(${number}).toLocaleString()`),
  "12345678901234567890n.toLocaleString()",
  "(-1234n).toLocaleString()",
  "[1234.5, null, undefined, 'a', 10n].toLocaleString()",
  `[1234.5, ${DAY}].toLocaleString()`,
  "new Float64Array([1234.5, 0.25]).toLocaleString()",
  "[[1000, [2000]], {}].toLocaleString()",
  "({}).toLocaleString()",
  "true.toLocaleString('sv')",

  // Numbers in each locale.
  ...all((locale) => `(1234567.891).toLocaleString(${locale})`),
  ...all((locale) => `(-0.5).toLocaleString(${locale}, { style: 'percent' })`),
  ...all((locale) => `(1234.5).toLocaleString(${locale}, { style: 'currency', currency: 'USD' })`),
  ...all((locale) => `(-9876.543).toLocaleString(${locale}, { style: 'currency', currency: 'KES' })`),
  ...all((locale) => `(12).toLocaleString(${locale}, { style: 'unit', unit: 'kilometer', unitDisplay: 'long' })`),
  ...all((locale) => `(9007199254740993n).toLocaleString(${locale})`),
  ...all((locale) => `[1234.5, 0.25].toLocaleString(${locale}, { minimumFractionDigits: 2 })`),
  "(1e6).toLocaleString('sv', { style: 'currency', currency: 'SEK' })",
  "(1e6).toLocaleString('sv-SE', { style: 'currency', currency: 'SEK', maximumFractionDigits: 0 })",
  "(0.1234).toLocaleString('fr', { style: 'percent', maximumFractionDigits: 1 })",
  "(12.5).toLocaleString('en-US', { style: 'unit', unit: 'kilogram' })",
  "(12.5).toLocaleString('ar', { style: 'unit', unit: 'kilogram' })",
  "(12345).toLocaleString('en-US', { notation: 'compact' })",
  "(12345).toLocaleString('en-US', { notation: 'scientific' })",
  "(5).toLocaleString('en-US', { minimumIntegerDigits: 2, useGrouping: false })",
  "(1234.5).toLocaleString('en-US', { maximumSignificantDigits: 2 })",
  "(1234.5).toLocaleString('en-US', { style: 'currency' })",
  "(1234.5).toLocaleString('en-US', { style: 'currency', currency: 'XYZ' })",
  "(1234.5).toLocaleString('en-US', { minimumFractionDigits: 200 })",
  "(1234.5).toLocaleString('en-US', { style: 'currency', currency: 'EUR', currencyDisplay: 'name' })",
  "(1234.5).toLocaleString('en-US', { roundingMode: 'floor', maximumFractionDigits: 0 })",
  "(1234.5).toLocaleString('en-US', { signDisplay: 'always' })",
  "(Infinity).toLocaleString('en-US', { style: 'currency', currency: 'KES' })",
  "new Intl.NumberFormat('fr').format('12345678901234567890.5')",
  "new Intl.NumberFormat('fr').format('1234.5')",
  "new Intl.NumberFormat('fr').format(null)",
  "new Intl.NumberFormat('fr').format(undefined)",
  "JSON.stringify(new Intl.NumberFormat('sv', { style: 'currency', currency: 'SEK' }).formatToParts(-1234.5))",
  "Intl.NumberFormat('es').format(1234) + Intl.NumberFormat('es').format(12345)",
  "[3, 4].map(new Intl.NumberFormat('pt', { minimumFractionDigits: 1 }).format).join()",
  "new Intl.NumberFormat('sw').resolvedOptions().locale",
  "new Intl.NumberFormat('en-US').resolvedOptions().maximumFractionDigits",
  "new Intl.NumberFormat('en-US').formatRange(1, 2)",
  "Object.prototype.toString.call(new Intl.NumberFormat('en-US'))",

  // Dates in each locale.
  ...["", "Date", "Time"].flatMap((part) => all((locale) => `${DAY}.toLocale${part}String(${locale})`)),
  ...all((locale) => `${NIGHT}.toLocaleString(${locale}, { timeZone: 'Africa/Nairobi' })`),
  ...all((locale) => `${DAY}.toLocaleDateString(${locale}, { weekday: 'long', year: 'numeric', month: 'long', day: 'numeric' })`),
  ...all((locale) => `${DAY}.toLocaleDateString(${locale}, { year: 'numeric', month: 'short', day: '2-digit' })`),
  ...all((locale) => `${DAY}.toLocaleDateString(${locale}, { month: 'long', year: 'numeric' })`),
  ...all((locale) => `${DAY}.toLocaleTimeString(${locale}, { hour: '2-digit', minute: '2-digit' })`),
  ...["full", "long", "medium", "short"].flatMap((style) => all((locale) => `${DAY}.toLocaleDateString(${locale}, { dateStyle: '${style}' })`, ["en-GB", "sv", "ar", "sw"])),
  ...["full", "short"].flatMap((style) => all((locale) => `${DAY}.toLocaleString(${locale}, { dateStyle: '${style}', timeStyle: 'short' })`, ["en-US", "fr", "es"])),
  ...all((zone) => `${DAY}.toLocaleString('en-GB', { timeZone: ${zone} })`, ["UTC", "GMT", "Africa/Lagos", "Africa/Cairo", "Africa/Casablanca", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Dhaka", "America/New_York", "Europe/Stockholm", "africa/nairobi", "Nowhere/Else", "+03:00", "Etc/UTC"]),
  `${DAY}.toLocaleTimeString('en-US', { hour12: false })`,
  `new Date('2024-01-01T00:30:00Z').toLocaleTimeString('en-US', { hour12: false })`,
  `new Date('2024-01-01T00:30:00Z').toLocaleTimeString('en-US', { hourCycle: 'h23' })`,
  `new Date('2024-01-01T00:30:00Z').toLocaleTimeString('en-GB', { hour12: true })`,
  `${DAY}.toLocaleTimeString('en-US', { timeZoneName: 'short' })`,
  `${DAY}.toLocaleTimeString('en-US', { timeZone: 'Africa/Nairobi', timeZoneName: 'long', hour: 'numeric', minute: '2-digit' })`,
  `${DAY}.toLocaleTimeString('sw', { timeZone: 'Africa/Nairobi', timeZoneName: 'short', hour: 'numeric' })`,
  `${DAY}.toLocaleDateString('en-US', { timeStyle: 'short' })`,
  `${DAY}.toLocaleTimeString('en-US', { dateStyle: 'short' })`,
  `${DAY}.toLocaleDateString('en-US', { era: 'short' })`,
  `${DAY}.toLocaleDateString('en-US', { month: 'enormous' })`,
  `${DAY}.toLocaleString('en-US', { hour: 'numeric', dayPeriod: 'short' })`,
  `${DAY}.toLocaleString('en-US', { second: 'numeric', fractionalSecondDigits: 3 })`,
  `${DAY}.toLocaleDateString('en-US', { calendar: 'islamic' })`,
  `${DAY}.toLocaleDateString('ar-EG')`,
  `${DAY}.toLocaleDateString('en-US-u-nu-arab')`,
  "new Date(-1e14).toLocaleDateString('en-GB')",
  "new Date('0099-01-01').toLocaleDateString('en-GB')",
  "new Date('1900-01-01').toLocaleString('sv', { timeZone: 'Africa/Nairobi' })",
  "new Date('2050-07-01').toLocaleString('sv', { timeZone: 'Africa/Cairo' })",
  "new Date(NaN).toLocaleDateString('sv')",
  "new Intl.DateTimeFormat('sv').format(new Date(NaN))",
  "new Intl.DateTimeFormat('sv').format(0)",
  "Intl.DateTimeFormat('en-CA', { timeZone: 'Asia/Manila' }).format(1704067200000)",
  `JSON.stringify(new Intl.DateTimeFormat('en-US', { timeStyle: 'short' }).formatToParts(${DAY}))`,
  `JSON.stringify(new Intl.DateTimeFormat('sv', { year: 'numeric', month: 'long', day: 'numeric' }).formatToParts(${DAY}))`,
  "Intl.DateTimeFormat().resolvedOptions().timeZone",
  "Intl.DateTimeFormat().resolvedOptions().locale",
  "new Intl.DateTimeFormat('sv', { timeZone: 'Asia/Kolkata' }).resolvedOptions().timeZone",
  "new Intl.DateTimeFormat('sv', { timeZone: 'africa/nairobi' }).resolvedOptions().timeZone",
  "new Intl.DateTimeFormat('sv').resolvedOptions().hour12",
  `new Intl.DateTimeFormat('sv').formatRange(new Date(0), ${DAY})`,

  // Locales that are refused, or are not locales.
  ...["de-DE", "nl", "zh-CN", "hi", "am-ET", "fr-CA", "pt-PT", "es-MX", "xx", "x_y", ""].flatMap((locale) => [`(1234.5).toLocaleString('${locale}')`, `${DAY}.toLocaleDateString('${locale}')`]),
  "(1234.5).toLocaleString([])",
  "(1234.5).toLocaleString(['sv', 'de'])",
  "(1234.5).toLocaleString(['de', 'sv'])",
  "(1234.5).toLocaleString(null)",
  "(1234.5).toLocaleString(5)",
  "(1234.5).toLocaleString('SV-se')",

  // Plurals.
  ...all((locale) => `[0, 1, 2, 3, 5, 11, 21, 100, 1000000].map((n) => new Intl.PluralRules(${locale}).select(n)).join()`),
  ...all((locale) => `[0, 1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 101].map((n) => new Intl.PluralRules(${locale}, { type: 'ordinal' }).select(n)).join()`),
  "new Intl.PluralRules('ar').select(3.5)",
  "new Intl.PluralRules('en-US').select(1.5)",
  "new Intl.PluralRules('en-US').selectRange(1, 2)",

  // Order.
  ...[["a", "b"], ["a", "B"], ["a", "A"], ["é", "f"], ["é", "e"], ["ö", "z"], ["ñ", "n"], ["a", "ä"], ["æ", "af"], ["ß", "ss"], ["co-op", "coop"], ["a b", "ab"], ["10", "9"], ["_a", "a"], ["€5", "$5"], ["Łódź", "Lodz"], ["", "a"], ["a", "a\\u0301"], ["ŋ", "o"], ["ж", "a"], ["中", "文"], ["مرحبا", "a"], ["same ж", "same ж"], ["😀", "a"]].map(([a, b]) => `'${a}'.localeCompare('${b}')`),
  ...["base", "accent", "case", "variant"].flatMap((sensitivity) => [["a", "á"], ["a", "A"], ["á", "Á"]].map(([a, b]) => `'${a}'.localeCompare('${b}', undefined, { sensitivity: '${sensitivity}' })`)),
  "'item 10'.localeCompare('item 9', undefined, { numeric: true })",
  "'a01'.localeCompare('a1', 'en', { numeric: true })",
  "'v1.10'.localeCompare('v1.9', 'en-US', { numeric: true, sensitivity: 'base' })",
  "'ä'.localeCompare('z', 'sv')",
  "'ä'.localeCompare('z', 'de')",
  "'ñ'.localeCompare('o', 'es')",
  "'côte'.localeCompare('coté', 'fr')",
  "'a'.localeCompare('A', 'en', { caseFirst: 'upper' })",
  "'a-b'.localeCompare('ab', 'en', { ignorePunctuation: true })",
  "['z', 'é', 'a', 'B', 'ä', '2', '10', '_', 'Z'].sort((a, b) => a.localeCompare(b)).join()",
  "['z10', 'z9', 'Z1'].sort(new Intl.Collator(undefined, { numeric: true }).compare).join()",
  "['z10', 'z9', 'Z1'].sort(new Intl.Collator('sv').compare).join()",
  "new Intl.Collator('en').resolvedOptions().sensitivity",
  "'undefined'.localeCompare()",
  "String.prototype.localeCompare.call(5, 6)",

  pairs(""),
  ...["base", "accent", "case"].map((sensitivity) => pairs(`, undefined, { sensitivity: '${sensitivity}' }`)),
  pairs(", 'fr', { numeric: true }"),

  // Case and normal forms.
  ...["", "'en-US'", "'sv'", "'tr'", "'lt'", "'az'", "'el'", "['tr']", "'x_y'"].flatMap((locale) => [`'iIıß ΑΣ'.toLocaleUpperCase(${locale})`, `'İIÅ ΑΣ'.toLocaleLowerCase(${locale})`]),
  ...["NFC", "NFD", "NFKC", "NFKD"].map((form) => `escape('Å ﬁ é ①'.normalize('${form}'))`),
  "'a'.normalize('NFX')",

  // What has no data here.
  "new Intl.ListFormat('en').format(['a', 'b'])",
  "new Intl.RelativeTimeFormat('en').format(-1, 'day')",
  "new Intl.DisplayNames('en', { type: 'region' }).of('SE')",
  "[...new Intl.Segmenter('en').segment('ab')].length",
  "new Intl.Locale('sv-SE').language",
  "Intl.getCanonicalLocales('sv-se').join()",
  "Intl.supportedValuesOf('currency').length",
  "Intl.NumberFormat.supportedLocalesOf(['sv', 'de']).join()",
  "typeof Intl",
];

function answer(source) {
  try {
    return { value: String(vm.runInThisContext(`(${source})`)) };
  } catch (error) {
    return { error: /** @type {Error} */ (error).name };
  }
}

const lines = [...new Set(expressions)].map((source) => JSON.stringify({ source, ...answer(source) }));
await writeFile(out, `${lines.join("\n")}\n`);
console.log(`${lines.length} expressions, Node ${process.version}, ICU ${process.versions.icu}`);
