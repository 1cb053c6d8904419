import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { eventually } from "../support/eventually";
import { variant } from "../support/variant";
import type { LoadReport } from "./fixtures/under-load";
import { faultSuite } from "./support/fault-suite";

const names = ["north", "east", "south", "west"] as const;
// Once is enough for the whole minute, on the newest server and with triggers that announce.
const underLoadMs = variant === "plain" && process.env["SPEC_POSTGRES_MAJOR"] === undefined ? 60_000 : 15_000;

describe("a server that is restarted again and again", () => {
  const suite = faultSuite();
  const children: ChildProcess[] = [];
  afterEach(() => children.forEach((child) => child.kill("SIGKILL")));

  function startProcess(index: number): ChildProcess {
    const child = fork(
      join(__dirname, "fixtures", "under-load.ts"),
      [names[index] ?? "", names[(index + 1) % names.length] ?? ""],
      {
        execArgv: ["--import", "tsx"],
        env: { ...process.env, DATABASE_URL: suite.server.url },
        stdio: ["ignore", "ignore", "inherit", "ipc"],
      },
    );
    children.push(child);
    return child;
  }

  async function ask(child: ChildProcess, message: "report" | "stop"): Promise<LoadReport> {
    const answer = once(child, "message", { signal: AbortSignal.timeout(30_000) });
    child.send(message);
    const [report] = (await answer) as [LoadReport];
    return report;
  }

  it("loses nothing of four processes under load for a minute", async () => {
    names.forEach((_, index) => startProcess(index));
    const startedAt = performance.now();
    let restarts = 0;
    while (performance.now() - startedAt < underLoadMs || restarts < 3) {
      const before = await Promise.all(children.map(async (child) => ask(child, "report")));
      // Each process makes progress before the next restart.
      await eventually(
        async () => {
          const now = await Promise.all(children.map(async (child) => ask(child, "report")));
          now.forEach(({ resolved }, index) => expect(resolved).toBeGreaterThan((before[index]?.resolved ?? 0) + 100));
        },
        { timeoutMs: 45_000, intervalMs: 100 },
      );
      await suite.server.stop((["fast", "immediate", "kill -9"] as const)[restarts % 3] ?? "fast");
      await suite.server.start();
      restarts += 1;
    }
    const exits = children.map(async (child) => once(child, "exit"));
    const reports = await Promise.all(children.map(async (child) => ask(child, "stop")));
    for (const [code] of await Promise.all(exits)) expect(code).toBe(0);
    expect(reports.flatMap(({ wrong }) => wrong)).toEqual([]);

    const rows = await suite.server.sql<{ task_id: string; result: unknown[] }>(
      "select task_id, result from kojin_results",
    );
    const found = new Map(rows.map(({ task_id, result }) => [task_id, result]));
    reports.forEach(({ stored }, index) =>
      stored.forEach((count, lane) => {
        for (let each = 0; each < count; each += 1) {
          const expected = [names[index], lane, each];
          expect(found.get(expected.join(" "))).toEqual(expected);
        }
      }),
    );
    // One unacknowledged row per lane may be stored.
    const acknowledged = reports.flatMap(({ stored }) => stored).reduce((sum, count) => sum + count, 0);
    expect(found.size - acknowledged).toBeLessThanOrEqual(80);
    console.info(
      `${restarts} restarts, ${reports.reduce((sum, { resolved }) => sum + resolved, 0)} waits resolved, ` +
        `${acknowledged} results acknowledged, ${reports.reduce((sum, { rejected }) => sum + rejected, 0)} stores tried again`,
    );
  }, 150_000);
});
