import { type Connection, escapeIdentifier, type Notification, Query } from "pg";
import type { PostgresResultBackend } from "kojin-postgres";
import { channelOf } from "../../lib/notifications/payload";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { itSincePostgres } from "../support/where";

/** Answers the server's request for the data of `COPY … FROM STDIN`, which the driver leaves to others. */
class CopyIn extends Query {
  readonly #rows: string;

  constructor(text: string, rows: string, callback: (error: Error | undefined) => void) {
    super(text, callback);
    this.#rows = rows;
  }

  handleCopyInResponse(connection: Connection & { sendCopyFromChunk(chunk: Buffer): void; endCopyFrom(): void }): void {
    connection.sendCopyFromChunk(Buffer.from(this.#rows));
    connection.endCopyFrom();
  }
}

describe("bulk writes", () => {
  const database = specDatabase("bulk writes");
  const schema = escapeIdentifier(database.schema);
  const results = `${schema}.kojin_results`;
  const members = `${schema}.kojin_groups`;
  const channel = channelOf(database.schema);
  let waiting: PostgresResultBackend;

  beforeEach(async () => {
    waiting = await database.open();
  });

  async function copy(target: string, rows: readonly (readonly string[])[]): Promise<void> {
    const client = await database.pool.connect();
    const text = rows.map((row) => `${row.join("\t")}\n`).join("");
    await new Promise<void>((resolve, reject) => {
      client.query(
        new CopyIn(`copy ${target} from stdin`, text, (error) => (error instanceof Error ? reject(error) : resolve())),
      );
    });
    client.release();
  }

  /**
   * Collects everything that `work` announces. Notifications arrive in commit order, so a final marker ends the list.
   */
  async function announced(work: () => Promise<void>): Promise<string[]> {
    const client = await database.pool.connect();
    const payloads: string[] = [];
    const note = ({ payload = "" }: Notification): void => void payloads.push(payload);
    client.on("notification", note);
    await client.query(`listen ${channel}`);
    await work();
    await database.sql("select pg_notify($1, 'marker')", [channel]);
    await eventually(() => expect(payloads.at(-1)).toBe("marker"));
    await client.query("unlisten *");
    client.removeListener("notification", note);
    client.release();
    return payloads.slice(0, -1);
  }

  async function waitsAreOpen(): Promise<void> {
    await eventually(() => expect(waiting.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
  }

  it("by COPY are announced once, with all of their ids", async () => {
    const waits = [waiting.wait("copied 1", 20_000), waiting.wait("copied 2", 20_000)];
    await waitsAreOpen();
    const payloads = await announced(async () =>
      copy(`${results} (task_id, result)`, [
        ["copied 1", "1"],
        ["copied 2", '"two"'],
      ]),
    );
    expect(payloads).toEqual(['{"v":1,"ids":["copied 1","copied 2"]}']);
    expect(await Promise.all(waits)).toEqual([1, "two"]);
    expect(waiting.stats().wokenBy).toMatchObject({ notification: 2, sweep: 0 });
  });

  it("of 20 000 rows by COPY are announced by one payload that names none", async () => {
    const result = waiting.wait("many 19999", 20_000);
    await waitsAreOpen();
    const rows = Array.from({ length: 20_000 }, (_, index) => [`many ${index}`, String(index)]);
    const payloads = await announced(async () => copy(`${results} (task_id, result)`, rows));
    expect(payloads).toEqual(['{"v":1,"rescan":true}']);
    expect(await result).toBe(19_999);
    expect(waiting.stats().wokenBy).toMatchObject({ notification: 1, sweep: 0 });
  });

  it("of members by COPY are counted, and complete their groups", async () => {
    await waiting.initGroup("copied", 2);
    const groups = [waiting.waitGroup("copied", 20_000), waiting.waitGroup("group 5999", 20_000)];
    await waitsAreOpen();
    const columns = "(group_id, task_id, result, completed)";
    await copy(`${members} ${columns}`, [
      ["copied", "a", "1", "t"],
      ["copied", "b", "2", "t"],
    ]);
    expect(await groups[0]).toEqual([1, 2]);
    const ids = Array.from({ length: 6_000 }, (_, index) => `group ${index}`);
    const placeholders = ids.map((id) => [id, `${id}:placeholder:0`, "\\N", "f"]);
    await copy(`${members} ${columns}`, placeholders);
    const payloads = await announced(async () =>
      copy(
        `${members} ${columns}`,
        ids.map((id, index) => [id, "member", String(index), "t"]),
      ),
    );
    expect(payloads).toEqual(['{"v":1,"rescan":true}']);
    expect(await groups[1]).toEqual([5_999]);
    expect(await waiting.getGroup("group 0")).toMatchObject({ total: 1, completed: 1, done: true });
  });

  itSincePostgres(15, "MERGE")("of members by MERGE are counted once, new ones and those that were there", async () => {
    await waiting.initGroup("merged", ["a", "b", "c"]);
    await waiting.failGroupMember("merged", "b", new Error("first try"));
    await waiting.completeGroupMember("merged", "c", 3);
    const group = waiting.waitGroup("merged", 20_000);
    await waitsAreOpen();
    await database.sql(
      `merge into ${members} as target
       using (values ('merged', 'a'), ('merged', 'b'), ('merged', 'c'), ('strangers', 'd')) as source (group_id, task_id)
       on target.group_id = source.group_id and target.task_id = source.task_id
       when matched then update set result = to_jsonb(source.task_id), completed = true
       when not matched then insert (group_id, task_id, result, completed) values (source.group_id, source.task_id, '4', true)`,
    );
    expect(await group).toEqual(["a", "b", "c"]);
    expect(await waiting.getGroup("merged")).toMatchObject({ completed: 3, failed: 0, done: true });
    expect(await waiting.getGroup("strangers")).toMatchObject({ total: null, completed: 1, done: false });
  });

  it("of members by a session that plays a replica are counted once one has the triggers enabled anew", async () => {
    await waiting.initGroup("silent", 2);
    const group = waiting.waitGroup("silent", 20_000);
    await waiting.completeGroupMember("silent", "a", 1);
    const client = await database.pool.connect();
    await client.query("begin; set local session_replication_role = replica");
    await client.query(
      `insert into ${members} (group_id, task_id, result, completed) values ('silent', 'b', '2', true)`,
    );
    await client.query("commit");
    client.release();
    expect(await waiting.getGroup("silent")).toMatchObject({ completed: 1, done: false });
    // `migrate()` cannot know of this: the operator disabled one trigger.
    expect((await waiting.migrate()).repaired).toEqual([]);
    await database.sql(`alter table ${members} disable trigger kojin_groups_count_insert`);
    expect((await waiting.migrate()).repaired).toEqual(["kojin_groups_count_insert"]);
    expect(await group).toEqual([1, 2]);
    expect(await waiting.getGroup("silent")).toMatchObject({ completed: 2, done: true });
  });

  it("of a restore with its triggers disabled go on where the dump was made", async () => {
    await waiting.initGroup("dumped", ["a", "b", "c"]);
    await waiting.completeGroupMember("dumped", "b", 2);
    await waiting.failGroupMember("dumped", "c", new Error("first try"));
    const tables = ["kojin_group_state", "kojin_groups"];
    for (const table of tables) {
      await database.sql(
        `create table ${schema}."dump of ${table}" as select * from ${schema}.${table} where group_id = 'dumped'`,
      );
      await database.sql(`delete from ${schema}.${table} where group_id = 'dumped'`);
    }
    expect(await waiting.getGroup("dumped")).toBeUndefined();
    for (const table of tables) {
      await database.sql(`alter table ${schema}.${table} disable trigger all`);
      await database.sql(`insert into ${schema}.${table} select * from ${schema}."dump of ${table}"`);
      await database.sql(`alter table ${schema}.${table} enable trigger all`);
    }
    expect(await waiting.getGroup("dumped")).toMatchObject({ total: 3, completed: 1, failed: 1, done: false });
    const group = waiting.waitGroup("dumped", 20_000);
    expect(await waiting.completeGroupMember("dumped", "b", 2)).toBe(1);
    expect(await waiting.completeGroupMember("dumped", "c", 3)).toBe(2);
    expect(await waiting.completeGroupMember("dumped", "a", 1)).toBe(3);
    expect(await group).toEqual([1, 2, 3]);
  });
});
