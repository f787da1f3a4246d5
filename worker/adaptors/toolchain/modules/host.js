// Sends requests through the host. Its function is taken from the global before jobs are shut off from it.
const call = globalThis.__host;

const isBytes = (body) => body instanceof ArrayBuffer || ArrayBuffer.isView(body);
const bytesOf = (body) => (body instanceof ArrayBuffer ? Buffer.from(body) : Buffer.from(body.buffer, body.byteOffset, body.byteLength));

async function collected(body) {
  const chunks = [];
  for await (const chunk of body) chunks.push(typeof chunk === "string" ? Buffer.from(chunk) : bytesOf(chunk));
  return Buffer.concat(chunks);
}

/**
 * Return a request's body as {text} or {base64}, with the content type that it implies.
 * @returns {Promise<{ text?: string, base64?: string, type?: string }>}
 */
export async function encoded(body) {
  if (body === undefined || body === null) return {};
  if (typeof body === "string") return { text: body, type: "text/plain;charset=UTF-8" };
  if (body instanceof URLSearchParams) return { text: String(body), type: "application/x-www-form-urlencoded;charset=UTF-8" };
  if (typeof body.__multipart === "function") return body.__multipart();
  if (typeof body.arrayBuffer === "function") return { base64: Buffer.from(await body.arrayBuffer()).toString("base64"), type: body.type };
  if (isBytes(body)) return { base64: bytesOf(body).toString("base64") };
  if (body[Symbol.asyncIterator] || body[Symbol.iterator]) return { base64: (await collected(body)).toString("base64") };
  return { text: String(body) };
}

/**
 * Send a request. Return {status, reason, url, headers: [[name, value]], bytes}.
 * @param {{ method: string, url: string, headers: string[][], body: any, timeout?: number, redirects: number }} request
 */
export async function send({ method, url, headers, body, timeout, redirects }) {
  const { type, ...content } = await encoded(body);
  const pairs = [...headers];
  if (type && !pairs.some(([name]) => name.toLowerCase() === "content-type")) pairs.push(["content-type", type]);
  const reply = JSON.parse(await call("http", JSON.stringify({ method: method.toUpperCase(), url, headers: pairs, ...content, timeout, redirects })));
  if (reply.error) throw Object.assign(new Error(reply.error.message), { name: reply.error.name ?? "Error", code: reply.error.code });
  const bytes = reply.base64 === undefined ? Buffer.from(reply.text ?? "") : Buffer.from(reply.base64, "base64");
  return { ...reply, bytes };
}

/** Headers in any of the shapes that people write, as pairs. */
export function pairsOf(headers) {
  if (!headers) return [];
  if (Array.isArray(headers) && headers.every((one) => typeof one === "string"))
    return headers.flatMap((name, at) => (at % 2 ? [] : [[name, String(headers[at + 1])]]));
  const listed = typeof headers[Symbol.iterator] === "function" ? [...headers] : Object.entries(headers);
  return listed
    .filter(([, value]) => value !== undefined && value !== null)
    .flatMap(([name, value]) => (Array.isArray(value) ? value : [value]).map((one) => [String(name), String(one)]));
}
