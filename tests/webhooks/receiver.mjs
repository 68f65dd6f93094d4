// A receiver that somebody else's library makes its decisions: npm standardwebhooks.
// node receiver.mjs FOLDER SECRET   prints its port; answers 204 to what the library believes, 400 to all else.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

const [folder, secret] = process.argv.slice(2);
const { Webhook } = createRequire(join(folder, "receiver.js"))("standardwebhooks");
const webhook = new Webhook(secret);

const server = createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    let status = 204;
    try {
      webhook.verify(Buffer.concat(chunks).toString("utf8"), request.headers);
    } catch {
      status = 400;
    }
    response.writeHead(status).end();
  });
});

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0)).resume(); // whoever started us is gone
