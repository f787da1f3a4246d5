// A worker made of Phoenix's own client: claims one run, and executes nothing of it.
// node phoenix_client.mjs URL TOKEN prints what the server replied, as JSON.
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";

const require = createRequire(`${process.cwd()}/`);
const { Socket } = require("phoenix");
const WebSocket = require("ws");

const [url, token] = process.argv.slice(2);
const socket = new Socket(url, { params: { token }, transport: WebSocket });
socket.connect();

/** Resolves to the response; a refusal rejects with it. */
const done = (push) =>
  new Promise((resolve, reject) =>
    push
      .receive("ok", resolve)
      .receive("error", (response) => reject(new Error(JSON.stringify(response))))
      .receive("timeout", () => reject(new Error("no reply"))),
  );

const queue = socket.channel("worker:queue", { capacity: 1, queues: { "manual>*": 1 } });
const announced = new Promise((resolve) => queue.on("work-available", resolve));
await done(queue.join());
await announced;
const claimed = await done(queue.push("claim", { demand: 1, worker_name: "phoenix", queues: ["manual", "*"] }));
const run = claimed.runs[0];
const channel = socket.channel(`run:${run.id}`, { token: run.token });
await done(channel.join());
const plan = await done(channel.push("fetch:plan", {}));
const dataclip = await done(channel.push("fetch:dataclip", { id: plan.dataclip_id }));
const refused = await done(channel.push("step:complete", { step_id: "none" })).catch((error) => error.message);
const now = `${Date.now()}`;
const step = { step_id: randomUUID(), job_id: plan.jobs[0].id };
await done(channel.push("run:start", { timestamp: now }));
await done(channel.push("step:start", { ...step, input_dataclip_id: plan.dataclip_id, timestamp: now }));
const output = { output_dataclip_id: randomUUID(), output_dataclip: '{"data":{"n":1}}' };
await done(channel.push("step:complete", { ...step, ...output, reason: "success", timestamp: now }));
await done(
  channel.push("run:complete", {
    reason: "success",
    final_dataclip_id: output.output_dataclip_id,
    timestamp: now,
  }),
);
const closed = new Promise((resolve) => channel.onClose(resolve));
channel.leave();
await closed;
console.log(JSON.stringify({ run: run.id, input: new TextDecoder().decode(dataclip), refused }));
socket.disconnect();
