// Receives live events, and fetches the page's new content: one request at a time, at a limited rate,
// and only while the page is visible.
import { revealButtons } from "./copy.js";
import * as log from "./log.js";
import { morph } from "./morph.js";
import * as steps from "./steps.js";
import { tick } from "./times.js";

// A list costs the control plane more than a run does, so it is fetched less often.
const RUN_PAUSE_MS = 1000;
const LIST_PAUSE_MS = 1000;
// No event reports that workers connect or leave, so lists are fetched this often without one.
const PATIENCE_MS = 5000;
// An update waits for this many times what the last one took: the page stays usable however large.
const REST = 25;
/** @type {HTMLElement} */
const pill = document.querySelector("#live");
let pause = LIST_PAUSE_MS;
let wanted = "";
let busy = false;
let requestedAt = 0;
let timer = 0;
let rest = 0;
let responds = true;
let polls = false;

function showState(state, text) {
  if (pill.textContent !== text) pill.textContent = text;
  pill.dataset.state = state;
}

/** Fetch new content soon: `changed`, or `reload` with the whole log. */
function requestUpdate(kind) {
  if (wanted !== "reload") wanted = kind;
  schedule();
}

function schedule() {
  if (timer || busy || !wanted || document.hidden) return;
  const wait = Math.max(0, requestedAt + Math.max(pause, rest) - performance.now());
  timer = setTimeout(refresh, wait);
}

async function refresh() {
  timer = 0;
  busy = true;
  requestedAt = performance.now();
  const kind = wanted;
  wanted = "";
  try {
    const text = await fetchPage(kind);
    const began = performance.now();
    show(new DOMParser().parseFromString(text, "text/html"), kind);
    // Called for its effect: the layout is part of the cost.
    document.body.getBoundingClientRect();
    rest = REST * (performance.now() - began);
    showLive();
  } catch {
    showState("wrong", "no response");
    wanted ||= kind;
    requestedAt = performance.now() + PATIENCE_MS;
  } finally {
    busy = false;
    schedule();
  }
}

async function fetchPage(kind) {
  const seen = kind === "changed" ? ` ${steps.seen()}` : "";
  const answer = await fetch(location.href, { headers: { "x-live": kind + seen }, cache: "no-store" });
  if (answer.status === 401) location.reload();
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.text();
}

function showLive() {
  if (responds) showState("on", "live");
  else showState("wrong", "control plane does not respond");
}

function show(fresh, kind) {
  document.title = fresh.title;
  const log_ = fresh.querySelector("#log");
  steps.merge(fresh.querySelector("#steps"));
  morph(document.querySelector("main"), fresh.querySelector("main"));
  if (kind === "reload" && log_) log.replace(log_);
  revealButtons();
  tick();
}

function listen(address) {
  const source = new EventSource(address);
  source.addEventListener("reload", () => requestUpdate("reload"));
  source.addEventListener("changed", () => requestUpdate("changed"));
  source.addEventListener("control", (event) => {
    responds = JSON.parse(event.data);
    showLive();
    if (responds) requestUpdate("reload");
  });
  source.addEventListener("lines", (event) => {
    if (log.add(JSON.parse(event.data))) requestUpdate("reload");
  });
  source.addEventListener("error", () => {
    showState("wrong", "not connected");
    // After an HTTP error (too many open pages) the browser does not reconnect by itself. The page
    // must not reload: people may be typing on it. It is fetched from time to time instead.
    if (source.readyState === EventSource.CLOSED) polls = true;
  });
  return source;
}

/** Follow the events at an address while the page is visible. */
export function follow(address) {
  const ofOne = address.includes("?");
  if (ofOne) pause = RUN_PAUSE_MS;
  showState("off", "connecting");
  let source = null;
  // Browsers allow about six connections to a server: a hidden page must not hold one.
  function followWhileVisible() {
    if (document.hidden) {
      source?.close();
      source = null;
    } else {
      source ??= listen(address);
    }
  }
  document.addEventListener("visibilitychange", followWhileVisible);
  followWhileVisible();
  setInterval(() => {
    if ((!ofOne || polls) && performance.now() > requestedAt + PATIENCE_MS) requestUpdate("changed");
  }, PATIENCE_MS);
}
