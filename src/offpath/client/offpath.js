/**
 * Operations over HTTP, for browsers and Node.js 20+: start, follow, cancel. No dependency, nothing to build.
 *
 *     import { Client } from "/static/offpath.js";
 *     const client = new Client(location.origin, { headers: () => ({ Authorization: `Bearer ${token}` }) });
 *     const report = await client.start("POST", "/api/reports", { json: { title: "May" } });
 *     for await (const event of report.events()) show(event.type, report.progress);
 *     const { url } = await report.result();
 *
 * It behaves as the Python clients beside it do (docs/how-to/client.md), and times are seconds here too.
 *
 * @typedef {Record<string, any>} Json
 * @typedef {{ type: string, id: string, data: any, last: boolean, reset: boolean }} OperationEvent
 *   `id` is "" for what polling found; `data` of "operation.snapshot" and of the last event is the whole operation
 * @typedef {{ first: number, longest: number, patience: number, hold: number, heartbeat: number }} Pace
 *   first: pause after the first failure, doubled each time; longest: of all pauses; patience: how long failures in a
 *   row are borne; hold: what polls ask the server to hold its answer for; heartbeat: longest silence on a stream
 * @typedef {{ headers?: Fields, operations?: string, pace?: Partial<Pace>, timeout?: number,
 *   credentials?: RequestCredentials, fetch?: typeof fetch }} Options
 * @typedef {Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>)} Fields
 */

export const TERMINAL = ["succeeded", "failed", "canceled"];
/** @type {Pace} */
const PACE = { first: 0.5, longest: 60, patience: 300, hold: 25, heartbeat: 15 };
const NAMES = ["snapshot", "queued", "started", "progress", "output", "retrying", "requeued", "canceling", ...TERMINAL];
const AGAIN = new Set([408, 425, 429, 500, 502, 503, 504]); // of a question: the asking failed, not the operation

// ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Everything below extends this. */
export class ClientError extends Error {
  /** @param {string} message @param {ErrorOptions} [options] */
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** No answer; `quiet`: the connection stood, and nothing came. */
export class Unreachable extends ClientError {
  /** @param {string} message @param {boolean} [quiet] */
  constructor(message, quiet = false) {
    super(message);
    this.quiet = quiet;
  }
}

/** The server said no: `status`, and `problem` (RFC 9457). */
export class RequestRefused extends ClientError {
  /** @param {number} status @param {Json} problem */
  constructor(status, problem) {
    super(`${status} ${words(problem)}`);
    this.status = status;
    this.problem = problem;
  }
}

/** The answer is well, but not what this client can use. */
export class UnexpectedAnswer extends ClientError {}

/** A link to another origin: it is not followed, and no credentials go there. */
export class ForeignLink extends ClientError {}

/** Not finished in time; the operation goes on. */
export class ResultTimeout extends ClientError {}

/** Ended without a result: `problem` is its `error`, `operation` the whole resource. */
export class OperationEnded extends ClientError {
  /** @param {Json} operation */
  constructor(operation) {
    super(`operation ${operation.id} ${operation.status}: ${words(operation.error ?? {})}`);
    this.problem = operation.error ?? {};
    this.operation = operation;
  }
}
export class OperationFailed extends OperationEnded {}
export class OperationCanceled extends OperationEnded {}

/** @param {Json} problem */
const words = ({ title, detail, reason }) => [title, detail ?? reason].filter(Boolean).join(": ") || "no reason given";

// ── decisions: values in, values out ─────────────────────────────────────────────────────────────────────────────────

/** A strict decoder of event streams (WHATWG HTML 9.2.6): bytes in pieces of any size in, messages out. */
export class Decoder {
  #text = new TextDecoder(); // takes the byte order mark away, and keeps characters whole
  #rest = "";
  #afterCr = false;
  #id = "";
  #type = "";
  /** @type {string[]} */
  #data = [];
  /** @type {number | null} the pause asked for, ms */
  retry = null;

  /** @param {string} [lastId] */
  constructor(lastId = "") {
    this.lastId = this.#id = lastId;
  }

  /** @param {Uint8Array} piece @returns {{ type: string, data: string, id: string }[]} */
  feed(piece) {
    let text = this.#text.decode(piece, { stream: true });
    if (this.#afterCr && text) {
      if (text[0] === "\n") text = text.slice(1);
      this.#afterCr = false;
    }
    if (text.endsWith("\r")) this.#afterCr = true;
    const lines = text.split(/\r\n|\r|\n/);
    const rest = lines.pop() ?? "";
    const messages = [];
    for (const line of lines) {
      const message = this.#line(this.#rest + line);
      this.#rest = "";
      if (message) messages.push(message);
    }
    this.#rest += rest;
    return messages;
  }

  /** @param {string} line */
  #line(line) {
    if (!line) {
      this.lastId = this.#id;
      const message = this.#data.length
        ? { type: this.#type || "message", data: this.#data.join("\n"), id: this.#id }
        : null;
      this.#type = "";
      this.#data = [];
      return message;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon); // a comment has no name
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.retry = Number(value);
    return null;
  }
}

/**
 * Seconds from `now` (ms since 1970), of either form of Retry-After; null when not said or not understood.
 * @param {string | null} value @param {number} now @returns {number | null}
 */
export function retryAfter(value, now) {
  const text = (value ?? "").trim();
  if (/^[0-9]+$/.test(text)) return Number(text);
  if (!/^[A-Z][a-z]{2,8},? /.test(text)) return null; // Date.parse would read a date into "1.5"
  const at = Date.parse(/GMT$/.test(text) ? text : `${text} GMT`);
  return Number.isNaN(at) ? null : Math.max(0, (at - now) / 1000);
}

/** The pause an answer asks for, 1 s to the longest. @param {Headers} headers @param {number} now @param {Pace} pace */
export function told(headers, now, pace) {
  const seconds = retryAfter(headers.get("retry-after"), now);
  return seconds === null ? null : Math.max(1, Math.min(seconds, pace.longest));
}

/** The pause after so many failures in a row. @param {number} failures @param {number} u @param {Pace} pace */
export function backoff(failures, u, pace) {
  return Math.min(pace.longest, pace.first * 2 ** Math.min(failures - 1, 30)) * (1 - u / 2);
}

/** A link as an absolute URL on the origin of `base`. @param {string} base @param {string} said */
export function follow(base, said) {
  const root = new URL(base);
  let url;
  try {
    url = new URL(said, root);
  } catch {
    url = null;
  }
  if (!url || url.origin !== root.origin || url.username || url.password)
    throw new ForeignLink(`${said} is not on ${root.origin}: links are followed only there`);
  return url.href;
}

/** A path below `base`, or a URL on its origin. @param {string} base @param {string} target */
export function resolve(base, target) {
  const absolute = /^[a-z][a-z0-9+.-]*:|^[/\\]{2}/i.test(target);
  return follow(base, absolute ? target : `${base.replace(/\/+$/, "")}/${target.replace(/^\/+/, "")}`);
}

/** @param {Json} operation */
export const isDone = (operation) =>
  typeof operation.done === "boolean" ? operation.done : TERMINAL.includes(operation.status);

const STATUS = {
  "operation.started": "running",
  "operation.retrying": "queued",
  "operation.requeued": "queued",
  "operation.canceling": "canceling",
};

/** The operation after an event. @param {Json} operation @param {OperationEvent} event @returns {Json} */
export function fold(operation, event) {
  if (typeof event.data !== "object" || event.data === null) return operation;
  if (event.type === "operation.snapshot" || event.last) {
    const { reset, ...rest } = event.data;
    return rest;
  }
  const after = { ...operation };
  if (Object.hasOwn(STATUS, event.type)) after.status = STATUS[/** @type {keyof STATUS} */ (event.type)];
  if (event.type === "operation.progress") {
    after.status = operation.status === "canceling" ? "canceling" : "running";
    const { sequence, at, ...progress } = event.data;
    after.progress = progress;
  }
  if (Number.isInteger(event.data.attempt)) after.attempt = event.data.attempt;
  return after;
}

/** @param {string} type @param {string} id @param {any} data @returns {OperationEvent} */
function eventOf(type, id, data) {
  const last = type.startsWith("operation.") && TERMINAL.includes(type.slice(10));
  return { type, id, data, last, reset: data?.reset === true };
}

/** Data that is no JSON stays text. @param {{ type: string, data: string, id: string }} message */
function eventFrom(message) {
  let data = message.data;
  try {
    data = JSON.parse(message.data);
  } catch {} // as it came
  return eventOf(message.type, message.id, data);
}

/**
 * Whether a start with a key is sent again with the same one.
 * @param {number} status @param {Headers} headers @param {Json} problem
 */
export function startAgain(status, headers, problem) {
  if ([502, 503, 504].includes(status)) return true;
  if (![409, 429].includes(status) || !headers.has("retry-after")) return false;
  return status === 429 || !String(problem.type).endsWith("/held");
}

/** @param {string | null} kind */
const media = (kind) => (kind ?? "").split(";")[0].trim().toLowerCase();
/** @param {string} kind */
const isJson = (kind) => kind === "application/json" || kind.endsWith("+json");
const now = () => performance.now() / 1000;

// ── the client ───────────────────────────────────────────────────────────────────────────────────────────────────────

export class Client {
  /** @param {string | URL} baseUrl the application's root @param {Options} [options] */
  constructor(baseUrl, options = {}) {
    this.base = new URL(baseUrl).href.replace(/\/+$/, "");
    this.operationsPath = options.operations ?? "/operations";
    /** @type {Pace} */
    this.pace = { ...PACE, ...options.pace };
    this.timeout = options.timeout ?? 30;
    this.headers = options.headers ?? {};
    this.credentials = options.credentials ?? "same-origin";
    this.fetch = options.fetch ?? ((/** @type {any} */ ...args) => fetch(...args));
  }

  /**
   * Start an operation. A POST or PATCH carries an Idempotency-Key of its own making and is repeated with it when its
   * answer is lost: the work is done once. `key: false`: none, and then nothing is repeated.
   * TypeError, and nothing is sent: a key that is not 1 to 255 printable ASCII characters without space, quote and \,
   * or a header that is none.
   * @param {string} method @param {string} url
   * @param {{ json?: any, body?: BodyInit, headers?: Record<string, string>, key?: string | false, preferWait?: number,
   *   signal?: AbortSignal }} [options]
   */
  async start(method, url, { json, body, headers = {}, key, preferWait, signal } = {}) {
    method = method.toUpperCase();
    const sent = new Headers({ Accept: "application/json" });
    sent.set("Prefer", preferWait === undefined ? "respond-async" : `respond-async, wait=${Math.floor(preferWait)}`);
    if (json !== undefined) sent.set("Content-Type", "application/json");
    for (const [name, value] of Object.entries(headers)) sent.set(name, value);
    const keyed = key !== false && ["POST", "PATCH"].includes(method);
    if (keyed) sent.set("Idempotency-Key", `"${keyOf(key)}"`);
    const request = { method, headers: sent, body: json === undefined ? body : JSON.stringify(json), signal };
    const again = keyed ? startAgain : null;
    const answer = granted(await this.ask(resolve(this.base, url), request, again, this.timeout + (preferWait ?? 0)));
    if (answer.status !== 202) {
      const result = answer.status === 204 ? null : answer.value();
      return new RemoteOperation(this, "", { id: "", status: "succeeded", done: true, result });
    }
    const document = answer.json() ?? {};
    const header = ["operation-location", "content-location", "location"].find((name) => answer.headers.has(name));
    const where = document.links?.self ?? (header && answer.headers.get(header));
    if (!where) throw new UnexpectedAnswer("202 without a Location: there is no operation to follow");
    const self = follow(this.base, where);
    const known = document.id ? document : { id: self.split("/").pop(), status: "queued", done: false };
    return new RemoteOperation(this, self, known, answer.headers.get("etag") ?? "");
  }

  /** The operation of this id or URL; asks nothing yet. @param {string} name */
  operation(name) {
    const path = name.includes("/") ? name : `${this.operationsPath}/${encodeURIComponent(name)}`;
    return new RemoteOperation(this, resolve(this.base, path), {});
  }

  /** The caller's operations from all pages, newest first. @param {Record<string, string | number>} [filters] */
  async *operations(filters = {}) {
    const url = new URL(resolve(this.base, this.operationsPath));
    for (const [name, value] of Object.entries(filters)) url.searchParams.set(name, String(value));
    for (;;) {
      const page = granted(await this.ask(url.href, {})).json();
      if (!Array.isArray(page?.items)) throw new UnexpectedAnswer(`${url} answered with what is no list of operations`);
      for (const item of page.items)
        yield new RemoteOperation(this, follow(this.base, item.links?.self ?? `${url.pathname}/${item.id}`), item);
      if (!page.next_cursor) return;
      url.searchParams.set("cursor", page.next_cursor);
    }
  }

  /**
   * One request, repeated while `again` says so and patience lasts; null: sent once.
   * @param {string} url @param {RequestInit} request
   * @param {((status: number, headers: Headers, problem: Json) => boolean) | null} [again]
   * @param {number} [timeout] @param {number} [until] a moment of `now()`
   */
  async ask(url, request, again = (status) => AGAIN.has(status), timeout = this.timeout, until = Infinity) {
    for (let failures = 1, since = 0; ; failures++) {
      const ready = await this.prepare(request); // each time: a token may have run out meanwhile
      let answer = null;
      let lost = null;
      try {
        const response = await this.open(url, ready, timeout);
        answer = new Answer(response, await within(response.arrayBuffer(), timeout));
      } catch (error) {
        request.signal?.throwIfAborted();
        if (!(error instanceof Unreachable)) throw error;
        lost = error;
      }
      if (answer && !(again && again(answer.status, answer.headers, answer.problem()))) return answer;
      if (failures === 1) since = now();
      const asked = answer && told(answer.headers, Date.now(), this.pace);
      const pause = asked ?? backoff(failures, Math.random(), this.pace);
      if (!again || now() + pause - since > this.pace.patience) {
        if (answer) return answer;
        throw lost;
      }
      if (now() + pause > until) throw new ResultTimeout("not finished in time, and the server could not be asked");
      await sleep(pause, request.signal);
    }
  }

  /**
   * The request with the client's own headers; what is wrong with them is thrown as it is.
   * @param {RequestInit} request
   */
  async prepare(request) {
    const own = typeof this.headers === "function" ? await this.headers() : this.headers;
    const headers = new Headers(own);
    new Headers(request.headers).forEach((value, name) => headers.set(name, value));
    return /** @type {RequestInit} */ ({
      cache: "no-store",
      redirect: "manual",
      credentials: this.credentials,
      ...request,
      headers,
    });
  }

  /**
   * An answer, its body still to be read.
   * @param {string} url @param {RequestInit} request from `prepare` @param {number} timeout
   */
  async open(url, request, timeout) {
    const stop = new AbortController();
    const signal = request.signal ? AbortSignal.any([request.signal, stop.signal]) : stop.signal;
    return within(this.fetch(url, { ...request, signal }), timeout, stop);
  }
}

/** One response, read. */
class Answer {
  /** @param {Response} response @param {ArrayBuffer} body */
  constructor(response, body) {
    this.status = response.type === "opaqueredirect" ? 303 : response.status; // a browser says no more of it
    this.headers = response.headers;
    this.body = body;
  }

  json() {
    try {
      return JSON.parse(new TextDecoder().decode(this.body));
    } catch {
      return null;
    }
  }

  problem() {
    const said = this.status >= 400 ? this.json() : null;
    return said && !Array.isArray(said) && typeof said === "object" ? said : { title: "Refused", status: this.status };
  }

  /** JSON, or the bytes of any other kind as a Blob. */
  value() {
    const kind = media(this.headers.get("content-type"));
    return isJson(kind) ? this.json() : new Blob([this.body], { type: kind });
  }
}

/** @param {Answer} answer */
function granted(answer) {
  if (answer.status < 200 || answer.status > 299) throw new RequestRefused(answer.status, answer.problem());
  return answer;
}

/** The caller's key, or a new one. @param {string} [key] */
function keyOf(key) {
  if (key === undefined) return uuid();
  if (typeof key === "string" && /^[!#-[\]-~]{1,255}$/.test(key)) return key;
  throw new TypeError("an idempotency key is 1 to 255 printable ASCII characters without space, quote or \\");
}

/** A random UUID; `crypto.randomUUID` itself exists only on https and localhost. */
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/**
 * What the network does, and only that, fails as Unreachable: errors of the caller's making are not repeated.
 * @template T
 * @param {Promise<T>} work @param {number} seconds @param {AbortController} [stop] @returns {Promise<T>}
 */
function within(work, seconds, stop) {
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      reject(new Unreachable("silent for too long", true));
      stop?.abort();
    }, seconds * 1000);
  });
  const lost = (/** @type {unknown} */ error) => Promise.reject(new Unreachable(String(error)));
  return Promise.race([work.catch(lost), /** @type {Promise<never>} */ (late)]).finally(() => clearTimeout(timer));
}

/** @param {number} seconds @param {AbortSignal | null} [signal] */
function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    const done = () => (clearTimeout(timer), reject(signal?.reason));
    const timer = setTimeout(() => (signal?.removeEventListener("abort", done), resolve(undefined)), seconds * 1000);
    signal?.addEventListener("abort", done, { once: true });
    if (signal?.aborted) done();
  });
}

// ── one operation ────────────────────────────────────────────────────────────────────────────────────────────────────

export class RemoteOperation {
  /** @param {Client} client @param {string} url "" when a start was answered with the result itself
   *  @param {Json} document @param {string} [etag] */
  constructor(client, url, document, etag = "") {
    this.client = client;
    this.url = url;
    /** The resource as last seen, members that we do not know included. */
    this.document = document;
    this.etag = etag;
  }

  /** @returns {string} */
  get id() {
    return this.document.id ?? this.url.split("/").pop();
  }
  /** @returns {string} one of queued, running, canceling and `TERMINAL`; a newer server may say something else */
  get status() {
    return this.document.status ?? "queued";
  }
  /** @returns {boolean} */
  get done() {
    return isDone(this.document);
  }
  /** @returns {{ percent?: number, current?: number, total?: number, unit?: string, message?: string } | null} */
  get progress() {
    return this.document.progress ?? null;
  }

  /** @param {string} name */
  #link(name) {
    return follow(this.client.base, this.document.links?.[name] ?? `${this.url}/${name}`);
  }

  /** @param {Answer} answer */
  #learn(answer) {
    const said = granted(answer).json();
    if (typeof said !== "object" || said === null || Array.isArray(said))
      throw new UnexpectedAnswer(`${this.url} answered ${answer.status} with what is no operation`);
    this.document = said;
    this.etag = answer.headers.get("etag") ?? "";
  }

  /** @param {number} hold @param {boolean} changed @param {AbortSignal} [signal] @param {number} [until] */
  async #look(hold, changed, signal, until = Infinity) {
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    if (hold) headers.Prefer = `wait=${hold}`;
    if (changed && this.etag) headers["If-None-Match"] = this.etag;
    const timeout = Math.min(hold + this.client.timeout, until - now() + 1);
    const answer = await this.client.ask(this.url, { headers, signal }, undefined, timeout, until);
    if (answer.status === 303) {
      const { result, ...rest } = this.document;
      this.document = { ...rest, status: "succeeded", done: true };
    } else if (answer.status !== 304) this.#learn(answer);
    return answer;
  }

  /** The pause before the next poll; a held one has waited already. @param {Answer} answer @param {number} took */
  #between(answer, took) {
    if (took >= 1 && (answer.headers.get("preference-applied") ?? "").includes("wait")) return 0;
    return told(answer.headers, Date.now(), this.client.pace) ?? 1;
  }

  /** Look at it now. */
  async refresh() {
    if (this.url) await this.#look(0, false);
    return this;
  }

  /**
   * Wait until it has ended, at most `timeout` s; its result, of another kind than JSON as a Blob.
   * @param {{ timeout?: number, signal?: AbortSignal }} [options]
   */
  async result({ timeout = Infinity, signal } = {}) {
    const until = now() + timeout;
    while (!this.done) {
      const before = now();
      const hold = Math.min(this.client.pace.hold, Math.floor(Math.max(0, until - before)));
      const answer = await this.#look(hold, false, signal, until);
      if (this.done) break;
      if (now() >= until) throw new ResultTimeout(`operation ${this.id} was not finished within ${timeout} s`);
      const pause = Math.min(this.#between(answer, now() - before), until - now());
      if (pause > 0) await sleep(pause, signal);
    }
    if (this.status === "canceled") throw new OperationCanceled(this.document);
    if (this.status === "failed" || "error" in this.document) throw new OperationFailed(this.document);
    if ("result" in this.document) return this.document.result;
    const answer = granted(await this.client.ask(this.#link("result"), { headers: { Accept: "*/*" }, signal }));
    if (answer.status === 202) throw new UnexpectedAnswer(`operation ${this.id} has ended, and its result has not`);
    return answer.status === 204 ? null : answer.value();
  }

  /** Ask it to stop; harmless when it has ended. @param {string} [reason] */
  async cancel(reason) {
    if (!this.url) return this;
    const body = reason === undefined ? undefined : JSON.stringify({ reason });
    const headers = body ? { "Content-Type": "application/json" } : undefined;
    this.#learn(await this.client.ask(this.#link("cancel"), { method: "POST", headers, body }));
    return this;
  }

  /** Erase it, once it has ended. */
  async delete() {
    if (!this.url) throw new UnexpectedAnswer("answered at once: there is no operation to delete");
    const answer = await this.client.ask(this.url, { method: "DELETE" });
    if (!([404, 410].includes(answer.status) && this.done)) granted(answer);
  }

  /**
   * Its history as it happens, to the end. Lost connections are opened again with the last id; where there is no stream
   * to be had it polls, and the events are snapshots.
   *
   * ticket  through an EventSource, which cannot send headers: a ticket in its URL lets it in (POST …/events/ticket)
   * names   further event names that an EventSource is to listen for
   * @param {{ after?: string, ticket?: boolean, names?: string[], signal?: AbortSignal }} [options]
   * @returns {AsyncGenerator<OperationEvent, void, void>}
   */
  async *events({ after = "", ticket = false, names = [], signal } = {}) {
    if (!this.url) {
      yield eventOf("operation.succeeded", "", this.document);
      return;
    }
    const { pace } = this.client;
    const place = { last: after, retry: /** @type {number | null} */ (null) };
    for (let failures = 0, since = 0; ; ) {
      let lost = /** @type {any} */ (new Unreachable("the stream ends again and again before an event"));
      try {
        const story = ticket ? this.#ticketed(place, names, signal) : this.#streamed(place, signal);
        for await (const event of story) {
          failures = 0;
          this.document = fold(this.document, event);
          yield event;
          if (event.last) return;
        }
      } catch (error) {
        if (error === ENDED) return;
        if (error === POLL) return yield* this.#polled(signal);
        signal?.throwIfAborted();
        if (error instanceof RequestRefused && !AGAIN.has(error.status)) throw error;
        if (error instanceof ForeignLink || !(error instanceof ClientError)) throw error;
        lost = error;
      }
      failures++;
      if (failures === 1) since = now();
      if (now() - since > pace.patience) throw lost;
      const asked = failures === 1 && place.retry !== null ? Math.min(place.retry / 1000, pace.longest) : null;
      await sleep(asked ?? backoff(failures, Math.random(), pace), signal);
    }
  }

  /** One connection. @param {{ last: string, retry: number | null }} place @param {AbortSignal} [signal] */
  async *#streamed(place, signal) {
    const stop = new AbortController();
    const both = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
    const quiet = 2 * this.client.pace.heartbeat;
    /** @type {Record<string, string>} */
    const headers = { Accept: "text/event-stream" };
    if (place.last) headers["Last-Event-ID"] = utf8(place.last);
    let came = false;
    try {
      const request = await this.client.prepare({ headers, signal: both });
      const response = await this.client.open(this.#link("events"), request, quiet);
      if (response.status === 204) throw ENDED;
      if ([406, 429, 501, 503].includes(response.status)) throw POLL;
      if (response.status >= 400) throw new RequestRefused(response.status, await response.json().catch(() => ({})));
      if (media(response.headers.get("content-type")) !== "text/event-stream" || !response.body) throw POLL;
      const decoder = new Decoder(place.last);
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await within(reader.read(), quiet, stop);
        if (done || !value) return;
        came = true;
        const messages = decoder.feed(value);
        place.last = decoder.lastId;
        place.retry = decoder.retry;
        for (const message of messages) yield eventFrom(message);
      }
    } catch (error) {
      throw error instanceof Unreachable && error.quiet && !came ? POLL : error;
    } finally {
      stop.abort();
    }
  }

  /**
   * One EventSource. A ticket is good for one connection: the next one has a new ticket.
   * @param {{ last: string, retry: number | null }} place @param {string[]} names @param {AbortSignal} [signal]
   */
  async *#ticketed(place, names, signal) {
    if (place.last && this.done) throw ENDED;
    const given = granted(await this.client.ask(`${this.#link("events")}/ticket`, { method: "POST", signal })).json();
    const url = new URL(follow(this.client.base, given?.url ?? ""));
    if (place.last) url.searchParams.set("last_event_id", place.last);
    const source = new EventSource(url, { withCredentials: this.client.credentials === "include" });
    /** @type {OperationEvent[]} */
    const queue = [];
    let over = false;
    let wake = () => {};
    const end = () => ((over = true), wake());
    for (const name of ["message", ...NAMES.map((name) => `operation.${name}`), ...names])
      source.addEventListener(name, (/** @type {MessageEvent} */ { type, data, lastEventId }) => {
        queue.push(eventFrom({ type, data, id: lastEventId }));
        wake();
      });
    source.addEventListener("error", end);
    signal?.addEventListener("abort", end, { once: true });
    let came = false;
    try {
      for (;;) {
        const event = queue.shift();
        if (event) {
          came = true;
          place.last = event.id || place.last;
          yield event;
        } else if (over) {
          if (!came) await this.#look(0, false, signal); // a 204, or trouble: an EventSource does not say
          if (!came && this.done) throw POLL;
          return;
        } else {
          const next = new Promise((resolve) => (wake = () => resolve(undefined)));
          const fresh = !came && !place.last; // it begins with a snapshot: without one, something keeps the bytes
          await (fresh ? within(next, 2 * this.client.pace.heartbeat) : next);
        }
      }
    } catch (error) {
      throw error instanceof Unreachable && error.quiet ? POLL : error;
    } finally {
      source.close();
      signal?.removeEventListener("abort", end);
    }
  }

  /** A snapshot now and after each change, and the end. @param {AbortSignal} [signal] */
  async *#polled(signal) {
    for (let hold = 0; ; hold = this.client.pace.hold) {
      const before = now();
      const answer = await this.#look(hold, hold > 0, signal);
      if (this.done) {
        yield eventOf(`operation.${this.status}`, "", { ...this.document });
        return;
      }
      if (answer.status !== 304) yield eventOf("operation.snapshot", "", { ...this.document });
      const pause = this.#between(answer, now() - before);
      if (pause > 0) await sleep(pause, signal);
    }
  }
}

const ENDED = Symbol("nothing more will come");
const POLL = Symbol("there is no stream to be had");

/** Header values are bytes, one for each character: text as UTF-8 in that form. @param {string} text */
const utf8 = (text) => String.fromCharCode(...new TextEncoder().encode(text));
