import { Socket } from "node:net";
import { Client } from "pg";
import { type DedicatedSession, openDedicatedSession } from "../../lib/database/dedicated-session";
import { specDatabase } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

describe("a session outside any pool", () => {
  let proxy: TcpProxy;
  // Before it is looked whether anything is left connected.
  afterEach(async () => proxy.stop());
  const database = specDatabase("dedicated session", { migrated: false });
  beforeEach(async () => (proxy = await TcpProxy.start(database.url)));

  async function open(sockets: Socket[], signal = new AbortController().signal): Promise<DedicatedSession> {
    const stream = (): Socket => {
      const socket = new Socket();
      sockets.push(socket);
      return socket;
    };
    const config = { connectionString: proxy.route(database.url), stream };
    const sessionOptions = "-c idle_session_timeout=0";
    return openDedicatedSession({ config, sessionOptions, queryTimeoutMs: 1_000, signal }, (connection) => {
      const client = new Client(connection.config);
      client.on("error", () => undefined);
      return {
        connect: async () => {
          await client.connect();
        },
        dispose: async () => connection.end(client.end()),
      };
    });
  }

  const areDestroyed = (sockets: readonly Socket[]): boolean[] => sockets.map(({ destroyed }) => destroyed);

  it("is ended by force when the server no longer answers", async () => {
    const sockets: Socket[] = [];
    const session = await open(sockets);
    proxy.mode = "blackhole";
    expect(areDestroyed(sockets)).toEqual([false]);
    await session.dispose();
    expect(areDestroyed(sockets)).toEqual([true]);
  });

  it("is given up when the server does not answer at first, and not tried again without its options", async () => {
    const sockets: Socket[] = [];
    proxy.mode = "blackhole";
    const startedAt = performance.now();
    await expect(open(sockets)).rejects.toThrow("timeout");
    expect(performance.now() - startedAt).toBeLessThan(8_000);
    expect(areDestroyed(sockets)).toEqual([true]);
  });

  it("is ended by force when it is aborted before the server has answered", async () => {
    const sockets: Socket[] = [];
    proxy.mode = "blackhole";
    const controller = new AbortController();
    const opening = open(sockets, controller.signal);
    controller.abort(new Error("It was called off."));
    await expect(opening).rejects.toThrow("It was called off.");
    expect(areDestroyed(sockets)).toEqual([true]);
  });

  it("does not connect if its signal has aborted already", async () => {
    const sockets: Socket[] = [];
    await expect(open(sockets, AbortSignal.abort(new Error("long ago")))).rejects.toThrow("long ago");
    expect(proxy.attempts).toEqual([]);
    expect(areDestroyed(sockets)).toEqual([true]);
  });
});
