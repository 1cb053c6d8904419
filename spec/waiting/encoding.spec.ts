import { Client } from "pg";
import { DatabaseError, PostgresResultBackend } from "kojin-postgres";
import { channelOf } from "../../lib/notifications/payload";
import { eventually } from "../support/eventually";
import { ownDatabase } from "../support/own-database";

// Node is at home in UTF-8, and so are nearly all databases; in one that is not, not every id can exist.
describe("a database that is not in UTF-8", () => {
  const url = ownDatabase("waiting_latin1", "LATIN1");
  let backend: PostgresResultBackend;
  const warnings: string[] = [];

  beforeAll(async () => {
    backend = await PostgresResultBackend.connect(url, {
      logger: { info: () => undefined, warn: (text) => void warnings.push(text), error: () => undefined },
    });
    await backend.migrate();
    await backend.ready();
  });
  afterAll(() => backend.close());

  const notify = async (payload: string): Promise<void> => {
    const client = new Client(url);
    await client.connect();
    await client.query("select pg_notify($1, $2)", [channelOf("public"), payload]);
    await client.end();
  };

  it("rejects a wait for an id that it cannot hold, and no other", async () => {
    const ids = Array.from({ length: 50 }, (_, index) => `é ${index}`);
    const impossible = backend.wait("漢", 60_000).catch((reason: unknown) => reason);
    const impossibleGroup = backend.waitGroup("漢", 60_000).catch((reason: unknown) => reason);
    const waits = Promise.all(ids.map(async (id) => backend.wait(id, 60_000)));
    const group = backend.waitGroup("é", 60_000);
    for (const reason of [await impossible, await impossibleGroup]) {
      expect(reason).toBeInstanceOf(DatabaseError);
      expect(reason).toMatchObject({ sqlState: "22P05", transient: false });
    }
    for (const id of ids) await backend.store(id, id);
    await backend.initGroup("é", 0);
    expect(await waits).toEqual(ids);
    expect(await group).toEqual([]);
  });

  it("ends no stream when such an id is announced, and warns of it once", async () => {
    const seen: string[] = [];
    const errors: unknown[] = [];
    const error = (reason: unknown): void => void errors.push(reason);
    const results = backend.results$().subscribe({ next: ({ taskId }) => seen.push(taskId), error });
    const groups = backend.groupCompletions$().subscribe({ next: ({ groupId }) => seen.push(groupId), error });
    await notify(String.raw`{"v":1,"ids":["a","\u6f22","b"]}`);
    await notify(String.raw`{"v":1,"done":["a","\u6f22","b"]}`);
    await backend.store("after", 1);
    await backend.initGroup("after, too", 0);
    await eventually(() => expect(seen).toEqual(expect.arrayContaining(["after", "after, too"])));
    expect(errors).toEqual([]);
    // Until it can be read: what is announced again is heard before the marker.
    await notify(String.raw`{"v":1,"ids":["\u6f22","\u6f23"]}`);
    await backend.store("at last", 1);
    await eventually(() => expect(seen).toContain("at last"));
    const texts = warnings.filter((text) => text.startsWith("A stream leaves out"));
    expect(texts).toHaveLength(2);
    expect(texts[0]).toContain("漢");
    results.unsubscribe();
    groups.unsubscribe();
  });
});
