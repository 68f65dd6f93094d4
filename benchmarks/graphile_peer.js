// A peer on PostgreSQL: graphile-worker, with the settings of its performance page: a local queue of 500, concurrency
// 24, completions and failures batched. It logs nothing. See graphile.py for how it gets here.
//
//     BENCH_DATABASE=… BENCH_FILE=… node graphile_peer.js prepare | fill N | drain N | enqueue N one|many|bulk | worker
//                                                         | latency N

const fs = require("node:fs");
const { Logger, makeWorkerUtils, run, runMigrations } = require("graphile-worker");

const MARKS = process.env.BENCH_FILE + ".marks";
const TO = "user@example.com";
const logger = new Logger(() => () => {});
const preset = {
  worker: {
    connectionString: process.env.BENCH_DATABASE,
    concurrentJobs: 24,
    maxPoolSize: 25,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  },
};

const now = () => Number(process.hrtime.bigint()) / 1e9;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function cpu() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

function say(figures) {
  try {
    figures.rss = Number(/VmHWM:\s*(\d+)/.exec(fs.readFileSync("/proc/self/status", "utf8"))[1]) / 1024;
  } catch {
    // not Linux: the one who started us asks the operating system
  }
  console.log(JSON.stringify(figures));
}

async function producing(work) {
  const utils = await makeWorkerUtils({ preset, logger });
  try {
    await work(utils);
  } finally {
    await utils.release();
  }
}

async function bulk(utils, n) {
  for (let start = 0; start < n; start += 1000) {
    const jobs = [];
    for (let i = start; i < Math.min(n, start + 1000); i++) jobs.push({ identifier: "noop", payload: { i, to: TO } });
    await utils.addJobs(jobs);
  }
}

async function enqueue(n, mode) {
  await producing(async (utils) => {
    await utils.addJob("noop", { i: 0, to: TO });
    const before = cpu();
    const begun = now();
    if (mode === "bulk") {
      await bulk(utils, n);
    } else {
      const callers = mode === "one" ? 1 : 100;
      const caller = async () => {
        for (let i = 0; i < n / callers; i++) await utils.addJob("noop", { i, to: TO });
      };
      await Promise.all(Array.from({ length: callers }, caller));
    }
    say({ value: n / (now() - begun), cpu: cpu() - before });
  });
}

async function drain(n) {
  const before = cpu();
  const begun = now();
  let left = n;
  let finished;
  const all = new Promise((done) => (finished = done));
  const taskList = {
    noop: ({ i }) => {
      if (--left === 0) finished(i);
    },
  };
  const runner = await run({ preset, logger, taskList });
  await all;
  await runner.stop(); // its batched completions are written by then
  say({ value: n / (now() - begun), cpu: cpu() - before });
}

async function worker() {
  const file = fs.openSync(MARKS, "a", 0o600);
  const taskList = {
    mark: ({ at }) => {
      fs.writeSync(file, `${process.hrtime.bigint() - BigInt(at)}\n`);
    },
  };
  const runner = await run({ preset, logger, taskList });
  await runner.promise;
}

async function latency(n) {
  fs.writeFileSync(MARKS, "");
  await producing(async (utils) => {
    for (let i = 0; i < n; i++) {
      const size = fs.statSync(MARKS).size;
      await utils.addJob("mark", { at: String(process.hrtime.bigint()) });
      while (fs.statSync(MARKS).size === size) await sleep(1);
      await sleep(5);
    }
  });
  const lines = fs.readFileSync(MARKS, "utf8").trim().split("\n");
  const waits = lines.map((line) => Number(line) / 1e6).sort((a, b) => a - b);
  say({ value: waits[Math.floor(waits.length / 2)], p99: waits[Math.floor(waits.length * 0.99)], cpu: cpu() });
}

const verbs = {
  prepare: async () => {
    await runMigrations({ preset, logger });
    say({ value: 1 });
  },
  fill: async (n) => {
    await producing((utils) => bulk(utils, Number(n)));
    say({ value: Number(n) });
  },
  drain: (n) => drain(Number(n)),
  enqueue: (n, mode) => enqueue(Number(n), mode),
  worker,
  latency: (n) => latency(Number(n)),
};

const [verb, ...args] = process.argv.slice(2);
verbs[verb](...args).catch((error) => {
  console.error(error);
  process.exit(1);
});
