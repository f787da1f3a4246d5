// Globals that adaptors expect and jobs do not have: esbuild replaces their free names by these.
import processObject from "./process.js";
import { webcrypto } from "./crypto.js";
import { performance as clock } from "./perf_hooks.js";
import * as web from "./fetch.js";

export const process = processObject;
export const crypto = webcrypto;
export const performance = clock;
export const { AbortController, AbortSignal, Blob, Event, EventTarget, File, FormData, Headers, Request, Response, fetch } = web;
export const atob = (text) => Buffer.from(String(text), "base64").toString("latin1");
export const btoa = (text) => Buffer.from(String(text), "latin1").toString("base64");
export const queueMicrotask = (callback) => void Promise.resolve().then(callback);
export const console = globalThis.__console;
