import { eventually } from "../support/eventually";
import { TcpProxy } from "../support/tcp-proxy";
import { faultSuite } from "./support/fault-suite";

/** A message whose body ends with a zero byte (PostgreSQL docs, "Message Formats"). */
function message(type: string, body: string): Buffer {
  const head = Buffer.from(`${type}\0\0\0\0`);
  head.writeInt32BE(body.length + 5, 1);
  return Buffer.concat([head, Buffer.from(`${body}\0`)]);
}

describe("a session that listens", () => {
  const suite = faultSuite();

  it.each([
    ["UNLISTEN *", "UNLISTEN"],
    // As in `server_reset_query` of PgBouncer.
    ["DISCARD ALL", "DISCARD ALL"],
  ])(
    "by a pooler that sends %s is found to be deaf by the heartbeat, and replaced",
    async (statement, tag) => {
      const proxy = await TcpProxy.start(suite.server.url);
      const backend = await suite.open({
        listen: { connection: proxy.route(suite.server.url) },
        sweepIntervalMs: 120_000,
      });
      await backend.ready();
      const waits = backend.wait(`after ${statement}`, 120_000);
      await eventually(() => expect(backend.stats()).toMatchObject({ status: "listening", reads: { inFlight: 0 } }));
      const answer = Buffer.concat([message("C", tag), Buffer.from([0x5a, 0, 0, 0, 5, 0x49])]);
      let isAnswered = false;
      proxy.rewrite = (chunk) => {
        const start = chunk.indexOf(answer);
        if (start === -1) return chunk;
        isAnswered = true;
        return Buffer.concat([chunk.subarray(0, start), chunk.subarray(start + answer.length)]);
      };
      proxy.injectUpstream(message("Q", statement));
      await eventually(() => expect(isAnswered).toBe(true));
      // No listener hears of this one.
      await backend.store(`after ${statement}`, 1);
      const deafSince = performance.now();
      // The heartbeat is sent every 10 s and has 5 s for its answer.
      await eventually(() => expect(backend.stats().reconnects).toBe(1), { timeoutMs: 30_000 });
      expect(performance.now() - deafSince).toBeLessThan(25_000);
      expect(await waits).toBe(1);
      await eventually(() => expect(backend.stats().status).toBe("listening"), { timeoutMs: 30_000 });
      const again = backend.wait(`again ${statement}`, 60_000);
      await eventually(() => expect(backend.stats().reads.inFlight).toBe(0));
      await backend.store(`again ${statement}`, 2);
      expect(await again).toBe(2);
      expect(backend.stats().wokenBy).toMatchObject({ reconnect: 1, notification: 1 });
      await backend.close();
      await proxy.stop();
    },
    120_000,
  );
});
