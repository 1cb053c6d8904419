import type { PostgresResultBackend } from "kojin-postgres";
import { firstValueFrom } from "rxjs";
import { eventually } from "../support/eventually";
import { specDatabase } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

// With a single connection for reads, the answer of one that began earlier arrives first.
describe("what was replaced before a subscription", () => {
  const database = specDatabase("older reads");
  let proxy: TcpProxy;
  let storing: PostgresResultBackend;
  let waiting: PostgresResultBackend;

  beforeEach(async () => {
    proxy = await TcpProxy.start(database.poolUrl);
    storing = await database.open();
    waiting = await database.open({}, { connectionString: proxy.route(database.poolUrl), max: 1 });
    // The first read of a backend also checks the schema.
    await waiting.get("nothing");
  });
  afterEach(async () => {
    await waiting.close();
    await proxy.stop();
  });

  /** Holds back the answer of a read that `begin` starts. */
  async function duringRead<T>(begin: () => T): Promise<T> {
    proxy.holdAnswers();
    const begun = begin();
    await eventually(() => expect(proxy.heldBack).toBeGreaterThan(0));
    return begun;
  }

  it("does not end the wait for a result", async () => {
    await storing.store("result", 1);
    const earlier = await duringRead(() => ({ wait: waiting.wait("result", 10_000) }));
    await storing.delete("result");
    const later = waiting.wait("result", 10_000);
    proxy.releaseHeld();
    expect(await earlier.wait).toBe(1);
    await storing.store("result", 2);
    expect(await later).toBe(2);
  });

  it("is not the first state of a group", async () => {
    await storing.initGroup("group", 1);
    const earlier = await duringRead(() => waiting.group$("group").subscribe());
    await storing.deleteGroup("group");
    await storing.initGroup("group", 2);
    const later = firstValueFrom(waiting.group$("group"));
    proxy.releaseHeld();
    expect(await later).toMatchObject({ total: 2 });
    earlier.unsubscribe();
  });

  it("is not the beginning of a stream of chunks", async () => {
    await storing.emit("chunks", 1);
    const earlier = await duringRead(() => waiting.chunks$("chunks").subscribe());
    await storing.emit("chunks", 2, { restart: true });
    const later = firstValueFrom(waiting.chunks$("chunks"));
    proxy.releaseHeld();
    expect(await later).toMatchObject({ kind: "chunk", attempt: 2, value: 2 });
    earlier.unsubscribe();
  });
});
