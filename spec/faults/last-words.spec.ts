import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

/** An ErrorResponse (PostgreSQL docs, "Message Formats") as a server sends it when it ends a session. */
function fatal(sqlState: string, text: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${sqlState}\0M${text}\0\0`);
  const head = Buffer.alloc(5);
  head.write("E");
  head.writeUInt32BE(fields.length + 4, 1);
  return Buffer.concat([head, fields]);
}

/**
 * A crashing server may send more than one such message. The driver emits an error event for each, and an unhandled one
 * ends the process.
 */
const lastWords = Buffer.concat([
  fatal("57P02", "the system is going down"),
  fatal("57P01", "terminating connection due to unexpected postmaster exit"),
  fatal("57P01", "terminating connection due to unexpected postmaster exit"),
]);

describe("several last words of a server", () => {
  const database = specDatabase("last words");

  it("only cost a listener its connection", async () => {
    const proxy = await TcpProxy.start(database.url);
    const [waiting, storing] = [
      await database.open({ listen: { connection: proxy.route(database.url) } }),
      await database.open(),
    ];
    const waits = waiting.wait("heard", 20_000);
    await eventually(() => expect(waiting.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
    proxy.inject(lastWords);
    await eventually(() => expect(waiting.stats()).toMatchObject({ status: "listening", reconnects: 1 }));
    await storing.store("heard", 1);
    expect(await waits).toBe(1);
    await waiting.close();
    await proxy.stop();
  });

  it("only cost the pool its connections, also those that had just become ready", async () => {
    const proxy = await TcpProxy.start(database.url);
    const backend = await database.open({}, proxy.route(database.url));
    proxy.lastWords = lastWords;
    const stored = Promise.all(Array.from({ length: 20 }, async (_, index) => backend.store(`stored ${index}`, index)));
    await eventually(() => expect(backend.stats().stores.retries).toBeGreaterThan(1));
    proxy.lastWords = undefined;
    await stored;
    expect(await backend.get("stored 19")).toBe(19);
    await backend.close();
    await proxy.stop();
  });
});
