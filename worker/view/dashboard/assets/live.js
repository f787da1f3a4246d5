// Hears what happens, and asks for the page's own new content: never twice at once, not more often
// than it can be read, and not while nobody looks.
import * as log from "./log.js";
import { morph } from "./morph.js";
import { tick } from "./times.js";

// A run is watched closely; a list costs the control plane more.
const RUN_PAUSE_MS = 500;
const LIST_PAUSE_MS = 1000;
// Workers come and go without a word to browsers.
const PATIENCE_MS = 5000;
const pill = document.querySelector("#live");
let pause = LIST_PAUSE_MS;
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
  const wait = Math.max(0, asked + pause - performance.now());
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

function listen(address) {
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
  return source;
}

/** Follow what the server tells at an address, while somebody looks. */
export function follow(address) {
  const ofOne = address.includes("?");
  if (ofOne) pause = RUN_PAUSE_MS;
  say("off", "connecting");
  let source = null;
  // A browser has few connections to a server, and a page that nobody looks at must not keep one.
  function look() {
    if (document.hidden) {
      source?.close();
      source = null;
    } else {
      source ??= listen(address);
    }
  }
  document.addEventListener("visibilitychange", look);
  look();
  setInterval(() => {
    if (!ofOne && performance.now() > asked + PATIENCE_MS) want("changed");
  }, PATIENCE_MS);
}
