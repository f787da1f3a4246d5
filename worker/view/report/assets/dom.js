// Creates every element of the page. Texts only become text nodes, so no text can become markup.
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for.
const UNSAFE = /[\0-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]/gu;
const printable = (text) =>
  String(text).replace(UNSAFE, (character) => `\\x${character.codePointAt(0).toString(16).padStart(2, "0")}`);

function el(name, props = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (key === "onclick" || key === "oninput" || key === "ontoggle") {
      made.addEventListener(key.slice(2), value);
    } else if (value === true) {
      made.setAttribute(key, "");
    } else if (value !== false && value !== null && value !== undefined) {
      made.setAttribute(key, value);
    }
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== "") {
      made.append(child instanceof Node ? child : printable(child));
    }
  }
  return made;
}

const button = (text, onclick, props = {}) => el("button", { type: "button", onclick, ...props }, text);
const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;

// Renders a long list in batches: 5,000 rows at once would block the page. `reach(n)` renders up to row n.
function portions(holder, total, size, make) {
  let shown = 0;
  const more = el("div", { class: "pager" });
  const reach = (until) => {
    const last = Math.min(total, until);
    const batch = document.createDocumentFragment();
    for (; shown < last; shown += 1) batch.append(make(shown));
    holder.append(batch);
    more.hidden = shown >= total;
    if (!more.hidden) {
      const left = total - shown;
      const text = `Show ${Math.min(size, left).toLocaleString("en")} more of ${left.toLocaleString("en")}`;
      more.replaceChildren(button(text, () => reach(shown + size)));
    }
  };
  reach(size);
  return { more, reach: (index) => index >= shown && reach(Math.ceil((index + 1) / size) * size) };
}

// A section that folds. Its content is created when it is first opened, because states are large.
// Whether it is open is kept by key, so the next step shows the same sections.
const opened = new Map();
function part(key, title, aside, make, open) {
  const inside = el("div", { class: "inside" });
  const fill = () => inside.childNodes.length || inside.append(...[make()].flat());
  const start = opened.get(key) ?? open;
  if (start) fill();
  const summary = el("summary", {}, title, aside ? el("span", { class: "quietly" }, ` ${aside}`) : null);
  const made = el("details", { class: "part", open: start, "data-part": key }, summary, inside);
  summary.addEventListener("click", () => opened.set(key, !made.open));
  made.addEventListener("toggle", () => made.open && fill());
  return made;
}
