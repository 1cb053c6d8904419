import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { PostgresResultBackend } from "kojin-postgres";
import { type StartedProgram, startProgram } from "../cli/support/start-program";
import { jsonLines } from "../cli/support/run-cli";
import { eventually } from "../support/eventually";
import { describeWithNats } from "../support/where";
import { openWait, relaySuite } from "./support/relay-suite";

interface Line {
  readonly role: string;
  readonly ok: boolean;
}

describeWithNats()("a relay as a process", () => {
  const started: StartedProgram[] = [];
  // Before the hooks of the suite, which look for what is left.
  afterEach(async () => {
    for (const { child, exit } of started.splice(0)) {
      child.kill("SIGKILL");
      await exit;
    }
  });
  const suite = relaySuite("relay processes");
  const { database, results } = suite;

  const start = (): StartedProgram => {
    const args = ["relay", "--json", "--schema", database.schema];
    const program = startProgram(args, { DATABASE_URL: database.url, NATS_URL: suite.nats.url });
    started.push(program);
    return program;
  };
  const lastOf = ({ stdout }: StartedProgram): Line | undefined =>
    jsonLines<Line>(stdout().replace(/[^\n]*$/, "")).at(-1);
  const untilRole = async (program: StartedProgram, role: string): Promise<void> =>
    eventually(() => expect(lastOf(program)).toMatchObject({ role, ok: true }), { timeoutMs: 30_000 });
  const insert = async (ids: readonly string[]): Promise<unknown> =>
    database.sql(`insert into ${results} (task_id, result) select id, to_jsonb(id) from unnest($1::text[]) as id`, [
      ids,
    ]);
  /** One that leads, and one that stands by. */
  const startTwo = async (): Promise<[StartedProgram, StartedProgram]> => {
    const first = start();
    await untilRole(first, "leader");
    const second = start();
    await untilRole(second, "standby");
    return [first, second];
  };
  const expectToWake = async (waiting: PostgresResultBackend, taskId: string): Promise<void> => {
    const { result } = await openWait(waiting, taskId);
    await insert([taskId]);
    expect(await result).toBe(taskId);
  };

  it("is followed at once by the one that stands by when it is killed, and nothing is lost", async () => {
    const [first, second] = await startTwo();
    const waiting = await suite.waiting();
    const { result } = await openWait(waiting, "in between");
    const killedAt = performance.now();
    first.child.kill("SIGKILL");
    await insert(["in between"]);
    expect(await result).toBe("in between");
    await untilRole(second, "leader");
    const tookMs = performance.now() - killedAt;
    await expectToWake(waiting, "afterwards");
    expect(waiting.stats().wokenBy).toMatchObject({ sweep: 0, deadline: 0 });
    expect(tookMs).toBeLessThan(15_000);
  });

  it("is followed by the one that stands by when it hangs, nothing is lost, and stands by when it goes on", async () => {
    const [first, second] = await startTwo();
    const waiting = await suite.waiting();
    const { result } = await openWait(waiting, "while it hangs");
    first.child.kill("SIGSTOP");
    await insert(["while it hangs"]);
    await untilRole(second, "leader");
    expect(await result).toBe("while it hangs");
    first.child.kill("SIGCONT");
    await untilRole(first, "standby");
    expect(lastOf(second)).toMatchObject({ role: "leader", ok: true });
    await expectToWake(waiting, "once it goes on");
    expect(waiting.stats().wokenBy).toMatchObject({ sweep: 0, deadline: 0 });
  });

  it("may be killed and started again while 10 000 wait and others store: all have their results, long before they would look", async () => {
    let relaying = start();
    await untilRole(relaying, "leader");
    const waiting = await suite.waiting();
    const ids = Array.from({ length: 10_000 }, (_, index) => `load ${index}`);
    const waits = Promise.all(ids.map(async (id) => waiting.wait<string>(id, 120_000)));
    await eventually(() => expect(waiting.stats().reads).toMatchObject({ queued: 0, inFlight: 0 }));
    for (let first = 0; first < ids.length; first += 100) {
      if (first === 3_000) {
        relaying.child.kill("SIGKILL");
        await relaying.exit;
        relaying = start();
      }
      await insert(ids.slice(first, first + 100));
      // Half of the rest is stored while no relay runs, and the other half once one does.
      if (first === 6_000) await untilRole(relaying, "leader");
    }
    expect(await waits).toEqual(ids);
    expect(waiting.stats()).toMatchObject({ waiting: 0, caughtBySweep: 0, wokenBy: { sweep: 0, deadline: 0 } });
  });

  it("ends in order at SIGTERM, and leaves nothing connected", async () => {
    const relaying = start();
    await untilRole(relaying, "leader");
    expect(await suite.nats.connections()).toHaveLength(1);
    relaying.child.kill("SIGTERM");
    expect(await relaying.exit).toEqual([0, null]);
    expect(relaying.stderr()).toBe("");
    expect(lastOf(relaying)).toMatchObject({ role: "closed" });
    await eventually(async () => expect(await suite.nats.connections()).toEqual([]));
    await eventually(async () => expect(await database.connections()).toEqual([]));
  });

  it("says what to install where the client for NATS is not there", async () => {
    const without = pathToFileURL(join(__dirname, "fixtures", "without-client.mjs")).href;
    const env = { DATABASE_URL: database.url, NODE_OPTIONS: `--import ${without}` };
    const { exit, stdout, stderr } = startProgram(["relay", "--schema", database.schema], env);
    expect(await exit).toEqual([1, null]);
    expect(stdout()).toBe("");
    expect(stderr()).toBe(
      "kojin-postgres: kojin-postgres/nats needs the package @nats-io/transport-node: npm install @nats-io/transport-node.\n",
    );
  });
});
