// Shows states as folding trees, and the difference of two. A level is created when it is opened.
const LEVEL = 100;
const LONG = 400;

// JSON.parse rounds integers over 2^53. Where the browser passes the source text, keep all digits.
const exact = (_, value, context) =>
  typeof value === "number" && /^-?\d+$/.test(context?.source ?? "") && !Number.isSafeInteger(value)
    ? BigInt(context.source)
    : value;

function readClip(clip) {
  try {
    return { value: JSON.parse(clip.text, exact), cut: clip.cut };
  } catch {
    return { value: clip.text, cut: clip.cut };
  }
}

const isBox = (value) => typeof value === "object" && value !== null;
const entries = (value) =>
  Array.isArray(value) ? value.map((item, at) => [String(at), item]) : Object.entries(value);

function peek(value) {
  if (Array.isArray(value)) return `[${count(value.length, "item")}]`;
  const keys = Object.keys(value);
  const some = keys.slice(0, 4).map((key) => (key.length > 24 ? `${key.slice(0, 24)}…` : key));
  return `{${some.join(", ")}${keys.length > 4 ? `, … ${keys.length} in all` : ""}}`;
}

function leaf(value, cut) {
  if (typeof value !== "string") {
    if (isBox(value)) return el("span", { class: "peek" }, Array.isArray(value) ? "[]" : "{}");
    return el("span", { class: ["number", "bigint"].includes(typeof value) ? "v-number" : "v-word" }, String(value));
  }
  if (cut && value.startsWith(cut)) {
    return el("span", { class: "v-cut" }, `✂ cut here: ${value.slice(cut.length)}`);
  }
  const made = el("span", { class: "v-string" });
  if (value.length <= LONG) {
    made.append(printable(JSON.stringify(value)));
    return made;
  }
  const rest = button(`show all ${value.length.toLocaleString("en")} characters`, () =>
    made.replaceChildren(printable(JSON.stringify(value)))
  );
  made.append(printable(`${JSON.stringify(value.slice(0, LONG)).slice(0, -1)}… `), rest);
  return made;
}

const keyOf = (key, cut) => {
  const isCut = cut && key.startsWith(cut);
  return isCut ? null : [el("span", { class: "key" }, key), ": "];
};

function branch(key, value, cut, open, classes) {
  if (!isBox(value) || entries(value).length === 0) {
    return el("li", { class: classes }, keyOf(key, cut), leaf(value, cut));
  }
  const under = el("ul");
  const fill = () => under.childNodes.length || fillLevel(under, value, cut);
  if (open) fill();
  const summary = el("summary", {}, keyOf(key, cut), el("span", { class: "peek" }, peek(value)));
  const made = el("details", { open }, summary, under);
  made.addEventListener("toggle", () => made.open && fill());
  return el("li", { class: classes }, made);
}

function fillLevel(under, value, cut, open = false) {
  const list = entries(value);
  const { more } = portions(under, list.length, LEVEL, (at) => branch(list[at][0], list[at][1], cut, open));
  if (list.length > LEVEL) under.append(el("li", {}, more));
}

function tree(clip) {
  const { value, cut } = readClip(clip);
  const under = el("ul", { class: "tree" });
  if (isBox(value) && entries(value).length) fillLevel(under, value, cut, clip.text.length < 1500);
  else under.append(el("li", {}, leaf(value, cut)));
  return [cutNote([clip]), under].filter(Boolean);
}

function cutNote(clips) {
  const cut = clips.filter((clip) => clip.cut);
  if (!cut.length) return null;
  const sizes = cut.map((clip) => clip.size.toLocaleString("en")).join(" and ");
  return el("p", { class: "note" }, `Truncated: the state has ${sizes} characters, more than a page can hold.`);
}

// --- the difference ---

function same(a, b) {
  if (!isBox(a) || !isBox(b)) return a === b;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  return keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
}

// Skips the common start and end of two lists, so that one inserted item is one difference.
function pairsOf(a, b) {
  if (!Array.isArray(a)) {
    const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])];
    return keys.map((key) => [key, Object.hasOwn(a, key), a[key], Object.hasOwn(b, key), b[key]]);
  }
  const short = Math.min(a.length, b.length);
  let head = 0;
  while (head < short && same(a[head], b[head])) head += 1;
  let tail = 0;
  while (tail < short - head && same(a[a.length - 1 - tail], b[b.length - 1 - tail])) tail += 1;
  const rows = [];
  for (let at = 0; at < head; at += 1) rows.push([String(at), true, a[at], true, b[at]]);
  for (let at = head; at < Math.max(a.length, b.length) - tail; at += 1) {
    rows.push([String(at), at < a.length - tail, a[at], at < b.length - tail, b[at]]);
  }
  for (let at = tail; at > 0; at -= 1) {
    rows.push([String(b.length - at), true, a[a.length - at], true, b[b.length - at]]);
  }
  return rows;
}

function change(sign, word, key, value, cut) {
  const small = isBox(value) && entries(value).length < 20;
  const made = branch(key, value, cut, small, sign === "+" ? "added" : "dropped");
  (made.querySelector("summary") ?? made).prepend(el("span", { "aria-hidden": "true" }, `${sign} `), el("span", { class: "quiet" }, `${word}: `));
  return made;
}

function differs(a, b, cutA, cutB) {
  const made = [];
  let alike = 0;
  for (const [key, inA, was, inB, is] of pairsOf(a, b)) {
    if (inA && inB && same(was, is)) alike += 1;
    else if (inA && inB && isBox(was) && isBox(is) && Array.isArray(was) === Array.isArray(is)) {
      const under = el("ul", {}, differs(was, is, cutA, cutB));
      const summary = el("summary", {}, el("span", { class: "key" }, key));
      made.push(el("li", {}, el("details", { open: true }, summary, under)));
    } else {
      if (inA) made.push(change("−", "removed", key, was, cutA));
      if (inB) made.push(change("+", "added", key, is, cutB));
    }
    if (made.length > 500) {
      made.push(el("li", { class: "v-cut" }, "✂ more differences than are shown here"));
      return made;
    }
  }
  if (alike) made.push(el("li", { class: "same" }, `${alike.toLocaleString("en")} unchanged`));
  return made;
}

function difference(before, now) {
  const a = readClip(before);
  const b = readClip(now);
  if (same(a.value, b.value)) return el("p", { class: "empty" }, "No difference.");
  const wrapped = isBox(a.value) && isBox(b.value) && Array.isArray(a.value) === Array.isArray(b.value);
  const items = wrapped
    ? differs(a.value, b.value, a.cut, b.cut)
    : [change("−", "removed", "all", a.value, a.cut), change("+", "added", "all", b.value, b.cut)];
  return [cutNote([before, now]), el("ul", { class: "diff" }, items)].filter(Boolean);
}
