// Locale and time zone: answered as Node answers, or refused with an error that names the call.
//
// Evaluated before the realm, in every image. Calls without a locale and options, comparisons and
// case mapping are answered here. Everything else needs formatjs (vendor/intl.js), which only the
// image for jobs that name such a function has, and the record of what formatjs and Node agree on
// (vendor/agreement.js): what is not in the record is refused, as formatjs never refuses.
(function () {
  "use strict";

  const formatjs = globalThis.__formatjs;
  const agreement = globalThis.__agreement;
  const collation = globalThis.__collation;
  for (const name of ["__formatjs", "__agreement", "__collation"]) delete globalThis[name];

  const { stringify } = JSON;

  function refuse(call, instead) {
    throw new RangeError(`${call} is not supported here: ${instead}`);
  }

  // --- locales ----------------------------------------------------------------------------------

  // Tag, in lower case -> locale whose data answers it.
  const LOCALES = new Map(
    Object.entries({
      en: "en", "en-us": "en", "en-gb": "en-GB", "en-ca": "en-CA", sv: "sv", "sv-se": "sv", fr: "fr", "fr-fr": "fr",
      es: "es", "es-es": "es", pt: "pt", "pt-br": "pt", ar: "ar", sw: "sw",
    }),
  );
  const LOCALE_NAMES = "en-US, en-GB, en-CA, sv, fr, es, pt, ar, sw";

  const written = (locales) => (locales === undefined ? "" : typeof locales === "string" ? `'${locales}'` : stringify(locales) ?? String(locales));
  const firstOf = (locales) => (Array.isArray(locales) ? locales[0] : locales) ?? (locales === null ? null : "en-US");

  /** The tag that a caller asked for, and the locale whose data answers it. */
  function localeOf(name, locales, instead) {
    const tag = firstOf(locales);
    const data = typeof tag === "string" ? LOCALES.get(tag.toLowerCase()) : undefined;
    if (data === undefined) refuse(`${name}(${written(locales)})`, `the locales are ${LOCALE_NAMES}; ${instead(tag)}`);
    return { tag: canonical(tag), data };
  }

  const canonical = (tag) => {
    const [language, region] = tag.split("-");
    return region ? `${language.toLowerCase()}-${region.toUpperCase()}` : language.toLowerCase();
  };

  const checkFormats = (name, locales) =>
    formatjs ||
    refuse(`${name}(${locales === undefined ? "undefined, ..." : written(locales)}) by a computed name`, `write ${name} in the job's source, so that the job runs with locale data`);

  const allowedText = (allowed) => {
    if (typeof allowed === "function") return "use a smaller whole number";
    return allowed.length ? `use ${allowed.map((value) => stringify(value)).join(", ")}` : "leave it out";
  };

  // The options that have a value. What Node would ignore is ignored here too.
  function optionsOf(call, options, known) {
    if (options === undefined) return {};
    if (options === null || typeof options !== "object") refuse(`${call} with options ${String(options)}`, "pass an object");
    const read = {};
    for (const [name, allowed] of Object.entries(known)) {
      const value = options[name];
      if (value === undefined) continue;
      const isAllowed = typeof allowed === "function" ? allowed(value) : allowed.includes(value);
      if (!isAllowed) refuse(`${call} with {${name}: ${stringify(value)}}`, allowedText(allowed));
      read[name] = value;
    }
    return read;
  }

  // Making a formatter takes formatjs 10 to 60 ms, and jobs format in loops.
  const formatters = new Map();
  const FORMATTERS_LIMIT = 100;

  function formatterOf(type, data, options) {
    const key = `${type} ${data} ${stringify(options)}`;
    const known = formatters.get(key);
    if (known) return known;
    if (formatters.size >= FORMATTERS_LIMIT) formatters.clear();
    const made = new formatjs[type](data, options);
    formatters.set(key, made);
    return made;
  }

  // --- numbers ----------------------------------------------------------------------------------

  const wholeUpTo = (limit) => (value) => Number.isInteger(value) && value >= 0 && value <= limit;
  const NUMBER_OPTIONS = {
    localeMatcher: ["best fit", "lookup"],
    numberingSystem: ["latn"],
    style: ["decimal", "percent", "currency", "unit"],
    currency: "USD EUR GBP SEK CAD KES TZS UGX NGN ZAR EGP XOF XAF ETB GHS RWF ZMW MWK MZN INR JPY BRL CHF AED SAR BDT PKR NPR".split(" "),
    currencyDisplay: ["symbol", "narrowSymbol", "code", "name"],
    currencySign: ["standard", "accounting"],
    unit: "kilometer meter centimeter millimeter mile foot inch celsius fahrenheit kilogram gram pound liter milliliter day hour minute second week month year byte kilobyte megabyte gigabyte kilometer-per-hour degree hectare acre millisecond".split(" "),
    unitDisplay: ["short", "long", "narrow"],
    notation: ["standard"],
    signDisplay: ["auto", "always", "never", "exceptZero", "negative"],
    useGrouping: [true, false, "auto", "always", "min2"],
    minimumIntegerDigits: wholeUpTo(21),
    minimumFractionDigits: wholeUpTo(20),
    maximumFractionDigits: wholeUpTo(20),
    minimumSignificantDigits: wholeUpTo(21),
    maximumSignificantDigits: wholeUpTo(21),
    roundingIncrement: [1],
    roundingMode: ["halfExpand"],
    roundingPriority: ["auto"],
    trailingZeroDisplay: ["auto"],
  };
  const NEUTRAL = ["localeMatcher", "numberingSystem", "notation", "roundingIncrement", "roundingMode", "roundingPriority", "trailingZeroDisplay"];

  const numberInstead = () => "use toFixed() or toString()";

  class Numbers {
    constructor(name, locales, options) {
      const { tag, data } = localeOf(name, locales, numberInstead);
      const call = `${name}(${written(locales)})`;
      const read = optionsOf(call, options, NUMBER_OPTIONS);
      for (const option of NEUTRAL) delete read[option];
      checkFormats(name, locales);
      this.tag = tag;
      this.data = data;
      this.call = call;
      this.options = read;
      this.format = formatterOf("NumberFormat", data, read);
    }

    /** The value as formatjs takes it; refused where formatjs is known to differ from Node. */
    value(value) {
      if (typeof value === "bigint") return value;
      const number = Number(value);
      if (typeof value === "string" && value.replace(/\D/g, "").length > 15) refuse(`${this.call} of the text '${value}'`, "pass a number or a BigInt");
      const { style = "decimal", currencyDisplay, currencySign, minimumFractionDigits } = this.options;
      const named = style === "currency" || style === "unit";
      if (named && !(Math.abs(number) < 1e21)) refuse(`${this.call} of ${number} with {style: "${style}"}`, "test the number before");
      // The unit's plural depends on the number; formatjs takes that of the whole part in Arabic.
      const isInflected = style === "unit" || currencyDisplay === "name";
      const isFraction = !Number.isInteger(number) || minimumFractionDigits > 0;
      if (this.data === "sw" && currencyDisplay === "name") refuse(`${this.call} with {currencyDisplay: "name"}`, 'use {currencyDisplay: "code"}');
      if (this.data === "ar" && named && (currencySign === "accounting" || (isInflected && isFraction)))
        refuse(`${this.call} of ${number} with {style: "${style}"}`, 'use {style: "decimal"}, and add the unit yourself');
      return number;
    }
  }

  // --- numbers without a locale -----------------------------------------------------------------

  const grouped = (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ",");

  // As ICU: the shortest digits that identify the number, rounded half away from zero to three places.
  function plainNumber(number) {
    if (!Number.isFinite(number)) return Number.isNaN(number) ? "NaN" : number < 0 ? "-∞" : "∞";
    const [mantissa, exponent = "0"] = String(Math.abs(number)).split("e");
    const [whole, fraction = ""] = mantissa.split(".");
    const point = whole.length + Number(exponent);
    const digits = (whole + fraction).padEnd(point + 4, "0").padStart(whole.length + fraction.length + Math.max(0, -point), "0");
    const truncated = digits.slice(0, Math.max(point, 0) + 3).padStart(4, "0");
    const isUp = digits[Math.max(point, 0) + 3] >= "5";
    const scaled = String(BigInt(truncated) + (isUp ? 1n : 0n)).padStart(4, "0");
    const decimals = scaled.slice(-3).replace(/0+$/, "");
    const sign = number < 0 || Object.is(number, -0) ? "-" : "";
    return sign + grouped(scaled.slice(0, -3)) + (decimals && `.${decimals}`);
  }

  const plainBigInt = (value) => (value < 0n ? "-" : "") + grouped(String(value < 0n ? -value : value));

  // --- dates ------------------------------------------------------------------------------------

  const DATE_PARTS = ["weekday", "year", "month", "day"];
  const TIME_PARTS = ["hour", "minute", "second"];
  const WORDS = ["long", "short"];
  const DIGITS = ["numeric", "2-digit"];
  const STYLES = ["full", "long", "medium", "short"];
  const DATE_OPTIONS = {
    localeMatcher: ["best fit", "lookup"],
    formatMatcher: ["best fit"],
    calendar: ["gregory"],
    numberingSystem: ["latn"],
    timeZone: () => true,
    weekday: WORDS,
    era: [],
    year: DIGITS,
    month: [...DIGITS, ...WORDS],
    day: DIGITS,
    dayPeriod: [],
    hour: DIGITS,
    minute: DIGITS,
    second: DIGITS,
    fractionalSecondDigits: [],
    hour12: [true, false],
    hourCycle: ["h23"],
    timeZoneName: ["short", "long"],
    dateStyle: STYLES,
    timeStyle: STYLES,
  };
  // Which parts a function adds where none of its own is asked for.
  const DEFAULTS = {
    toLocaleString: { unless: [...DATE_PARTS, ...TIME_PARTS], add: ["year", "month", "day", ...TIME_PARTS] },
    toLocaleDateString: { unless: DATE_PARTS, add: ["year", "month", "day"], excludes: "timeStyle" },
    toLocaleTimeString: { unless: TIME_PARTS, add: TIME_PARTS, excludes: "dateStyle" },
    "Intl.DateTimeFormat": { unless: [...DATE_PARTS, ...TIME_PARTS], add: ["year", "month", "day"] },
  };
  // What to write instead, in a pattern of date-fns, for the locales that are asked for most.
  const PATTERNS = { de: "dd.MM.yyyy", nl: "dd-MM-yyyy", it: "dd/MM/yyyy", nb: "dd.MM.yyyy", da: "dd.MM.yyyy", fi: "d.M.yyyy", ja: "yyyy/M/d", zh: "yyyy/M/d" };
  const dateInstead = (tag) => `use date-fns format(date, '${PATTERNS[String(tag).slice(0, 2).toLowerCase()] ?? "yyyy-MM-dd"}')`;

  const textKey = (options, names) => names.filter((name) => name in options).map((name) => `${name}=${options[name]}`).join();
  const STYLE_KEYS = ["dateStyle", "timeStyle", "hour12", "hourCycle"];
  const TIME_KEYS = [...TIME_PARTS, "hour12", "hourCycle", "timeZoneName"];

  const hasBit = (hex, at) => at >= 0 && ((parseInt(hex[at >> 2] ?? "0", 16) >> (at & 3)) & 1) === 1;

  /** True where formatjs was seen to format these options as Node does. */
  function agrees(data, options) {
    const { styleKeys, dateKeys, timeKeys, locales } = agreement;
    if (options.dateStyle || options.timeStyle) return hasBit(locales[data].styles, styleKeys.indexOf(textKey(options, STYLE_KEYS)));
    const date = dateKeys.indexOf(textKey(options, DATE_PARTS));
    const hasTime = TIME_PARTS.some((part) => part in options);
    const time = timeKeys.indexOf(textKey(options, hasTime ? TIME_KEYS : ["timeZoneName"]));
    return date >= 0 && time >= 0 && hasBit(locales[data].parts, date * timeKeys.length + time);
  }

  const FIRST_MS = 0; // 1970: before, zones had offsets of minutes and seconds
  const FIRST_NAMED_MS = Date.UTC(2020, 0, 1); // before, some zones had other names
  const LAST_MS = Date.UTC(2037, 0, 1); // the zone data of formatjs ends here
  const [YEAR_1000, YEAR_10000] = [Date.UTC(1000, 0, 1), Date.UTC(10000, 0, 1)];

  // The data of formatjs for these three differ from Node's (vendor/agreement.js).
  const ZONE_NAMES = "the time zones are UTC and those of Africa and Asia, without Africa/Casablanca, Africa/El_Aaiun and Asia/Tehran";

  const zoneNameOf = ({ timeZoneName, timeStyle }) => timeZoneName ?? { full: "long", long: "short" }[timeStyle];

  class Dates {
    constructor(name, locales, options) {
      const { tag, data } = localeOf(name, locales, dateInstead);
      this.call = `${name}(${written(locales)})`;
      const read = this.withDefaults(name, optionsOf(this.call, options, DATE_OPTIONS));
      checkFormats(name, locales);
      const zone = this.zoneOf(read.timeZone ?? "UTC");
      const { localeMatcher, formatMatcher, calendar, numberingSystem, timeZone, ...asked } = read;
      if (!agrees(data, asked) || !this.hasZoneName(data, zone, asked)) this.refuseOptions(asked);
      this.tag = tag;
      this.zone = zone;
      this.isNamed = zoneNameOf(asked) !== undefined;
      this.format = formatterOf("DateTimeFormat", data, { ...asked, timeZone: zone });
    }

    withDefaults(name, options) {
      const { unless, add, excludes } = DEFAULTS[name];
      if (excludes in options) throw new TypeError(`Invalid option : ${excludes}`);
      if (options.dateStyle || options.timeStyle || unless.some((part) => part in options)) return options;
      return { ...options, ...Object.fromEntries(add.map((part) => [part, "numeric"])) };
    }

    refuseOptions(options) {
      if (options.hour12 === false) refuse(`${this.call} with {hour12: false}`, 'use {hourCycle: "h23"}');
      refuse(`${this.call} with ${stringify(options)}`, "use dateStyle and timeStyle, or date-fns format()");
    }

    zoneOf(name) {
      const known = agreement.zones[String(name).toLowerCase()];
      if (known === undefined) refuse(`${this.call} with {timeZone: ${stringify(name)}}`, ZONE_NAMES);
      return known.name;
    }

    hasZoneName(data, zone, options) {
      const named = zoneNameOf(options);
      return named === undefined || agreement.locales[data].zoneNames[named].includes(zone);
    }

    /** The time in milliseconds; refused where the calendar or the zone's data ends. */
    time(value) {
      const time = value === undefined ? Date.now() : Number(value);
      if (Number.isNaN(time) || Math.abs(time) > 8.64e15) throw new RangeError("Invalid time value");
      const [first, last] = this.zone === "UTC" ? [YEAR_1000, YEAR_10000] : [this.isNamed ? FIRST_NAMED_MS : FIRST_MS, LAST_MS];
      if (time < first || time >= last) refuse(`${this.call} of a date outside ${new Date(first).getUTCFullYear()} to ${new Date(last - 1).getUTCFullYear()} in ${this.zone}`, "use toISOString()");
      return time;
    }

    text(value) {
      return this.format.format(this.time(value)).replace(NARROW_SPACES, " ");
    }
  }

  // V8 writes plain spaces where CLDR has narrow no-break spaces, but not in parts.
  const NARROW_SPACES = /\u202f/g;

  const two = (number) => String(number).padStart(2, "0");
  const plainDay = (date) => `${date.getMonth() + 1}/${date.getDate()}/${date.getFullYear()}`;
  const plainTime = (date) => `${date.getHours() % 12 || 12}:${two(date.getMinutes())}:${two(date.getSeconds())} ${date.getHours() < 12 ? "AM" : "PM"}`;
  const PLAIN = {
    toLocaleString: (date) => `${plainDay(date)}, ${plainTime(date)}`,
    toLocaleDateString: plainDay,
    toLocaleTimeString: plainTime,
  };

  function plainDate(name, date) {
    if (date.getTime() < YEAR_1000 || date.getTime() >= YEAR_10000) refuse(`${name}() of a date outside 1000 to 9999`, "use toISOString()");
    return PLAIN[name](date);
  }

  // --- order of text ----------------------------------------------------------------------------

  const COLLATION_OPTIONS = {
    localeMatcher: ["best fit", "lookup"],
    usage: ["sort"],
    numeric: [true, false],
    sensitivity: ["base", "accent", "case", "variant"],
    caseFirst: ["false"],
    ignorePunctuation: [false],
    collation: ["default"],
  };
  const ROOT_ORDER = ["en", "en-GB", "en-CA", "fr", "pt", "sw"];
  const collationInstead = () => "leave the locale out for the order of the Unicode root, or compare with < and >";

  /** Returns compare(a, b), which is negative, zero or positive as Node's. */
  function comparer(name, locales, options) {
    const { data } = localeOf(name, locales, collationInstead);
    if (!ROOT_ORDER.includes(data)) refuse(`${name}(${written(locales)})`, `${data} has an order of its own; ${collationInstead()}`);
    const { numeric = false, sensitivity = "variant" } = optionsOf(`${name}(${written(locales)})`, options, COLLATION_OPTIONS);
    return (a, b) => compare(name, String(a), String(b), numeric, sensitivity);
  }

  const ASCII_WORD = /^[a-z]*$/;

  function compare(name, a, b, numeric, sensitivity) {
    if (a === b) return 0;
    // Lower-case letters are ordered by their codes.
    if (ASCII_WORD.test(a) && ASCII_WORD.test(b)) return a < b ? -1 : 1;
    const [left, right] = [keyOf(name, a, numeric), keyOf(name, b, numeric)];
    for (const level of collation.levels[sensitivity]) if (left[level] !== right[level]) return left[level] < right[level] ? -1 : 1;
    return 0;
  }

  // A key has a text for each level, whose characters are the weights: texts compare fast.
  const LEVELS = ["primary", "secondary", "tertiary", "case"];
  const emptyKey = () => ({ primary: "", secondary: "", tertiary: "", case: "" });
  const DIGIT_STEP = 256; // between two primary weights there is room for numbers
  const weightsOf = ([primary, secondary, tertiary, letterCase]) => [primary * DIGIT_STEP, secondary * 100, tertiary, letterCase];

  const CHARACTERS = new Map();
  for (const [char, elements] of Object.entries(collation.elements)) {
    const key = emptyKey();
    for (const element of elements)
      weightsOf(element).forEach((weight, level) => {
        if (weight) key[LEVELS[level]] += String.fromCharCode(weight);
      });
    CHARACTERS.set(char, key);
  }

  // Sorting compares each text many times.
  const KEYS_LIMIT = 4096;
  const keys = { true: new Map(), false: new Map() };

  function keyOf(name, text, numeric) {
    const known = keys[numeric].get(text);
    if (known) return known;
    const key = makeKey(name, text, numeric);
    if (keys[numeric].size >= KEYS_LIMIT) keys[numeric].clear();
    keys[numeric].set(text, key);
    return key;
  }

  function makeKey(name, text, numeric) {
    const key = emptyKey();
    const pieces = numeric ? (text.normalize("NFD").match(/\d+|[^\d]/gu) ?? []) : text.normalize("NFD");
    for (const piece of pieces) {
      const part = numeric && /^\d/.test(piece) ? numberKey(name, piece) : CHARACTERS.get(piece);
      if (!part) refuse(`${name}() of '${piece}'`, "only Latin text has an order here; compare with < and >");
      for (const level of LEVELS) key[level] += part[level];
    }
    return key;
  }

  const DIGITS_LIMIT = 200;

  // The value of a run of digits: its length without leading zeros, then its digits.
  function numberKey(name, digits) {
    const significant = digits.replace(/^0+(?=\d)/, "");
    if (significant.length > DIGITS_LIMIT) refuse(`${name}() of ${significant.length} digits with {numeric: true}`, "compare BigInt values");
    const first = collation.digit * DIGIT_STEP;
    const weights = [first + significant.length, ...Array.from(significant, (digit) => first + Number(digit))];
    return { ...CHARACTERS.get("0"), primary: String.fromCharCode(...weights) };
  }

  // --- functions of the language ----------------------------------------------------------------

  const define = (target, name, value) => Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: false });
  const methods = (target, functions) => {
    for (const [name, value] of Object.entries(functions)) define(target, name, value);
  };

  const caseLocale = (name, locales) => locales === undefined || localeOf(name, locales, () => `use ${name.replace("Locale", "")}()`);
  const { toLowerCase, toUpperCase } = String.prototype;
  const isPlain = (locales, options) => options === undefined && (locales === undefined || locales === "en-US");

  methods(String.prototype, {
    localeCompare(that, locales, options) {
      if (this === undefined || this === null) throw new TypeError("String.prototype.localeCompare called on null or undefined");
      if (isPlain(locales, options)) return compare("localeCompare", String(this), String(that), false, "variant");
      return comparer("localeCompare", locales, options)(this, that);
    },
    toLocaleUpperCase(locales) {
      caseLocale("toLocaleUpperCase", locales);
      return toUpperCase.call(this);
    },
    toLocaleLowerCase(locales) {
      caseLocale("toLocaleLowerCase", locales);
      return toLowerCase.call(this);
    },
  });

  const { valueOf: numberOf } = Number.prototype;
  const { valueOf: bigintOf } = BigInt.prototype;
  const { valueOf: timeOf } = Date.prototype;

  function formatNumber(value, locales, options) {
    const numbers = new Numbers("toLocaleString", locales, options);
    return numbers.format.format(numbers.value(value));
  }

  define(Number.prototype, "toLocaleString", {
    toLocaleString(locales, options) {
      const value = numberOf.call(this);
      return isPlain(locales, options) ? plainNumber(value) : formatNumber(value, locales, options);
    },
  }.toLocaleString);
  define(BigInt.prototype, "toLocaleString", {
    toLocaleString(locales, options) {
      const value = bigintOf.call(this);
      return isPlain(locales, options) ? plainBigInt(value) : formatNumber(value, locales, options);
    },
  }.toLocaleString);

  for (const name of Object.keys(PLAIN))
    define(Date.prototype, name, {
      [name](locales, options) {
        const time = timeOf.call(this);
        if (Number.isNaN(time)) return "Invalid Date";
        return isPlain(locales, options) ? plainDate(name, this) : new Dates(name, locales, options).text(time);
      },
    }[name]);

  // The engine's own does not pass its arguments on.
  /** @this {any} */
  function listToLocaleString(locales, options) {
    return Array.from(this, (item) => (item === undefined || item === null ? "" : String(item.toLocaleString(locales, options)))).join();
  }
  for (const prototype of [Array.prototype, Object.getPrototypeOf(Uint8Array.prototype)])
    define(prototype, "toLocaleString", { toLocaleString(locales, options) { return listToLocaleString.call(this, locales, options); } }.toLocaleString);

  // --- Intl -------------------------------------------------------------------------------------

  if (!formatjs) return;

  const inner = new WeakMap(); // a job's object -> what answers for it

  /** Makes a class of Intl, which can be called without `new` too. */
  function intlClass(name, make, members) {
    /** @type {any} */
    const type = {
      [name]: /** @this {any} */ function (locales, options) {
        if (!new.target) return new type(locales, options);
        inner.set(this, make(`Intl.${name}`, locales, options));
      },
    }[name];
    for (const [member, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(members)))
      Object.defineProperty(type.prototype, member, { ...descriptor, enumerable: false });
    Object.defineProperty(type.prototype, Symbol.toStringTag, { value: `Intl.${name}`, configurable: true });
    define(type, "supportedLocalesOf", () => refuse(`Intl.${name}.supportedLocalesOf()`, `the locales are ${LOCALE_NAMES}`));
    return type;
  }

  // The options that are known for certain; each other one is refused when it is read.
  function resolved(call, known, others) {
    for (const name of others)
      if (!(name in known)) Object.defineProperty(known, name, { get: () => refuse(`${call}.resolvedOptions().${name}`, "keep the option that you passed"), enumerable: true });
    return known;
  }

  const noRange = (name, instead) => () => refuse(name, instead);

  const NumberFormat = intlClass("NumberFormat", (...args) => new Numbers(...args), {
    get format() {
      const numbers = inner.get(this);
      return (value) => numbers.format.format(numbers.value(value));
    },
    formatToParts(value) {
      const numbers = inner.get(this);
      if (numbers.data === "ar") refuse("Intl.NumberFormat('ar').formatToParts()", "use format()");
      return numbers.format.formatToParts(numbers.value(value));
    },
    formatRange: noRange("Intl.NumberFormat.formatRange()", "format both numbers"),
    formatRangeToParts: noRange("Intl.NumberFormat.formatRangeToParts()", "format both numbers"),
    resolvedOptions() {
      return resolved("Intl.NumberFormat", { locale: inner.get(this).tag, numberingSystem: "latn" }, Object.keys(NUMBER_OPTIONS));
    },
  });

  const DateTimeFormat = intlClass("DateTimeFormat", (...args) => new Dates(...args), {
    get format() {
      const dates = inner.get(this);
      return (value) => dates.text(value);
    },
    formatToParts(value) {
      const dates = inner.get(this);
      return dates.format.formatToParts(dates.time(value));
    },
    formatRange: noRange("Intl.DateTimeFormat.formatRange()", "format both dates"),
    formatRangeToParts: noRange("Intl.DateTimeFormat.formatRangeToParts()", "format both dates"),
    resolvedOptions() {
      const { tag, zone } = inner.get(this);
      const known = { locale: tag, calendar: "gregory", numberingSystem: "latn", timeZone: agreement.zones[zone.toLowerCase()].canonical };
      return resolved("Intl.DateTimeFormat", known, Object.keys(DATE_OPTIONS));
    },
  });

  const PLURAL_OPTIONS = { localeMatcher: ["best fit", "lookup"], type: ["cardinal", "ordinal"], minimumFractionDigits: [0, 1, 2] };
  const OTHER_DIGITS = ["minimumIntegerDigits", "maximumFractionDigits", "minimumSignificantDigits", "maximumSignificantDigits", "notation"];
  for (const name of OTHER_DIGITS) PLURAL_OPTIONS[name] = [];

  function plurals(name, locales, options) {
    const { tag, data } = localeOf(name, locales, () => "write the rule out");
    const { localeMatcher, ...asked } = optionsOf(`${name}(${written(locales)})`, options, PLURAL_OPTIONS);
    return { tag, data, asked, rules: formatterOf("PluralRules", data, asked) };
  }

  const PluralRules = intlClass("PluralRules", plurals, {
    select(value) {
      const { data, asked, rules } = inner.get(this);
      const number = Number(value);
      if (!(Math.abs(number) < 1e21) || (data === "ar" && (!Number.isInteger(number) || asked.minimumFractionDigits)))
        refuse(`Intl.PluralRules('${data}').select(${number})`, "write the rule out");
      return rules.select(number);
    },
    selectRange: noRange("Intl.PluralRules.selectRange()", "write the rule out"),
    resolvedOptions() {
      return resolved("Intl.PluralRules", { locale: inner.get(this).tag }, Object.keys(PLURAL_OPTIONS));
    },
  });

  const Collator = intlClass("Collator", (name, locales, options) => ({ compare: comparer(name, locales, options) }), {
    get compare() {
      return inner.get(this).compare;
    },
    resolvedOptions() {
      return resolved("Intl.Collator", {}, ["locale", ...Object.keys(COLLATION_OPTIONS)]);
    },
  });

  const REFUSED = {
    DisplayNames: "write the names out",
    DurationFormat: "write the units out",
    ListFormat: "use join()",
    Locale: "pass the tag as a text",
    RelativeTimeFormat: "write the words out",
    Segmenter: "use Array.from(text)",
    getCanonicalLocales: `the locales are ${LOCALE_NAMES}`,
    supportedValuesOf: "write the values out",
  };

  const intl = {};
  methods(intl, { Collator, DateTimeFormat, NumberFormat, PluralRules });
  for (const [name, instead] of Object.entries(REFUSED)) define(intl, name, { [name]: function () { return refuse(`Intl.${name}`, instead); } }[name]);
  Object.defineProperty(intl, Symbol.toStringTag, { value: "Intl", configurable: true });
  define(globalThis, "Intl", intl);

  // Each locale is used once, so that an image holds what its first use makes.
  for (const locale of new Set(LOCALES.values())) {
    new NumberFormat(locale, { style: "currency", currency: "USD" }).format(1.5);
    new DateTimeFormat(locale, { timeZone: "Africa/Nairobi" }).format(0);
    new PluralRules(locale).select(1);
  }
})();
