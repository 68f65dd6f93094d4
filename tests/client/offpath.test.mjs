// The pure parts of offpath.js, and its requests against answers from a list. Run by test_javascript.py.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const js = await import(process.env.OFFPATH_JS);
const { cases } = JSON.parse(readFileSync(process.env.SSE_VECTORS, "utf8"));
const PACE = { first: 0.5, longest: 20, patience: 300, hold: 25, heartbeat: 15 };
const QUICK = { first: 0.001, patience: 5 };

function decode(pieces) {
  const decoder = new js.Decoder();
  const seen = pieces.flatMap((piece) => decoder.feed(piece));
  return { seen, decoder };
}

function splits(raw) {
  const at = [...raw.keys()].filter(
    (n) => n > 0 && (raw.length < 400 || n < 50 || n > raw.length - 50 || [10, 13].includes(raw[n - 1]) || n % 97 === 0),
  );
  const each = (size) =>
    Array.from({ length: Math.ceil(raw.length / size) }, (_, n) => raw.subarray(n * size, (n + 1) * size));
  return [[raw], each(1), each(3), ...at.map((n) => [raw.subarray(0, n), raw.subarray(n)])];
}

test("sse_02: the vectors at every split point", () => {
  assert.ok(cases.length > 15);
  for (const one of cases) {
    const expected = one.events.map(({ type, data, lastEventId }) => ({ type, data, id: lastEventId }));
    for (const pieces of splits(new TextEncoder().encode(one.raw))) {
      const { seen, decoder } = decode(pieces);
      assert.deepEqual(seen, expected, one.name);
      if ("final_last_event_id" in one) assert.equal(decoder.lastId, one.final_last_event_id, one.name);
      if ("final_retry_ms" in one) assert.equal(decoder.retry, one.final_retry_ms, one.name);
    }
  }
});

test("pol_09: both forms of Retry-After, clamped", () => {
  const noon = Date.UTC(2027, 0, 15, 8, 0, 0);
  const given = {
    120: 120,
    " 7 ": 7,
    "Fri, 15 Jan 2027 08:01:30 GMT": 90,
    "Friday, 15-Jan-27 08:00:05 GMT": 5,
    "Fri Jan 15 08:00:08 2027": 8,
    "Fri, 15 Jan 2027 07:00:00 GMT": 0,
    "": null,
    soon: null,
    "-1": null,
    1.5: null,
    "1_0": null,
    "Fri, 99 Jan 2027 00:00:00 GMT": null,
  };
  for (const [text, seconds] of Object.entries(given)) assert.equal(js.retryAfter(text, noon), seconds, text);
  assert.equal(js.retryAfter(null, noon), null);
  const told = (text) => js.told(new Headers({ "retry-after": text }), noon, PACE);
  assert.deepEqual(["0", "15", "86400", "9".repeat(400)].map(told), [1, 15, 20, 20]);
  assert.deepEqual([1, 2, 3, 7].map((n) => js.backoff(n, 0, PACE)), [0.5, 1, 2, 20]);
});

test("sec_05: links are followed on the same origin only", () => {
  const base = "https://api.example/v1";
  assert.equal(js.resolve(base, "/api/reports"), "https://api.example/v1/api/reports");
  assert.equal(js.follow(base, "/operations/7"), "https://api.example/operations/7");
  for (const foreign of [
    "https://evil.example/7",
    "http://api.example/7",
    "https://api.example:8443/7",
    "https://api.example@evil.example/7",
    "https://user@api.example/7",
    "//evil.example/7",
    "\\\\evil.example/7",
    "javascript:alert(1)",
    "https://api.example:99999/",
  ]) {
    assert.throws(() => js.follow(base, foreign), js.ForeignLink, foreign);
    assert.throws(() => js.resolve(base, foreign), js.ForeignLink, foreign);
  }
});

test("opr_14: what we do not know changes nothing", () => {
  assert.equal(js.isDone({ status: "hibernating", done: false }), false);
  assert.equal(js.isDone({ status: "hibernating" }), false);
  assert.equal(js.isDone({ status: "succeeded" }), true);
  const before = { status: "running", moon: "full" };
  for (const [type, data] of [["operation.dreaming", { depth: 2 }], ["tick", "text"], ["toString", {}], ["message", null]])
    assert.deepEqual(js.fold(before, { type, id: "1", data, last: false, reset: false }), before);
});

function client(script, options = {}) {
  const asked = [];
  const fetch = async (url, init) => {
    asked.push({ url, method: init.method ?? "GET", headers: init.headers, body: init.body });
    const next = script.shift();
    if (next instanceof Error) throw next;
    return next;
  };
  return { asked, it: new js.Client("https://api.example", { fetch, pace: QUICK, headers: { Authorization: "me" }, ...options }) };
}

const reply = (status, body, headers = {}) =>
  new Response(body === undefined ? null : JSON.stringify(body), {
    status,
    headers: { "Content-Type": "application/json", ...headers },
  });
const URL7 = "https://api.example/operations/7";
const accepted = () => reply(202, { id: "7", status: "queued", done: false }, { Location: URL7 });

test("idk_09: a lost answer is asked for again with the same key", async () => {
  const { asked, it } = client([new TypeError("failed to fetch"), reply(502), reply(503), accepted()]);
  const started = await it.start("post", "/reports", { json: { title: "é" } });
  assert.equal(started.url, URL7);
  const keys = new Set(asked.map(({ headers }) => headers.get("idempotency-key")));
  assert.equal(asked.length, 4);
  assert.equal(keys.size, 1);
  assert.match([...keys][0], /^"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"$/);
  assert.deepEqual(new Set(asked.map(({ headers }) => headers.get("authorization"))), new Set(["me"]));
  for (const options of [{ key: false }, undefined]) {
    const other = client([new TypeError("lost")]);
    await assert.rejects(other.it.start(options ? "POST" : "PUT", "/reports", options), js.Unreachable);
    assert.equal(other.asked.length, 1);
  }
});

test("opr_13: what was answered at once is not there to be deleted", async () => {
  const { asked, it } = client([reply(200, { n: 1 })]);
  const started = await it.start("POST", "/reports");
  await assert.rejects(started.delete(), { name: "UnexpectedAnswer", message: /answered at once/ });
  assert.equal(asked.length, 1);
});

test("idk_09: mistakes of the caller's are neither sent nor repeated", async () => {
  const mistake = new Error("no token");
  let times = 0;
  const wrong = () => {
    times++;
    throw mistake;
  };
  for (const [options, thrown] of [
    [{ headers: async () => wrong() }, mistake],
    [{ headers: () => (times++, { "X-Tenant": "a\nb" }) }, { name: "TypeError" }],
    [{ headers: { get "not a name"() { return String(times++); } } }, { name: "TypeError" }],
    [{ fetch: wrong }, mistake],
  ]) {
    const { asked, it } = client([], options);
    for (const ask of [
      () => it.start("POST", "/reports"),
      () => it.operation("7").refresh(),
      () => it.operation("7").events().next(),
      () => it.operation("7").events({ ticket: true }).next(),
    ]) {
      times = 0;
      await assert.rejects(ask(), thrown);
      assert.equal(times, 1);
    }
    assert.equal(asked.length, 0);
  }
  const { asked, it } = client([accepted()]);
  for (const key of ["", "a b", 'a"', "a\\b", "é", "a\n", "a\u007f", "k".repeat(256), 7])
    await assert.rejects(it.start("POST", "/reports", { key }), { name: "TypeError", message: /^an idempotency key is/ });
  await assert.rejects(it.start("POST", "/reports", { headers: { "X-Tenant": "a\nb" } }), { name: "TypeError" });
  assert.equal(asked.length, 0);
  const longest = "!~#[]".padEnd(255, "k");
  await it.start("POST", "/reports", { key: longest });
  assert.equal(asked[0].headers.get("idempotency-key"), `"${longest}"`);
});

test("sec_05: a 202 that leads elsewhere is not followed", async () => {
  const { asked, it } = client([reply(202, {}, { Location: "https://evil.example/7" })]);
  await assert.rejects(it.start("POST", "/reports"), js.ForeignLink);
  assert.equal(asked.length, 1);
});

test("pol_09: polls survive trouble, and ends are told apart", async () => {
  const ends = {
    succeeded: [{ result: { n: 1 } }, null],
    failed: [{ error: { title: "Boom", detail: "at row 3" } }, js.OperationFailed],
    canceled: [{ error: { title: "Canceled", reason: "late" } }, js.OperationCanceled],
  };
  for (const [status, [more, error]] of Object.entries(ends)) {
    const { it } = client([reply(500), new TypeError("lost"), reply(200, { id: "7", status, done: true, ...more })]);
    const waiting = it.operation("7").result({ timeout: 10 });
    if (error) await assert.rejects(waiting, error);
    else assert.deepEqual(await waiting, { n: 1 });
  }
  const { it } = client([reply(404, { title: "No such operation", status: 404 })]);
  await assert.rejects(it.operation("7").result(), { name: "RequestRefused", status: 404, message: /No such operation/ });
  const slow = client(Array.from({ length: 9 }, () => reply(200, { id: "7", done: false }))); // timers may be early
  await assert.rejects(slow.it.operation("7").result({ timeout: 0.01 }), js.ResultTimeout);
});

const stream = (text) => new Response(text, { status: 200, headers: { "Content-Type": "text/event-stream" } });
const frame = (id, event, data) => `id: ${id}\nevent: operation.${event}\ndata: ${JSON.stringify(data)}\n\n`;

test("sse_05: a broken stream goes on after the last event; sse_11: without streams it polls", async () => {
  const end = frame(3, "succeeded", { id: "7", status: "succeeded", done: true, result: 1 });
  const first = `retry: 1\n\n${frame("é1", "snapshot", { id: "7", status: "running" })}id: 2\ndata: cut`;
  const { asked, it } = client([stream(first), new TypeError("refused"), stream(end)]);
  const seen = [];
  for await (const event of it.operation("7").events()) seen.push([event.type, event.id]);
  assert.deepEqual(seen, [["operation.snapshot", "é1"], ["operation.succeeded", "3"]]);
  const sent = asked.map(({ headers }) => headers.get("last-event-id"));
  assert.deepEqual(sent.map((text) => text && Buffer.from(text, "latin1").toString()), [null, "é1", "é1"]);

  for (const instead of [reply(503), reply(406), reply(200, {}), reply(429)]) {
    const polled = client([instead, reply(200, { id: "7", status: "failed", done: true })]);
    const events = [];
    for await (const event of polled.it.operation("7").events()) events.push(event);
    const [event] = events;
    assert.deepEqual([event.type, event.id, event.last], ["operation.failed", "", true]);
  }
  const ended = client([new Response(null, { status: 204 })]);
  for await (const event of ended.it.operation("7").events({ after: "9" })) assert.fail(event.type);
  assert.equal(ended.asked.length, 1);
});

test("lst_01: every page is walked", async () => {
  const { asked, it } = client([reply(200, { items: [{ id: "1" }], next_cursor: "c/1" }), reply(200, { items: [{ id: "2" }] })]);
  const ids = [];
  for await (const one of it.operations({ status: "failed" })) ids.push(one.url);
  assert.deepEqual(ids, ["https://api.example/operations/1", "https://api.example/operations/2"]);
  assert.equal(asked[1].url, "https://api.example/operations?status=failed&cursor=c%2F1");
});
