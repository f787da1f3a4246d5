// Errors of JSON.parse and of RegExp in V8's words: people search for them, and jobs log them.
(function () {
  "use strict";

  const define = (target, name, value) =>
    Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: false });

  // --- JSON -------------------------------------------------------------------------------------

  const CONTEXT = 10;
  const SPECIAL = ["NaN", "Infinity", "undefined", "[object Object]"];
  const WORDS = { t: "true", f: "false", n: "null" };
  const isDigit = (character) => character >= "0" && character <= "9";

  // Reads a text that is known to be wrong, up to the error.
  class Reader {
    constructor(text) {
      this.text = text;
      this.at = 0;
    }

    get character() {
      return this.text.charAt(this.at);
    }

    fail(message) {
      const before = this.text.slice(0, this.at).split(/\r\n|\r|\n/);
      const column = (before.at(-1)?.length ?? 0) + 1;
      throw `${message} in JSON at position ${this.at} (line ${before.length} column ${column})`;
    }

    unexpected() {
      const { text, at, character } = this;
      if (at >= text.length) throw "Unexpected end of JSON input";
      if (isDigit(character) || character === "-") this.fail("Unexpected number");
      if (character === '"') this.fail("Unexpected string");
      if (SPECIAL.includes(text)) throw `"${text}" is not valid JSON`;
      const isLong = text.length > 2 * CONTEXT;
      const start = isLong && at >= CONTEXT ? at - CONTEXT : 0;
      const end = isLong && at < text.length - CONTEXT ? at + CONTEXT : text.length;
      const shown = `${start ? "..." : ""}"${text.slice(start, end)}"${end < text.length ? "..." : ""}`;
      throw `Unexpected token '${character}', ${shown} is not valid JSON`;
    }

    space() {
      while (this.at < this.text.length && " \t\n\r".includes(this.character)) this.at++;
    }

    skip(character) {
      this.space();
      if (this.character !== character) return false;
      this.at++;
      return true;
    }

    digits(message) {
      if (!isDigit(this.character)) this.fail(message);
      while (isDigit(this.character)) this.at++;
    }

    number() {
      if (this.character === "-") this.at++;
      if (this.character === "0") {
        this.at++;
        if (isDigit(this.character)) this.unexpected();
      } else this.digits("No number after minus sign");
      if (this.character === ".") {
        this.at++;
        this.digits("Unterminated fractional number");
      }
      if (this.character === "e" || this.character === "E") {
        this.at++;
        if (this.character === "+" || this.character === "-") this.at++;
        this.digits("Exponent part is missing a number");
      }
    }

    escape() {
      this.at++;
      if (this.character === "u") {
        for (let count = 0; count < 4; count++) {
          this.at++;
          if (!/^[0-9a-fA-F]$/.test(this.character)) this.fail("Bad Unicode escape");
        }
      } else if (this.at >= this.text.length) this.unexpected();
      else if (!'"\\/bfnrt'.includes(this.character)) this.fail("Bad escaped character");
    }

    string() {
      for (this.at++; this.character !== '"'; this.at++) {
        if (this.at >= this.text.length) this.fail("Unterminated string");
        if (this.character < " ") this.fail("Bad control character in string literal");
        if (this.character === "\\") this.escape();
      }
      this.at++;
    }

    word(word) {
      for (const character of word) {
        if (this.character !== character) this.unexpected();
        this.at++;
      }
    }

    // A value that holds no other.
    scalar() {
      if (this.character === '"') this.string();
      else if (isDigit(this.character) || this.character === "-") this.number();
      else if (Object.hasOwn(WORDS, this.character)) this.word(WORDS[this.character]);
      else this.unexpected();
    }

    key(message) {
      this.space();
      if (this.character !== '"') this.fail(message);
      this.string();
      return this.skip(":");
    }

    // Opens a list or an object; true where it is open, and its first value follows.
    opens(open) {
      if (this.skip("[")) {
        if (this.skip("]")) return false;
        open.push("]");
        return true;
      }
      if (!this.skip("{") || this.skip("}")) return false;
      if (!this.key("Expected property name or '}'")) this.fail("Expected ':' after property name");
      open.push("}");
      return true;
    }

    document() {
      const open = []; // not the engine's stack: texts nest as deeply as they like
      for (;;) {
        this.space();
        const isScalar = this.character !== "[" && this.character !== "{";
        if (isScalar) this.scalar();
        else if (this.opens(open)) continue;
        while (open.length && !this.skip(",")) {
          const close = open.pop();
          if (this.skip(close)) continue;
          this.fail(close === "]" ? "Expected ',' or ']' after array element" : "Expected ',' or '}' after property value");
        }
        if (!open.length) break;
        if (open.at(-1) === "}" && !this.key("Expected double-quoted property name")) this.unexpected();
      }
      this.space();
      if (this.at < this.text.length) this.fail("Unexpected non-whitespace character after JSON");
    }
  }

  function jsonError(text) {
    try {
      new Reader(text).document();
    } catch (message) {
      if (typeof message === "string") return message.replace(" after JSON in JSON at", " after JSON at");
      throw message;
    }
    return "Unexpected end of JSON input";
  }

  const engineParse = JSON.parse;

  function isJson(text) {
    try {
      engineParse(text);
      return true;
    } catch {
      return false;
    }
  }

  const parse = {
    parse(text, reviver) {
      try {
        return engineParse(text, reviver);
      } catch (error) {
        // The reviver may have thrown it.
        if (!(error instanceof SyntaxError) || (reviver !== undefined && isJson(text))) throw error;
        throw new SyntaxError(jsonError(String(text)));
      }
    },
  }.parse;
  define(JSON, "parse", parse);

  const nameOf = (value) => Object.getPrototypeOf(value)?.constructor?.name || "Object";
  const member = (holder, key) => (Array.isArray(holder) ? `index ${key}` : `property '${key}'`);

  // V8 describes the circle: its first three objects and its last.
  function describeCircle(start, links, holders, key) {
    const line = (at) => `\n    |     ${member(holders[at], links[at])} -> object with constructor '${nameOf(holders[at + 1])}'`;
    const all = links.map((_, at) => at);
    const shown = all.length > 3 ? [line(0), line(1), "\n    |     ...", line(all.length - 1)] : all.map(line);
    return `\n    --> starting at object with constructor '${nameOf(start)}'${shown.join("")}\n    --- ${member(holders.at(-1), key)} closes the circle`;
  }

  // Looks for the first circle in the order in which JSON is written.
  function circleOf(root) {
    const seen = new Set();
    const path = [{ value: root, keys: Object.keys(root), at: 0, key: "" }];
    while (path.length) {
      const top = path[path.length - 1];
      if (top.at >= top.keys.length) {
        path.pop();
        continue;
      }
      const key = top.keys[top.at++];
      const child = top.value[key];
      if (typeof child !== "object" || child === null) continue;
      const from = path.findIndex(({ value }) => value === child);
      if (from >= 0) {
        const circle = path.slice(from);
        return describeCircle(child, circle.slice(1).map((link) => link.key), circle.map(({ value }) => value), key);
      }
      if (seen.has(child)) continue;
      seen.add(child);
      path.push({ value: child, keys: Object.keys(child), at: 0, key });
    }
    return ""; // made by toJSON or by a replacer
  }

  const engineStringify = JSON.stringify;
  const stringify = {
    stringify(value, replacer, space) {
      try {
        return engineStringify(value, replacer, space);
      } catch (error) {
        if (!(error instanceof TypeError) || error.message !== "Converting circular structure to JSON") throw error;
        throw new TypeError(`Converting circular structure to JSON${circleOf(value)}`);
      }
    },
  }.stringify;
  define(JSON, "stringify", stringify);

  // --- regular expressions ----------------------------------------------------------------------

  /** @type {Record<string, string>} */
  const REASONS = {
    "expecting ')'": "Unterminated group",
    "expecting ']'": "Unterminated character class",
    "expecting '}'": "Incomplete quantifier",
    "nothing to repeat": "Nothing to repeat",
    "extraneous characters at the end": "Unmatched ')'",
    "unexpected end": "\\ at end of pattern",
    "unterminated character class": "Unterminated character class",
    "invalid group name": "Invalid capture group name",
    "duplicate group name": "Duplicate capture group name",
    "group name not defined": "Invalid named capture referenced",
    "expecting group name": "Invalid named reference",
    "invalid class range": "Range out of order in character class",
    "invalid repetition count": "numbers out of order in {} quantifier",
    "invalid escape sequence in regular expression": "Invalid escape",
    "invalid group": "Invalid group",
    "syntax error": "Lone quantifier brackets",
    "back reference out of range in regular expression": "Invalid escape",
    "unknown unicode property name": "Invalid property name",
    "expecting '{' after \\p": "Invalid property name",
  };

  const EngineRegExp = RegExp;

  function worded(error, pattern, flags) {
    if (!(error instanceof SyntaxError)) return error;
    if (/flags/.test(error.message)) return new SyntaxError(`Invalid flags supplied to RegExp constructor '${flags}'`);
    const source = pattern instanceof EngineRegExp ? pattern.source : String(pattern);
    const isClass = error.message === "unexpected end" && !/(^|[^\\])(\\\\)*\\$/.test(source);
    const reason = isClass ? "Unterminated character class" : (REASONS[error.message] ?? error.message);
    return new SyntaxError(`Invalid regular expression: /${source}/${flags ?? ""}: ${reason}`);
  }

  /** @type {any} */
  const OwnRegExp = function (pattern, flags) {
    try {
      return new.target ? Reflect.construct(EngineRegExp, [pattern, flags], new.target) : EngineRegExp(pattern, flags);
    } catch (error) {
      throw worded(error, pattern, flags);
    }
  };
  Object.defineProperties(OwnRegExp, Object.getOwnPropertyDescriptors(EngineRegExp));
  define(EngineRegExp.prototype, "constructor", OwnRegExp);
  define(globalThis, "RegExp", OwnRegExp);
})();
