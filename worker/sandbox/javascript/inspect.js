// Text of a value in a log line: that of Node's util.inspect on one line, without limits of depth and
// length. Evaluated before the realm, which takes and removes it.
//
// It runs no code of the value: getters and toJSON are not called, proxies are seen through.
(function () {
  "use strict";

  const DEPTH_LIMIT = 200;
  // Log messages have a limit as well; without this one a large state would take seconds.
  const TEXT_LIMIT = 1 << 19;
  const SEPARATOR_LENGTH = 4;
  const BYTES_SHOWN = 50;

  const { getOwnPropertyDescriptor, getPrototypeOf, hasOwn } = Object;
  const { toString: tagText, propertyIsEnumerable: isEnumerable } = Object.prototype;
  const isObject = (value) => (typeof value === "object" && value !== null) || typeof value === "function";

  // The realm turns constructors of intrinsic prototypes into accessors, so names are read before.
  const names = new Map();
  for (const name of Object.getOwnPropertyNames(globalThis)) {
    const value = globalThis[name];
    if (typeof value === "function" && isObject(value.prototype)) names.set(value.prototype, value.name);
  }

  // --- proxies: their targets, which the language does not give ------------------------------------

  const EngineProxy = globalThis.Proxy;
  const targets = new WeakMap();

  function register(proxy, target) {
    targets.set(proxy, target);
    return proxy;
  }

  // Bound functions have no prototype, as Proxy has none.
  const ProxyOfRealm = function (target, handler) {
    if (!new.target) throw new TypeError("Constructor Proxy requires 'new'");
    return register(new EngineProxy(target, handler), target);
  }.bind(undefined);
  const revocable = (target, handler) => {
    const made = EngineProxy.revocable(target, handler);
    register(made.proxy, target);
    return made;
  };
  const properties = { name: "Proxy", length: 2, revocable };
  for (const [name, value] of Object.entries(properties))
    Object.defineProperty(ProxyOfRealm, name, { value, writable: name === "revocable", configurable: true });
  Object.defineProperty(globalThis, "Proxy", { value: ProxyOfRealm, writable: true, configurable: true });

  function targetOf(value) {
    while (targets.has(value)) value = targets.get(value);
    return value;
  }

  // --- texts ------------------------------------------------------------------------------------------

  const NAMED_ESCAPES = { "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", "\\": "\\\\", "'": "\\'" };
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is escaped
  const ESCAPED = /[\0-\x1f'\\\x7f-\x9f]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
  const escapeOf = (char) => {
    const code = char.charCodeAt(0).toString(16);
    return NAMED_ESCAPES[char] ?? (code.length > 2 ? `\\u${code}` : `\\x${code.toUpperCase().padStart(2, "0")}`);
  };

  function quoted(text) {
    const quote = !text.includes("'") ? "'" : !text.includes('"') ? '"' : !/`|\$\{/.test(text) ? "`" : "'";
    return quote + text.replace(ESCAPED, (char) => (char === "'" && quote !== "'" ? char : escapeOf(char))) + quote;
  }

  function primitive(value) {
    if (typeof value === "string") return quoted(value);
    if (typeof value === "bigint") return `${value}n`;
    return Object.is(value, -0) ? "-0" : String(value);
  }

  function keyText(key) {
    if (typeof key === "symbol") return `[${String(key)}]`;
    if (key === "__proto__") return "['__proto__']";
    return /^[a-zA-Z_][a-zA-Z_0-9]*$/.test(key) ? key : quoted(key);
  }

  // --- what an object is --------------------------------------------------------------------------------

  function constructorName(object) {
    for (let prototype = object; prototype !== null; prototype = getPrototypeOf(prototype)) {
      if (names.has(prototype)) return names.get(prototype);
      const made = getOwnPropertyDescriptor(prototype, "constructor")?.value;
      if (typeof made === "function" && made.name) return made.name;
    }
    return null;
  }

  function tagOf(object, name) {
    const own = getOwnPropertyDescriptor(object, Symbol.toStringTag);
    // An enumerable one is shown among the properties.
    const tag = own ? !own.enumerable && own.value : inheritedTag(object);
    return typeof tag === "string" && tag !== "" && tag !== name ? tag : "";
  }

  function inheritedTag(object) {
    for (let prototype = getPrototypeOf(object); prototype !== null; prototype = getPrototypeOf(prototype)) {
      const descriptor = getOwnPropertyDescriptor(prototype, Symbol.toStringTag);
      if (descriptor) return descriptor.value;
    }
    return undefined;
  }

  // "Foo " before the braces; nothing where ``usual`` is the name.
  function prefix(name, tag, usual, size = "") {
    if (name === usual && !tag && size === "") return "";
    const shown = name === null ? `[${usual}${size}: null prototype]` : name + size;
    return `${shown} ${tag ? `[${tag}] ` : ""}`;
  }

  const keysOf = (object) => [
    ...Object.keys(object),
    ...Object.getOwnPropertySymbols(object).filter((key) => isEnumerable.call(object, key)),
  ];
  const isPlain = (value) => getPrototypeOf(value) === Object.prototype && !hasOwn(value, Symbol.toStringTag) && !hasOwn(value, "length");
  const isIndex = (key) => typeof key === "string" && /^(0|[1-9]\d*)$/.test(key) && Number(key) < 2 ** 32 - 1;

  const getter = (prototype, name) => getOwnPropertyDescriptor(prototype, name).get;
  const sizeOfMap = getter(Map.prototype, "size");
  const sizeOfSet = getter(Set.prototype, "size");
  const typeOfArray = getter(getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag);
  const stackOf = getOwnPropertyDescriptor(Error.prototype, "stack")?.get;
  const { getTime, toISOString } = Date.prototype;
  const { forEach: eachOfMap } = Map.prototype;
  const { forEach: eachOfSet } = Set.prototype;
  const { toString: regExpText } = RegExp.prototype;
  const { toString: functionText } = Function.prototype;
  const { isBuffer } = Buffer;
  /** @type {Map<string, Function>} */
  const BOXES = new Map([Number, String, Boolean, BigInt, Symbol].map((Type) => [Type.name, Type.prototype.valueOf]));
  // These methods throw where their object is not of their class, whatever its prototype.
  /** @type {Map<string, Function>} */
  const CHECKS = new Map([
    ...BOXES,
    ["Map", sizeOfMap],
    ["Set", sizeOfSet],
    ["Date", getTime],
    ["RegExp", getter(RegExp.prototype, "source")],
    ["ArrayBuffer", getter(ArrayBuffer.prototype, "byteLength")],
  ]);

  /** Name of the intrinsic class of an object that has a value of its own, else "". */
  function classOf(object) {
    let prototype = object;
    while (prototype !== null && !names.has(prototype)) prototype = getPrototypeOf(prototype);
    const name = prototype === null ? "" : names.get(prototype);
    const method = CHECKS.get(name);
    if (!method) return name.startsWith("Weak") ? name : "";
    try {
      method.call(object);
      return name;
    } catch {
      return "";
    }
  }

  function functionBase(value, name, tag) {
    const source = functionText.call(value);
    const own = getOwnPropertyDescriptor(value, "name")?.value;
    if (source.startsWith("class") && source.endsWith("}")) {
      const parent = getPrototypeOf(value);
      const parentName = typeof parent === "function" && getOwnPropertyDescriptor(parent, "name")?.value;
      const above = parentName ? ` extends ${parentName}` : "";
      return `[class ${own || "(anonymous)"}${above}]`;
    }
    const kind = tag && tag !== "Function" ? tag : (name ?? "Function");
    return `[${kind}${own ? `: ${own}` : " (anonymous)"}]`;
  }

  function errorBase(error, name, indentation) {
    const read = (key) => {
      const own = getOwnPropertyDescriptor(error, key);
      // Inherited names and messages are the language's own accessors, or data of a class.
      return own ? own.value : inherited(error, key);
    };
    const [own, message] = [read("name"), read("message")];
    const stack = hasOwn(error, "stack") ? read("stack") : stackOf?.call(error);
    const title = message === undefined || message === "" ? String(own) : `${String(own)}: ${String(message)}`;
    let text = typeof stack === "string" && stack ? stack : title;
    if (typeof own === "string" && name !== null && name !== own && own.endsWith("Error") && text.startsWith(own))
      text = (name.includes(own) ? name : `${name} [${own}]`) + text.slice(own.length);
    if (!text.includes("\n    at")) text = `[${text}]`;
    return text.replaceAll("\n", `\n${" ".repeat(indentation)}`);
  }

  function inherited(object, key) {
    for (let prototype = getPrototypeOf(object); prototype !== null; prototype = getPrototypeOf(prototype)) {
      const descriptor = getOwnPropertyDescriptor(prototype, key);
      if (descriptor) return names.has(prototype) ? prototype[key] : descriptor.value;
    }
    return undefined;
  }

  // --- formatting -----------------------------------------------------------------------------------------

  class Inspection {
    ancestors = [];
    circular = new Map(); // object that occurs in itself -> its number
    keys = new Map(); // key -> its text
    indentation = 0;
    length = 0;

    value(value) {
      if (!isObject(value)) return this.counted(primitive(value));
      const target = targetOf(value);
      if (this.ancestors.includes(target)) {
        if (!this.circular.has(target)) this.circular.set(target, this.circular.size + 1);
        return `[Circular *${this.circular.get(target)}]`;
      }
      if (this.ancestors.length >= DEPTH_LIMIT) return Array.isArray(target) ? "[Array]" : `[${constructorName(target) ?? "Object"}]`;
      this.ancestors.push(target);
      const text = this.object(target);
      this.ancestors.pop();
      return this.circular.has(target) ? `<ref *${this.circular.get(target)}> ${text}` : text;
    }

    counted(text) {
      this.length += text.length + SEPARATOR_LENGTH;
      return text;
    }

    object(value) {
      // Most values are plain: what follows would take several times as long.
      if (isPlain(value)) return this.joined(this.entries(value, keysOf(value)), "{", "}");
      const name = constructorName(value);
      const tag = tagOf(value, name);
      let keys = keysOf(value);
      if (Array.isArray(value)) {
        keys = keys.filter((key) => !isIndex(key));
        const start = prefix(name, tag, "Array", name === "Array" && !tag ? "" : `(${value.length})`);
        return this.joined([...this.items(value), ...this.entries(value, keys)], `${start}[`, "]");
      }
      if (isBuffer(value)) return this.buffer(value);
      const typed = typeOfArray.call(value);
      if (typed !== undefined) {
        keys = keys.filter((key) => !isIndex(key));
        const items = this.list(Array.from(value));
        return this.joined([...items, ...this.entries(value, keys)], `${prefix(name, "", "", `(${value.length})`)}[`, "]");
      }
      const kind = classOf(value);
      if (kind === "Map") return this.map(value, name, tag, keys);
      if (kind === "Set") return this.set(value, name, tag, keys);
      return this.other(value, kind, name, tag, keys);
    }

    other(value, kind, name, tag, keys) {
      const base = this.base(value, kind, name, tag);
      if (base) {
        if (value instanceof Error) keys = errorKeys(value, keys, base);
        if (kind === "String") keys = keys.filter((key) => !isIndex(key));
        return keys.length ? this.joined(this.entries(value, keys), `${base} {`, "}") : this.counted(base);
      }
      const usual = isArguments(value) ? "[Arguments] " : prefix(name, tag, "Object");
      return this.joined([...contents(value, kind), ...this.entries(value, keys)], `${usual}{`, "}");
    }

    // The text that stands for an object with a value of its own, before its keys; "" for others.
    base(value, kind, name, tag) {
      if (typeof value === "function") return functionBase(value, name, tag);
      if (value instanceof Error) return errorBase(value, name, this.indentation);
      if (kind === "Date") return Number.isNaN(getTime.call(value)) ? "Invalid Date" : toISOString.call(value);
      if (kind === "RegExp") return regExpText.call(value);
      return BOXES.has(kind) ? `[${kind}: ${primitive(BOXES.get(kind).call(value))}]` : "";
    }

    buffer(bytes) {
      return this.counted(`<Buffer ${hex(bytes)}>`);
    }

    map(value, name, tag, keys) {
      const output = [];
      this.indented(() => eachOfMap.call(value, (item, key) => output.push(`${this.value(key)} => ${this.value(item)}`)));
      output.push(...this.entries(value, keys));
      return this.joined(output, `${prefix(name, tag, "Map", `(${sizeOfMap.call(value)})`)}{`, "}");
    }

    set(value, name, tag, keys) {
      const output = [];
      this.indented(() => eachOfSet.call(value, (item) => output.push(this.value(item))));
      output.push(...this.entries(value, keys));
      return this.joined(output, `${prefix(name, tag, "Set", `(${sizeOfSet.call(value)})`)}{`, "}");
    }

    list(values) {
      return values.map((value) => this.value(value));
    }

    items(array) {
      const output = [];
      for (let at = 0; at < array.length; at++) {
        if (this.length > TEXT_LIMIT) return [...output, `... ${array.length - at} more items`];
        if (hasOwn(array, at)) output.push(this.property(array, at));
        else {
          const first = at;
          while (at + 1 < array.length && !hasOwn(array, at + 1)) at++;
          output.push(`<${at - first + 1} empty item${at > first ? "s" : ""}>`);
        }
      }
      return output;
    }

    entries(object, keys) {
      const output = [];
      for (const key of keys) {
        if (this.length > TEXT_LIMIT) return [...output, `... ${keys.length - output.length} more properties`];
        output.push(`${this.counted(this.key(object, key))}: ${this.property(object, key)}`);
      }
      return output;
    }

    key(object, key) {
      if (!isEnumerable.call(object, key)) return `[${String(key)}]`;
      // The objects of a list have the same keys.
      if (!this.keys.has(key)) this.keys.set(key, keyText(key));
      return this.keys.get(key);
    }

    property(object, key) {
      const { get, set, value } = getOwnPropertyDescriptor(object, key);
      if (get || set) return get ? (set ? "[Getter/Setter]" : "[Getter]") : "[Setter]";
      return isObject(value) ? this.indented(() => this.value(value)) : this.counted(primitive(value));
    }

    indented(format) {
      this.indentation += 2;
      const text = format();
      this.indentation -= 2;
      return text;
    }

    joined(output, open, close) {
      if (!output.length) return this.counted(open + close);
      const line = output.join(", ");
      if (!line.includes("\n") && !open.includes("\n")) return `${open} ${line} ${close}`;
      const start = `\n${" ".repeat(this.indentation)}`;
      return `${open}${start}  ${output.join(`,${start}  `)}${start}${close}`;
    }
  }

  const isArguments = (value) =>
    getOwnPropertyDescriptor(value, "length")?.enumerable === false && tagText.call(value) === "[object Arguments]";

  function contents(value, kind) {
    if (kind.startsWith("Weak")) return ["<items unknown>"];
    if (kind !== "ArrayBuffer") return [];
    const bytes = new Uint8Array(value);
    return [`[Uint8Contents]: <${hex(bytes)}>`, `byteLength: ${bytes.length}`];
  }

  // Without what the error's own text has already.
  function errorKeys(error, keys, text) {
    const repeats = (key) => {
      const value = getOwnPropertyDescriptor(error, key).value;
      return key === "stack" || (["name", "message"].includes(key) && typeof value === "string" && text.includes(value));
    };
    const hidden = ["cause", "errors"].filter((key) => hasOwn(error, key) && !keys.includes(key));
    return [...keys.filter((key) => !repeats(key)), ...hidden];
  }

  function hex(bytes) {
    const shown = Array.from(bytes.subarray(0, BYTES_SHOWN), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const more = bytes.length - BYTES_SHOWN;
    return more > 0 ? `${shown} ... ${more} more byte${more > 1 ? "s" : ""}` : shown;
  }

  globalThis.__inspect = (value) => (typeof value === "string" ? value : new Inspection().value(value));
})();
