// What a page needs to start work, follow it and stop it.
import { Client, ClientError } from "./offpath.js";

const $ = (/** @type {string} */ id) => document.getElementById(id);
const form = /** @type {HTMLFormElement} */ ($("order"));
let running = null;

const client = new Client(new URL(".", location.href), {
  headers: () => ({ Authorization: `Bearer ${form.token.value}` }),
});

function show(operation, event) {
  $("bar").value = operation.done ? 100 : operation.progress?.percent ?? 0;
  $("status").value = [operation.status, operation.progress?.message].filter(Boolean).join(": ");
  $("cancel").disabled = operation.done;
  if (event) {
    const line = document.createElement("li");
    line.textContent = `${event.id} ${event.type} ${event.data?.message ?? ""}`;
    $("events").append(line);
  }
}

async function watch() {
  $("events").replaceChildren();
  $("result").textContent = "";
  try {
    const json = { title: form.title.value, rows: Number(form.rows.value), delay_ms: Number(form.delay.value) };
    running = await client.start("POST", "api/reports", { json });
    show(running);
    for await (const event of running.events({ ticket: form.ticket.checked })) show(running, event);
    $("result").textContent = `the result: ${JSON.stringify(await running.result())}`;
  } catch (error) {
    if (!(error instanceof ClientError)) throw error;
    $("result").textContent = error.message;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  watch();
});
$("cancel").addEventListener("click", () => running?.cancel("asked on the page"));
