import { Client } from "pg";
import type { PostgresResultBackend } from "kojin-postgres";
import { eventually } from "../support/eventually";
import { faultSuite } from "./support/fault-suite";

/**
 * An upgrade by logical replication from an old database to a new one. Both are on one server, so the slot has to be
 * created by hand.
 */
describe("rows that come by logical replication", () => {
  const suite = faultSuite({ wal_level: "logical" });
  let oldClient: Client;
  let newClient: Client;
  let newUrl: string;
  let oldBackend: PostgresResultBackend;
  let newBackend: PostgresResultBackend;

  async function connect(url: string): Promise<Client> {
    const client = new Client({ connectionString: url, application_name: "spec admin" });
    client.on("error", () => undefined);
    await client.connect();
    return client;
  }

  beforeAll(async () => {
    await suite.server.sql("create database upgraded");
    const url = new URL(suite.server.url);
    url.pathname = "/upgraded";
    newUrl = url.href;
    oldClient = await connect(suite.server.url);
    newClient = await connect(newUrl);
    oldBackend = await suite.open();
    newBackend = await suite.open({ sweepIntervalMs: 300 }, newUrl);
    await newBackend.migrate();
    await oldBackend.store("older", 1);
    await oldBackend.initGroup("older", ["a", "b"]);
    await oldBackend.completeGroupMember("older", "b", 2);
    await oldClient.query("create publication upgrade for table kojin_results, kojin_groups, kojin_group_state");
    await oldClient.query("select pg_create_logical_replication_slot('upgrade', 'pgoutput')");
    const { username, password, hostname, port } = new URL(suite.server.url);
    await newClient.query(
      `create subscription upgrade
       connection 'host=${hostname} port=${port} user=${username} password=${password} dbname=postgres'
       publication upgrade with (create_slot = false, slot_name = 'upgrade')`,
    );
  });
  afterAll(async () => {
    await Promise.all([oldClient.end(), newClient.end()]);
  });

  it("come with the first copy as they are, and what they count is not counted again", async () => {
    const [result, group] = [newBackend.wait("older", 60_000), newBackend.waitGroup("older", 60_000)];
    expect(await result).toBe(1);
    await eventually(async () =>
      expect(await newBackend.getGroup("older")).toMatchObject({ total: 2, completed: 1, done: false }),
    );
    await oldBackend.completeGroupMember("older", "a", 1);
    expect(await group).toEqual([1, 2]);
    expect(await newBackend.getGroup("older")).toMatchObject({ completed: 2, done: true });
  });

  it("are not announced, and found by the sweep", async () => {
    await newBackend.ready();
    const { sweep } = newBackend.stats().wokenBy;
    const waits = Array.from({ length: 100 }, async (_, index) => newBackend.wait(`replicated ${index}`, 60_000));
    await eventually(() => expect(newBackend.stats().reads.inFlight).toBe(0));
    await Promise.all(Array.from({ length: 100 }, async (_, index) => oldBackend.store(`replicated ${index}`, index)));
    expect(await Promise.all(waits)).toEqual(Array.from({ length: 100 }, (_, index) => index));
    expect(newBackend.stats().wokenBy).toMatchObject({ notification: 0, sweep: sweep + 100 });
  });

  it("complete groups, whose members are counted once", async () => {
    const waits = newBackend.waitGroup("replicated group", 60_000);
    await oldBackend.initGroup("replicated group", ["a", "b"]);
    await oldBackend.completeGroupMember("replicated group", "b", 2);
    await oldBackend.completeGroupMember("replicated group", "a", 1);
    expect(await waits).toEqual([1, 2]);
    expect(await newBackend.getGroup("replicated group")).toEqual({
      groupId: "replicated group",
      total: 2,
      completed: 2,
      failed: 0,
      done: true,
    });
  });

  it("go on in the new database, where the numbers of members go on above those that came", async () => {
    await oldBackend.initGroup("half", 200);
    await Promise.all(
      Array.from({ length: 100 }, async (_, index) => oldBackend.completeGroupMember("half", `old ${index}`, index)),
    );
    await eventually(async () => expect(await newBackend.getGroup("half")).toMatchObject({ completed: 100 }), {
      timeoutMs: 20_000,
    });
    const members: string[] = [];
    const done = new Promise<void>((resolve, reject) => {
      newBackend.groupMembers$("half").subscribe({
        next: ({ taskId }) => members.push(taskId),
        error: reject,
        complete: resolve,
      });
    });
    await eventually(() => expect(members).toHaveLength(100));
    // The steps of the operators' guide, in their order.
    await newClient.query(
      "select setval('kojin_group_seq', (select coalesce(max(finished_seq), 1) from kojin_groups))",
    );
    await newClient.query("alter subscription upgrade disable");
    await newClient.query("alter subscription upgrade set (slot_name = none)");
    await newClient.query("drop subscription upgrade");
    await eventually(async () => {
      await oldClient.query("select pg_drop_replication_slot('upgrade')");
    });
    const moved = await suite.open({}, newUrl);
    await Promise.all(
      Array.from({ length: 100 }, async (_, index) => moved.completeGroupMember("half", `new ${index}`, index)),
    );
    await done;
    expect(members).toHaveLength(200);
    expect(new Set(members).size).toBe(200);
    const waits = newBackend.wait("moved", 20_000);
    await eventually(() => expect(newBackend.stats().reads.inFlight).toBe(0));
    const { sweep } = newBackend.stats().wokenBy;
    await moved.store("moved", 1);
    expect(await waits).toBe(1);
    expect(newBackend.stats().wokenBy).toMatchObject({ sweep });
  });
});
