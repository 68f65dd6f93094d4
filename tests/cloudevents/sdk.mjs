// The npm SDK reads what we wrote, and writes what we read. In: {"read": [[binding, message]…], "write": [[binding, mode, event]…]}.
import { createRequire } from "node:module";

const require = createRequire(`${process.argv[2]}/`);
const { CloudEvent, HTTP, Kafka } = require("cloudevents");
const bindings = { http: HTTP, kafka: Kafka };

let text = "";
for await (const chunk of process.stdin) text += chunk;
const { read, write } = JSON.parse(text);

const plain = (event) => {
  const { data, data_base64, ...attributes } = event.toJSON();
  if (data_base64 !== undefined) return { ...attributes, data_base64 };
  return data === undefined ? attributes : { ...attributes, data };
};
const body = (value) =>
  value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value);

const answer = {
  read: read.map(([binding, message]) => plain(bindings[binding].toEvent({ ...message, value: message.body }))),
  write: write.map(([binding, mode, event]) => {
    const made = bindings[binding][mode](new CloudEvent(event));
    return { headers: made.headers, body: body(binding === "kafka" ? made.value : made.body), key: made.key ?? null };
  }),
};
process.stdout.write(JSON.stringify(answer));
