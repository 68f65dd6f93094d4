// Start, poll, result, typed by openapi-typescript: `node generated_client.js URL`.
import type { components, paths } from "./accounts";

type Start = paths["/api/reports"]["post"];
type Started = Start["responses"][202]["content"]["application/json"];
type Waited = Start["responses"][200]["content"]["application/json"];
type Refused = Start["responses"][422]["content"]["application/problem+json"];
type Operation = paths["/operations/{operation_id}"]["get"]["responses"][200]["content"]["application/json"];

async function ask<T>(status: number, url: string, init: RequestInit = {}): Promise<T> {
  const headers = { Authorization: "Bearer dev-alice", "Content-Type": "application/json", ...init.headers };
  const answer = await fetch(url, { ...init, headers });
  if (answer.status !== status) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as T;
}

async function main(base: string): Promise<void> {
  const body: components["schemas"]["ReportPost"] = { title: "Sales", rows: 3 };
  const started = await ask<Started>(202, `${base}/api/reports`, { method: "POST", body: JSON.stringify(body) });
  const ended = await ask<Operation>(200, started.links.self, { headers: { Prefer: "wait=20" } });
  if (!ended.done || ended.status !== "succeeded") throw new Error(ended.error?.title ?? ended.status);
  const report = await ask<NonNullable<Started["result"]>>(200, started.links.result);
  const title: string = report.title;
  const prefer: NonNullable<NonNullable<Start["parameters"]["header"]>["Prefer"]> = "wait=20";
  const init = { method: "POST", body: JSON.stringify(body), headers: { Prefer: prefer } };
  const waited = await ask<Waited>(200, `${base}/api/reports`, init);
  const rows: number = waited.rows;
  const refused = await ask<Refused>(422, `${base}/api/reports`, { method: "POST", body: "{}" });
  const places: (string | null | undefined)[] = (refused.errors ?? []).map((error) => error.pointer);
  if (title !== "Sales" || report.rows !== 3 || rows !== 3 || !places.includes("#/title")) throw new Error(JSON.stringify(refused));
}

main(process.argv[2] ?? "").catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
