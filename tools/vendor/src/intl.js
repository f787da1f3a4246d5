// Numbers, dates, plurals and zones of formatjs, for locale.js to choose from.
import { DateTimeFormat } from "@formatjs/intl-datetimeformat";
import { NumberFormat } from "@formatjs/intl-numberformat";
import { PluralRules } from "@formatjs/intl-pluralrules";
import { dates, numbers, zones } from "locale-data";
import { Intl as intl } from "./intl-global.js";
import "@formatjs/intl-pluralrules/locale-data/ar.js";
import "@formatjs/intl-pluralrules/locale-data/en.js";
import "@formatjs/intl-pluralrules/locale-data/es.js";
import "@formatjs/intl-pluralrules/locale-data/fr.js";
import "@formatjs/intl-pluralrules/locale-data/pt.js";
import "@formatjs/intl-pluralrules/locale-data/sv.js";
import "@formatjs/intl-pluralrules/locale-data/sw.js";

DateTimeFormat.__addTZData(zones);
for (const data of dates) DateTimeFormat.__addLocaleData(data);
for (const data of numbers) NumberFormat.__addLocaleData(data);
Object.assign(intl, { DateTimeFormat, NumberFormat });
// Plural rules are the language's, but formatjs looks for them under the whole tag.
for (const locale of ["en-GB", "en-CA"]) PluralRules.__addLocaleData({ data: PluralRules.localeData.en, locale });
globalThis.__formatjs = { DateTimeFormat, NumberFormat, PluralRules };
