// Derives the Unicode root order of Latin text from the ICU in Node, by comparisons only.
// Writes vendor/collation.js. tests/data/locale.jsonl has comparisons of all pairs of a list of words.
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const out = join(dirname(fileURLToPath(import.meta.url)), "../../worker/sandbox/javascript/vendor");

const comparer = (sensitivity) => new Intl.Collator("en-US", { sensitivity }).compare;
const [base, accent, letterCase, variant] = ["base", "accent", "case", "variant"].map(comparer);

const range = (from, to) => Array.from({ length: to - from }, (_, at) => String.fromCodePoint(from + at));
const MARKS = [..."\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u0309\u030a\u030b\u030c\u031b\u0323\u0324\u0326\u0327\u0328\u032d\u0330\u0331\u0335\u0338"];
const PUNCTUATION = [..."‐‑‒–—―‘’‚“”„†‡•‰′‹›€−√≤≥"];
const AFRICAN = [..."ɓƁɗƊƙƘŋŊɛƐɔƆǝƎ"];
// Contractions, or with weights that comparisons do not reveal.
const EXCLUDED = new Set([..."·ÐðſĿŀŉĳĲ¼½¾"]);
const EXPANSIONS = { æ: "ae", Æ: "AE", œ: "oe", Œ: "OE", ß: "ss", "…": "..." };

const isSingle = (char) => char.normalize("NFD") === char && !(char in EXPANSIONS) && !EXCLUDED.has(char) && !MARKS.includes(char);
const singles = [...range(0, 0x180), ...PUNCTUATION, ...AFRICAN].filter(isSingle);
const ignorable = singles.filter((char) => variant(char, "") === 0);
const others = singles.filter((char) => !ignorable.includes(char));

// Characters that differ in secondary weights only, from a letter with a mark: đ, ø, ł.
const marked = new Map();
for (const char of others)
  for (const letter of "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    for (const mark of MARKS) if (letter.normalize("NFC") !== char && variant(letter + mark, char) === 0) marked.set(char, [letter, mark]);

const primaries = others.filter((char) => !marked.has(char)).sort((a, b) => base(a, b) || variant(a, b));
const elements = {};
for (const char of ignorable) elements[char] = [];

// Secondary weights: those of marks, and those inside æ and œ, and ß.
const inside = { "ae": "æ", "ss": "ß" };
const secondaries = [...MARKS, "æ", "ß"];
const sample = (name) => (MARKS.includes(name) ? (pair) => pair[0] + name + pair[1] : () => name);
const compareSecondary = (a, b) => {
  const pair = Object.keys(inside).find((key) => inside[key] === a || inside[key] === b) ?? "ae";
  return accent(sample(a)(pair), sample(b)(pair));
};
const isLigature = (name) => !MARKS.includes(name);
const marks = [...MARKS].sort(compareSecondary);
const weights = new Map();
marks.forEach((mark, at) => {
  const before = at > 0 && compareSecondary(marks[at - 1], mark) === 0;
  weights.set(mark, before ? weights.get(marks[at - 1]) : 2 + 2 * at);
});
// Two ligatures of different letters never meet, so each is placed among the marks alone.
for (const ligature of secondaries.filter(isLigature)) {
  const same = marks.find((mark) => compareSecondary(ligature, mark) === 0);
  const lower = marks.filter((mark) => compareSecondary(mark, ligature) < 0).length;
  weights.set(ligature, same ? weights.get(same) : 1 + 2 * lower);
}
// Ranks: the weights of a level in order, counted from 1.
const LOWER = 1;
const UPPER = 2;
const COMPATIBLE = 3;
// Some groups, such as quotation marks, differ in secondary weights without a mark.
const secondaryOf = (members, char) => {
  const [group] = members;
  if (accent(group, char) === 0) return 1;
  const lower = marks.filter((mark) => accent(`a${mark}${group}`, `a${char}`) < 0).length;
  return 1.5 + 2 * lower + members.filter((member) => accent(member, char) < 0).length / 100;
};

let rank = 0;
let group = null;
for (const char of primaries) {
  if (group === null || base(group, char) !== 0) {
    rank += 1;
    group = char;
  }
  const isUpper = letterCase(group, char) !== 0;
  const tertiary = variant(group, char) === 0 || accent(group, char) !== 0 ? LOWER : isUpper ? UPPER : COMPATIBLE;
  elements[char] = [[rank, secondaryOf(primaries.filter((member) => base(member, char) === 0), char), tertiary, isUpper ? 2 : 1]];
}

for (const mark of MARKS) elements[mark] = [[0, weights.get(mark), LOWER, 0]];
for (const [char, [letter, mark]] of marked) elements[char] = [...elements[letter], ...elements[mark]];
for (const [char, text] of Object.entries(EXPANSIONS)) {
  const [first, ...rest] = Array.from(text, (part) => elements[part][0]);
  const ligature = text === "ss" ? "ß" : "æ";
  elements[char] = text === "..."
    ? [first, ...rest].map(([primary, secondary]) => [primary, secondary, COMPATIBLE, 1])
    : [first, [0, weights.get(ligature), first[2], 0], ...rest];
}

const collation = {
  levels: { base: ["primary"], accent: ["primary", "secondary"], case: ["primary", "case"], variant: ["primary", "secondary", "tertiary"] },
  digit: elements["0"][0][0],
  elements,
};
const text = JSON.stringify(collation).replace(/\]\],/g, "]],\n");
await writeFile(join(out, "collation.js"), `/* Built by tools/vendor/collation.mjs with ICU ${process.versions.icu}. */\nglobalThis.__collation = ${text};\n`);
console.log(`${Object.keys(elements).length} characters, ${rank} primary weights`);
