import { Socket } from "node:net";
import { Client } from "pg";
import { type LoneSession, openLoneSession } from "../../lib/database/lone-session";
import { specDatabase } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

describe("a session outside any pool", () => {
  let proxy: TcpProxy;
  // Before it is looked whether anything is left connected.
  afterEach(async () => proxy.stop());
  const database = specDatabase("lone session", { migrated: false });
  beforeEach(async () => (proxy = await TcpProxy.start(database.url)));

  async function open(sockets: Socket[], signal = new AbortController().signal): Promise<LoneSession> {
    const stream = (): Socket => {
      const socket = new Socket();
      sockets.push(socket);
      return socket;
    };
    return openLoneSession({
      config: { connectionString: proxy.route(database.url), stream },
      sessionOptions: "-c idle_session_timeout=0",
      queryTimeoutMs: 1_000,
      create: (connection) => {
        const client = new Client(connection.config);
        client.on("error", () => undefined);
        return { client, dispose: async () => connection.end(client.end()) };
      },
      connect: async ({ client }) => {
        await client.connect();
      },
      signal,
      abortMessage: "It was called off.",
    });
  }

  const areDestroyed = (sockets: readonly Socket[]): boolean[] => sockets.map(({ destroyed }) => destroyed);

  it("is ended by force when nobody answers any more", async () => {
    const sockets: Socket[] = [];
    const session = await open(sockets);
    proxy.mode = "blackhole";
    expect(areDestroyed(sockets)).toEqual([false]);
    await session.dispose();
    expect(areDestroyed(sockets)).toEqual([true]);
  });

  it("is given up when nobody answers at first, and not tried once more as if its options had been refused", async () => {
    const sockets: Socket[] = [];
    proxy.mode = "blackhole";
    const startedAt = performance.now();
    await expect(open(sockets)).rejects.toThrow("timeout");
    expect(performance.now() - startedAt).toBeLessThan(8_000);
    expect(areDestroyed(sockets)).toEqual([true]);
  });

  it("is ended by force when it is called off while nobody answers", async () => {
    const sockets: Socket[] = [];
    proxy.mode = "blackhole";
    const controller = new AbortController();
    const opening = open(sockets, controller.signal);
    controller.abort();
    await expect(opening).rejects.toThrow("It was called off.");
    expect(areDestroyed(sockets)).toEqual([true]);
  });

  it("does not even connect for somebody who has called it off already", async () => {
    const sockets: Socket[] = [];
    await expect(open(sockets, AbortSignal.abort(new Error("long ago")))).rejects.toThrow("long ago");
    expect(proxy.attempts).toEqual([]);
    expect(areDestroyed(sockets)).toEqual([true]);
  });
});
