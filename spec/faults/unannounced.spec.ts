import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { specDatabase } from "../support/spec-database";

describe("with notify: 'deferred'", () => {
  const database = specDatabase("unannounced");

  it("what a process has committed and not announced when it dies is found by the waiter's sweep", async () => {
    const waiting = await database.open({ sweepIntervalMs: 300 });
    const wait = waiting.wait("stored", 60_000);
    await waiting.ready();
    const child = fork(join(__dirname, "..", "fixtures", "stores-and-dies.ts"), {
      execArgv: ["--import", "tsx"],
      env: { ...process.env, DATABASE_URL: database.url, SPEC_SCHEMA: database.schema },
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    const [, signal] = (await once(child, "exit")) as [number | null, string | null];
    expect(signal).toBe("SIGKILL");
    expect(await wait).toBe(1);
    expect(waiting.stats().wokenBy).toMatchObject({ sweep: 1, notification: 0 });
  });
});
