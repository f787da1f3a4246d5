// Date.parse as V8 has it: the format of the language, then anything that looks like a date in some
// order. Other engines accept other texts, and jobs receive dates in all of them.
//
// The zone of a run is always UTC, so a text without one needs no rules of local time.
(function () {
  "use strict";

  const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
  const HALVES = { am: 0, pm: 12 };
  const ZONES = { ut: 0, utc: 0, z: 0, gmt: 0, est: -5, edt: -4, cst: -6, cdt: -5, mst: -7, mdt: -6, pst: -8, pdt: -7 };
  const SIGNIFICANT_DIGITS = 9;

  const isWithin = (number, low, high) => number >= low && number <= high;
  const isMonth = (number) => isWithin(number, 1, 12);
  const isDay = (number) => isWithin(number, 1, 31);
  const isHour = (number) => isWithin(number, 0, 23);
  const isSixtieth = (number) => isWithin(number, 0, 59);
  const isSign = (token) => token.type === "+" || token.type === "-";

  // --- tokens -----------------------------------------------------------------------------------

  const TOKEN = /(\d+)|([:+.)-])|(\s)|([A-Z[\]\\^_`a-z{|}~\u007f-\uffff](?:(?!\s)[A-Z[\]\\^_`a-z{|}~\u007f-\uffff])*)|(\()|([\s\S])/y;

  function numberToken(digits) {
    const significant = digits.replace(/^0+/, "").slice(0, SIGNIFICANT_DIGITS);
    return { type: "number", number: Number(significant), length: digits.length };
  }

  function wordToken(word) {
    const prefix = word.slice(0, 3).toLowerCase();
    const month = MONTHS.indexOf(prefix);
    if (month >= 0) return { type: "month", value: month + 1 };
    if (word.length > 3) return { type: "word" };
    if (Object.hasOwn(HALVES, prefix)) return { type: "half", value: HALVES[prefix] };
    if (Object.hasOwn(ZONES, prefix)) return { type: "zone", value: ZONES[prefix], isZ: prefix === "z" };
    return { type: prefix === "t" ? "T" : "word" };
  }

  // Where the bracket closes, or the text ends.
  function afterBrackets(text, at) {
    let depth = 0;
    do {
      if (text[at] === "(") depth++;
      if (text[at] === ")") depth--;
      at++;
    } while (depth > 0 && at < text.length);
    return at;
  }

  class Scanner {
    constructor(text) {
      this.text = text;
      this.at = 0;
      this.token = this.scan();
    }

    scan() {
      if (this.at >= this.text.length) return { type: "end" };
      TOKEN.lastIndex = this.at;
      const [whole, digits, symbol, space, word, bracket] = /** @type {RegExpExecArray} */ (TOKEN.exec(this.text));
      this.at = bracket ? afterBrackets(this.text, this.at) : this.at + whole.length;
      if (digits) return numberToken(digits);
      if (word) return wordToken(word);
      return { type: symbol ?? (space ? "space" : "unknown") };
    }

    next() {
      const { token } = this;
      this.token = this.scan();
      return token;
    }

    skip(type) {
      if (this.token.type !== type) return false;
      this.next();
      return true;
    }

    // A number of exactly so many digits that passes the check, or undefined.
    fixed(length, check) {
      const { type, number } = this.token;
      if (type !== "number" || this.token.length !== length || !check(number)) return undefined;
      return this.next().number;
    }
  }

  // --- parts of a date --------------------------------------------------------------------------

  // Of up to three numbers and the name of a month.
  function yearMonthDay(numbers, named, isIso) {
    if (!numbers.length) return null;
    const [first, second = 1, third = 1] = numbers;
    if (isIso || (named === 0 && !isDay(first))) return [first, second, third];
    if (named === 0) return [third, first, second];
    return isDay(first) ? [second, named, first] : [first, named, second];
  }

  const inCentury = (year) => (isWithin(year, 0, 49) ? year + 2000 : isWithin(year, 50, 99) ? year + 1900 : year);

  function milliseconds({ number, length }) {
    const digits = Math.min(length, SIGNIFICANT_DIGITS);
    return Math.floor(digits <= 3 ? number * 10 ** (3 - digits) : number / 10 ** (digits - 3));
  }

  class Parts {
    days = [];
    month = 0;
    isIso = false;
    times = [];
    half = -1;
    sign = 0;
    zoneHour = -1;
    zoneMinute = -1;

    addDay(number) {
      return this.days.length < 3 && this.days.push(number) > 0;
    }

    addTime(number) {
      return this.times.length < 4 && this.times.push(number) > 0;
    }

    endTime(number) {
      this.addTime(number);
      while (this.times.length < 4) this.times.push(0);
    }

    expectsTime(number) {
      const { length } = this.times;
      return ((length === 1 || length === 2) && isSixtieth(number)) || (length === 3 && isWithin(number, 0, 999));
    }

    setZone(hours) {
      this.sign = hours < 0 ? -1 : 1;
      this.zoneHour = Math.abs(hours);
      this.zoneMinute = 0;
    }

    value() {
      const date = yearMonthDay(this.days, this.month, this.isIso);
      const time = this.time();
      if (date === null || time === null || !isMonth(date[1]) || !isDay(date[2])) return NaN;
      const year = this.isIso ? date[0] : inCentury(date[0]);
      const start = new Date(0).setUTCFullYear(year, date[1] - 1, date[2]);
      const offset = this.sign * (Math.max(this.zoneHour, 0) * 60 + Math.max(this.zoneMinute, 0));
      return new Date(start + time - offset * 60_000).getTime();
    }

    time() {
      const [written = 0, minute = 0, second = 0, millisecond = 0] = this.times;
      if (this.half >= 0 && !isWithin(written, 0, 12)) return null;
      const hour = this.half >= 0 ? (written % 12) + this.half : written;
      const isMidnight = hour === 24 && minute === 0 && second === 0 && millisecond === 0;
      const isTime = isHour(hour) && isSixtieth(minute) && isSixtieth(second) && isWithin(millisecond, 0, 999);
      return isTime || isMidnight ? ((hour * 60 + minute) * 60 + second) * 1000 + millisecond : null;
    }
  }

  // --- the language's own format ----------------------------------------------------------------

  const INVALID = { type: "invalid" };
  const END = { type: "end" };
  const any = () => true;

  // The first token that is not of the format, for the other parser, or an end.
  function readIso(scanner, parts) {
    const rest = readIsoDate(scanner, parts);
    if (rest !== null) return rest;
    if (scanner.token.type !== "T") {
      if (scanner.token.type !== "end") return scanner.next();
    } else if (!readIsoTime(scanner, parts) || !readIsoZone(scanner, parts) || scanner.token.type !== "end") {
      return INVALID;
    }
    if (!parts.sign && !parts.times.length) parts.setZone(0);
    parts.isIso = true;
    return END;
  }

  function readIsoDate(scanner, parts) {
    if (isSign(scanner.token)) {
      const sign = scanner.next();
      const year = scanner.fixed(6, any);
      if (year === undefined || (sign.type === "-" && year === 0)) return sign;
      parts.addDay(sign.type === "-" ? -year : year);
    } else {
      const year = scanner.fixed(4, any);
      if (year === undefined) return scanner.next();
      parts.addDay(year);
    }
    for (const check of [isMonth, isDay]) {
      if (!scanner.skip("-")) break;
      const number = scanner.fixed(2, check);
      if (number === undefined) return scanner.next();
      parts.addDay(number);
    }
    return null;
  }

  function readIsoTime(scanner, parts) {
    scanner.next();
    const hour = scanner.fixed(2, (number) => isWithin(number, 0, 24));
    const isRest = (number) => isSixtieth(number) && (hour !== 24 || number === 0);
    const minute = hour !== undefined && scanner.skip(":") ? scanner.fixed(2, isRest) : undefined;
    if (minute === undefined) return false;
    parts.times.push(hour, minute);
    if (!scanner.skip(":")) return true;
    const second = scanner.fixed(2, isRest);
    if (second === undefined) return false;
    parts.addTime(second);
    if (!scanner.skip(".")) return true;
    const { type, number } = scanner.token;
    if (type !== "number" || (hour === 24 && number > 0)) return false;
    parts.addTime(milliseconds(scanner.next()));
    return true;
  }

  function readIsoZone(scanner, parts) {
    if (scanner.token.isZ) {
      scanner.next();
      parts.setZone(0);
      return true;
    }
    if (!isSign(scanner.token)) return true;
    parts.sign = scanner.next().type === "-" ? -1 : 1;
    const both = scanner.fixed(4, (number) => isHour(Math.floor(number / 100)) && isSixtieth(number % 100));
    const hour = both === undefined ? scanner.fixed(2, isHour) : Math.floor(both / 100);
    const minute = both !== undefined ? both % 100 : hour !== undefined && scanner.skip(":") ? scanner.fixed(2, isSixtieth) : undefined;
    if (minute === undefined) return false;
    parts.zoneHour = hour;
    parts.zoneMinute = minute;
    return true;
  }

  // --- anything else ----------------------------------------------------------------------------

  function readNumber(scanner, parts, { number }) {
    if (scanner.skip(":")) {
      if (scanner.skip(":")) return !parts.times.length && parts.addTime(number) && parts.addTime(0);
      const isAdded = parts.addTime(number);
      scanner.skip(".");
      return isAdded;
    }
    if (scanner.skip(".") && parts.expectsTime(number)) {
      parts.addTime(number);
      if (scanner.token.type !== "number") return false;
      parts.endTime(milliseconds(scanner.next()));
      return true;
    }
    if (parts.zoneHour >= 0 && parts.zoneMinute < 0 && isSixtieth(number)) {
      parts.zoneMinute = number;
      return true;
    }
    if (parts.expectsTime(number)) {
      parts.endTime(number);
      return ["end", "space", "+", "-"].includes(scanner.token.type) || Boolean(scanner.token.isZ);
    }
    const isAdded = parts.addDay(number);
    scanner.skip("-");
    return isAdded;
  }

  function readWord(scanner, parts, token, hasNumber) {
    if (token.type === "half" && parts.times.length) parts.half = token.value;
    else if (token.type === "month") {
      parts.month = token.value;
      scanner.skip("-");
    } else if (token.type === "zone" && hasNumber) parts.setZone(token.value);
    else return !hasNumber && scanner.token.type !== "number";
    return true;
  }

  function readOffset(scanner, parts, token) {
    parts.sign = token.type === "-" ? -1 : 1;
    const { number, length } = scanner.token.type === "number" ? scanner.next() : { number: 0, length: 0 };
    if (scanner.token.type === ":") {
      parts.zoneHour = number;
      parts.zoneMinute = -1;
      return true;
    }
    const isHours = length === 1 || length === 2;
    parts.zoneHour = isHours ? number : Math.floor(number / 100);
    parts.zoneMinute = isHours ? 0 : number % 100;
    return isWithin(length, 1, 4);
  }

  function parse(text) {
    const scanner = new Scanner(text);
    const parts = new Parts();
    let token = readIso(scanner, parts);
    if (token === INVALID) return NaN;
    let hasNumber = parts.days.length > 0;
    for (; token.type !== "end"; token = scanner.next()) {
      const isZone = isSign(token) && (parts.times.length || (parts.zoneHour === 0 && parts.zoneMinute === 0));
      if (token.type === "number") {
        hasNumber = true;
        if (!readNumber(scanner, parts, token)) return NaN;
      } else if (["half", "month", "zone", "T", "word"].includes(token.type)) {
        if (!readWord(scanner, parts, token, hasNumber)) return NaN;
      } else if (isZone) {
        hasNumber = true;
        if (!readOffset(scanner, parts, token)) return NaN;
      } else if ((isSign(token) || token.type === ")") && hasNumber) return NaN;
    }
    return parts.value();
  }

  const define = (target, name, value) =>
    Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: false });
  define(Date, "parse", { parse: (text) => parse(String(text)) }.parse);

  for (const name of ["toString", "toTimeString"]) {
    const engineText = Date.prototype[name];
    const method = {
      [name]() {
        const date = engineText.call(this);
        return date === "Invalid Date" ? date : `${date} (Coordinated Universal Time)`;
      },
    }[name];
    define(Date.prototype, name, method);
  }
})();
