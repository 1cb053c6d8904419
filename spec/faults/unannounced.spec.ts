import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { PostgresResultBackend } from "kojin-postgres";
import { specDatabase } from "../support/spec-database";

describe("what a process with notify: 'deferred' has stored when it is killed", () => {
  const database = specDatabase("unannounced");
  afterEach(async () => {
    await database.sql(`delete from "${database.schema}".kojin_results`);
  });

  /** Returns a waiting backend whose wait was ended by what the killed process has stored. */
  async function waitForKilled(sweepIntervalMs: number, ...args: string[]): Promise<PostgresResultBackend> {
    const waiting = await database.open({ sweepIntervalMs });
    const wait = waiting.wait("stored", 60_000);
    await waiting.ready();
    const child = fork(join(__dirname, "..", "fixtures", "stores-and-dies.ts"), args, {
      execArgv: ["--import", "tsx"],
      env: { ...process.env, DATABASE_URL: database.url, SPEC_SCHEMA: database.schema },
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    const [, signal] = (await once(child, "exit")) as [number | null, string | null];
    expect(signal).toBe("SIGKILL");
    expect(await wait).toBe(1);
    return waiting;
  }

  it("is announced, since the server has the notification before it answers the store", async () => {
    const waiting = await waitForKilled(600_000);
    expect(waiting.stats().wokenBy).toMatchObject({ sweep: 0, notification: 1 });
  });

  it("is found by the waiter's sweep if its pool could not pipeline", async () => {
    const waiting = await waitForKilled(300, "pool");
    expect(waiting.stats().wokenBy).toMatchObject({ sweep: 1, notification: 0 });
  });
});
