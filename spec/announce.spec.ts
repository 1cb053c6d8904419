import type { PoolClient } from "pg";
import { BackendClosedError, type PostgresResultBackend } from "kojin-postgres";
import { nats } from "kojin-postgres/nats";
import { eventually } from "./support/eventually";
import { NatsServer } from "./support/nats-server";
import { specDatabase } from "./support/spec-database";
import { describeWithNats } from "./support/where";

/** So long that no sweep runs: every result comes by a notification. */
const sweepIntervalMs = 600_000;

describeWithNats()("announcing over NATS what a caller's transaction stored", () => {
  const database = specDatabase("announce");
  let server: NatsServer;
  beforeAll(async () => {
    server = await NatsServer.start();
  });
  afterAll(async () => server.stop());

  const open = async (): Promise<PostgresResultBackend> =>
    database.open({ notifier: nats({ servers: server.url }), sweepIntervalMs });
  const inTransaction = async (work: (client: PoolClient) => Promise<unknown>): Promise<void> => {
    const client = await database.pool.connect();
    try {
      await client.query("begin");
      await work(client);
      await client.query("commit");
    } finally {
      client.release();
    }
  };
  /** Resolves once everything asked for has been read without a result. */
  const hasRead = async (backend: PostgresResultBackend): Promise<void> => {
    await backend.ready();
    await eventually(() => {
      const { statements, queued, inFlight } = backend.stats().reads;
      expect([statements > 0, queued, inFlight]).toEqual([true, 0, 0]);
    });
  };

  it("wakes waits for a result", async () => {
    const [storing, waiting] = [await open(), await open()];
    const taskId = "result";
    const wait = waiting.wait(taskId, 30_000);
    await hasRead(waiting);
    await inTransaction(async (client) => storing.store(taskId, 1, { client }));
    storing.announce({ taskIds: [taskId] });
    expect(await wait).toBe(1);
    expect(waiting.stats().wokenBy.notification).toBe(1);
  });

  it("wakes waits for a group", async () => {
    const [storing, waiting] = [await open(), await open()];
    const groupId = "group";
    const wait = waiting.waitGroup(groupId, 30_000);
    await hasRead(waiting);
    await inTransaction(async (client) => {
      await storing.initGroup(groupId, 1, { client });
      await storing.completeGroupMember(groupId, "member", "done", { client });
    });
    storing.announce({ groupIds: [groupId] });
    expect(await wait).toEqual(["done"]);
    expect(waiting.stats().wokenBy.notification).toBe(1);
  });

  it("refuses what cannot be an id, and a backend that is closed", async () => {
    const backend = await database.open();
    expect(() => backend.announce({ taskIds: [""] })).toThrow(RangeError);
    expect(() => backend.announce({ groupIds: ["\0"] })).toThrow(RangeError);
    await backend.close();
    expect(() => backend.announce({ taskIds: ["task"] })).toThrow(BackendClosedError);
  });
});
