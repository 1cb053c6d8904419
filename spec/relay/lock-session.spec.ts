import { once } from "node:events";
import { Socket } from "node:net";
import { setImmediate as soon } from "node:timers/promises";
import { types } from "pg";
import { LockSession } from "../../lib/relay/leadership";
import { specDatabase } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

/** An ErrorResponse (PostgreSQL docs, "Message Formats") as a server sends it when it ends a session. */
const lastWords = Buffer.from("E\0\0\0\x19SFATAL\0C57P01\0Mgone\0\0");

describe("the session that has a relay's lock", () => {
  const database = specDatabase("lock session", { migrated: false });

  const open = async (lost: Error[], url: string, socket: Socket): Promise<LockSession> => {
    const life = new AbortController();
    life.signal.addEventListener("abort", () => lost.push(life.signal.reason as Error));
    return LockSession.open({ connectionString: url, stream: () => socket }, database.schema, life);
  };

  it("tells of its loss in that moment, without being asked, and once", async () => {
    const lost: Error[] = [];
    const socket = new Socket();
    const session = await open(lost, database.url, socket);
    const closed = once(socket, "close");
    for (const { pid } of await database.connections()) await database.sql("select pg_terminate_backend($1)", [pid]);
    await closed;
    // The driver says "error" first, and "end" in the next turn.
    await soon();
    expect(lost).toHaveLength(1);
    await session.dispose();
  });

  it("gets its lock whatever parsers the application has given the driver", async () => {
    const { BOOL, INT4, TEXT } = types.builtins;
    const ids = [BOOL, INT4, TEXT];
    const before = ids.map((id) => types.getTypeParser(id) as (value: string) => unknown);
    for (const id of ids) types.setTypeParser(id, () => Symbol("of the application"));
    try {
      const session = await open([], database.url, new Socket());
      expect(await session.tryLock()).toBe(true);
      await session.unlock();
      await session.dispose();
    } finally {
      ids.forEach((id, index) => types.setTypeParser(id, before[index] ?? String));
    }
  });

  it("is not lost to who never had it, nor to who has ended it", async () => {
    const lost: Error[] = [];
    const proxy = await TcpProxy.start(database.url);
    proxy.lastWords = lastWords;
    await expect(open(lost, proxy.route(database.url), new Socket())).rejects.toThrow();
    proxy.lastWords = undefined;
    const session = await open(lost, proxy.route(database.url), new Socket());
    await session.dispose();
    await proxy.stop();
    expect(lost).toEqual([]);
  });
});
