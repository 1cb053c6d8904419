import type { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { specDatabase, withParameter } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

const listeners = 50;

describe("a crowd of listeners that lose the same server", () => {
  const database = specDatabase("herds");

  it("does not hammer at it while it is away, and reads once what it waits for", async () => {
    const proxy = await TcpProxy.start(database.url);
    // Different names, as in different processes: within a process, equal names share a listener.
    const backends: PostgresResultBackend[] = [];
    for (let index = 0; index < listeners; index += 1) {
      const address = withParameter(database.url, "application_name", `${database.schema.slice(0, 40)} ${index}`);
      backends.push(await database.open({ listen: { connection: proxy.route(address) } }));
    }
    const storing = await database.open();
    const waits = backends.map(async (backend, index) => backend.wait(`herd ${index}`, 60_000));
    await eventually(
      () => backends.forEach((backend) => expect(backend.stats()).toMatchObject({ status: "listening" })),
      { timeoutMs: 20_000 },
    );

    proxy.mode = "refuse";
    const [cutAt, before] = [performance.now(), proxy.attempts.length];
    proxy.cut();
    await eventually(() => expect(proxy.attempts.length - before).toBeGreaterThan(5 * listeners), {
      timeoutMs: 30_000,
    });
    // Each waits twice as long as before, so most are at their sixth attempt, 1.5 to 3 s later. At 100 ms each it would
    // be half a second.
    expect(performance.now() - cutAt).toBeGreaterThan(1_500);

    const reads = backends.map((backend) => backend.stats().reads.statements);
    proxy.mode = "pass";
    await eventually(
      () => backends.forEach((backend) => expect(backend.stats()).toMatchObject({ status: "listening" })),
      { timeoutMs: 40_000 },
    );
    await Promise.all(backends.map(async (_, index) => storing.store(`herd ${index}`, index)));
    expect(await Promise.all(waits)).toEqual(Array.from({ length: listeners }, (_, index) => index));
    backends.forEach((backend, index) => {
      // One read after LISTEN, one for its own result, and one for each sweep in between. Other results cost it
      // nothing.
      const { statements } = backend.stats().reads;
      expect(statements - (reads[index] ?? 0)).toBeLessThanOrEqual(2 + backend.stats().sweeps);
    });
    await Promise.all(backends.map(async (backend) => backend.close()));
    await proxy.stop();
  });
});
