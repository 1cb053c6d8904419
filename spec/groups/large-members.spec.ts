import { escapeIdentifier } from "pg";
import { firstValueFrom, toArray } from "rxjs";
import { specDatabase } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

describe("large results of members", () => {
  const database = specDatabase("large members");
  const name = escapeIdentifier(database.schema);
  const isUnreadable = expect.objectContaining({ name: "ResultEncodingError", taskId: "grown" }) as unknown;

  it("arrive page by page over a slow link", async () => {
    const proxy = await TcpProxy.start(database.url);
    try {
      const storing = await database.open();
      const value = Array.from({ length: 65_536 }, () => Math.random().toString(36).slice(2, 10)).join("");
      await storing.initGroup("slow", 12);
      for (let index = 0; index < 12; index += 1) await storing.completeGroupMember("slow", `m ${index}`, value);
      // Two seconds for all, where a statement is given up once nothing arrives for half a second.
      const watching = await database.open({ retryTimeoutMs: 1_000, listen: false }, proxy.route(database.url));
      proxy.bytesPerSecond = 3 * 1024 * 1024;
      expect(await watching.waitGroup("slow", 50_000)).toEqual(Array.from({ length: 12 }, () => value));
      expect(await firstValueFrom(watching.groupMembers$("slow").pipe(toArray()))).toHaveLength(12);
    } finally {
      await proxy.stop();
    }
  });

  it.each(["result", "error"])("that are too long as text concern their own group alone: %s", async (column) => {
    const backend = await database.open({ maxResultBytes: 1024 * 1024 });
    const groupId = `too long ${column}`;
    await backend.initGroup(groupId, 2);
    await backend.completeGroupMember(groupId, "other", 1);
    const value = "(pg_catalog.concat('[', pg_catalog.repeat('1e131000,', 200), '1]'))::jsonb";
    await database.sql(
      `insert into ${name}.kojin_groups (group_id, task_id, ${column}, completed) values ($1, 'grown', ${value}, $2)`,
      [groupId, column === "result"],
    );
    await expect(backend.waitGroup(groupId, 30_000)).rejects.toEqual(isUnreadable);
    await expect(firstValueFrom(backend.groupResults$(groupId))).rejects.toEqual(isUnreadable);
    if (column === "result") await expect(backend.getGroupResults(groupId)).rejects.toEqual(isUnreadable);
    expect(await firstValueFrom(backend.groupMembers$(groupId).pipe(toArray()))).toEqual([
      { taskId: "other", status: "fulfilled", value: 1 },
      { taskId: "grown", status: "rejected", reason: isUnreadable },
    ]);
  });

  it("that are too long as text do not travel in notifications", async () => {
    const client = await database.pool.connect();
    try {
      await client.query("begin");
      await client.query("set local kojin.inline_bytes = '4000'");
      await client.query("set local statement_timeout = '5s'");
      await client.query(`insert into ${name}.kojin_results (task_id, result)
        select i::text, ('[' || repeat('1e131000,', 1200) || '1]')::jsonb from generate_series(1, 20) i`);
      await client.query("rollback");
    } finally {
      client.release();
    }
  });
});
