// Hears what happens, and asks for the page's own new content: never twice at once, not more often
// than it can be read, and not while nobody looks.
import * as log from "./log.js";
import { morph } from "./morph.js";
import { tick } from "./times.js";

const PAUSE_MS = 500;
// Workers come and go without a word to browsers.
const PATIENCE_MS = 5000;
const pill = document.querySelector("#live");
let wanted = "";
let busy = false;
let asked = 0;
let timer = 0;

function say(state, text) {
  if (pill.textContent !== text) pill.textContent = text;
  pill.dataset.state = state;
}

/** Ask for new content soon: `changed`, or `anew` with the whole log. */
function want(kind) {
  if (wanted !== "anew") wanted = kind;
  schedule();
}

function schedule() {
  if (timer || busy || !wanted || document.hidden) return;
  const wait = Math.max(0, asked + PAUSE_MS - performance.now());
  timer = setTimeout(refresh, wait);
}

async function refresh() {
  timer = 0;
  busy = true;
  asked = performance.now();
  const kind = wanted;
  wanted = "";
  try {
    show(await ask(kind), kind);
    say("on", "live");
  } catch {
    say("wrong", "no answer");
    wanted ||= kind;
    asked = performance.now() + PATIENCE_MS;
  } finally {
    busy = false;
    schedule();
  }
}

async function ask(kind) {
  const answer = await fetch(location.href, { headers: { "x-live": kind }, cache: "no-store" });
  if (answer.status === 401) location.reload();
  if (!answer.ok) throw new Error(answer.statusText);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

function show(fresh, kind) {
  document.title = fresh.title;
  const log_ = fresh.querySelector("#log");
  morph(document.querySelector("main"), fresh.querySelector("main"));
  if (kind === "anew" && log_) log.replace(log_);
  tick();
}

/** Follow what the server tells at an address. */
export function follow(address) {
  say("off", "connecting");
  const source = new EventSource(address);
  source.addEventListener("anew", () => want("anew"));
  source.addEventListener("changed", () => want("changed"));
  source.addEventListener("lines", (told) => {
    if (log.add(JSON.parse(told.data))) want("anew");
  });
  source.addEventListener("error", () => {
    say("wrong", "not connected");
    // Where the server refuses, the browser does not try again by itself.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), PATIENCE_MS);
  });
  document.addEventListener("visibilitychange", schedule);
  const onePart = address.includes("?");
  setInterval(() => {
    if (!onePart && performance.now() > asked + PATIENCE_MS) want("changed");
  }, PATIENCE_MS);
}
