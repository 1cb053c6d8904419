import { maxWaitingIds, MergingPublisher } from "../../lib/notifications/merging-publisher";
import { eventually } from "../support/eventually";
import { ListeningSource, SlowPublisher } from "../support/slow-notifier";
import { specDatabase } from "../support/spec-database";

describe("announcements", () => {
  let carrier: SlowPublisher;
  let publisher: MergingPublisher;
  let warnings: string[];
  beforeEach(() => {
    carrier = new SlowPublisher();
    warnings = [];
    publisher = new MergingPublisher(carrier, { warn: (message: string) => warnings.push(message) });
  });
  afterEach(async () => {
    publisher.close();
    await carrier.confirm();
  });

  it("are merged while earlier ones are unconfirmed", async () => {
    publisher.announce("ids", ["a"]);
    await carrier.confirm();
    expect(carrier.told).toEqual(["ids a"]);
    publisher.announce("ids", ["b", "c"]);
    publisher.announce("members", ["g"]);
    publisher.announce("ids", ["c", "d"]);
    expect(publisher.unconfirmed).toBe(5);
    await carrier.confirm();
    expect(carrier.told.slice(1)).toEqual(["ids b c d", "members g"]);
    await carrier.confirm();
    expect(publisher).toMatchObject({ unconfirmed: 0, lagMs: 0 });
  });

  it("are not sent if there are none", async () => {
    publisher.announce("ids", []);
    await carrier.confirm();
    expect(carrier.told).toEqual([]);
    await publisher.drain();
  });

  it("are replaced by a rescan when too many wait, and later ones are still sent", async () => {
    publisher.announce("ids", ["under way"]);
    await carrier.confirm();
    const ids = Array.from({ length: maxWaitingIds + 1 }, (_, index) => `id ${index}`);
    publisher.announce("ids", ids);
    publisher.announce("ids", ["later"]);
    await carrier.confirm();
    expect(carrier.told).toEqual(["ids under way", "ids later", "rescan"]);
  });

  it("are drained once all are confirmed", async () => {
    publisher.announce("ids", ["a"]);
    let isDrained = false;
    const drained = publisher.drain().then(() => (isDrained = true));
    await carrier.confirm();
    publisher.announce("ids", ["b"]);
    await carrier.confirm();
    expect([carrier.told, isDrained]).toEqual([["ids a", "ids b"], false]);
    await carrier.confirm();
    await drained;
  });

  it("that fail are made again, together with later ones, until they are confirmed", async () => {
    publisher.announce("ids", ["a"]);
    await carrier.confirm();
    publisher.announce("members", ["g"]);
    await carrier.fail();
    publisher.announce("ids", ["b"]);
    expect(publisher.unconfirmed).toBe(3);
    await eventually(() => expect(carrier.told.slice(1)).toEqual(["ids a b", "members g"]));
    await carrier.fail();
    await eventually(() => expect(carrier.told.slice(3)).toEqual(["ids a b", "members g"]));
    await carrier.confirm();
    expect(publisher).toMatchObject({ unconfirmed: 0, lagMs: 0, counters: { unconfirmed: 2 } });
    expect(warnings).toEqual(["The notifier failed, and is tried again until it succeeds. Error: no carrier"]);
  });

  it("that fail are replaced by a rescan when too many wait", async () => {
    publisher.announce("ids", ["under way"]);
    await carrier.confirm();
    publisher.announce(
      "ids",
      Array.from({ length: maxWaitingIds }, (_, index) => `id ${index}`),
    );
    await carrier.fail();
    await eventually(() => expect(carrier.told.slice(1)).toEqual(["rescan"]));
  });

  it("are not made again once the publisher is closed", async () => {
    publisher.announce("ids", ["a"]);
    await carrier.confirm();
    await carrier.fail();
    publisher.close();
    await publisher.drain();
    publisher.announce("ids", ["b"]);
    await carrier.confirm();
    expect(carrier.told).toEqual(["ids a"]);
  });
});

describe("a backend with a notifier", () => {
  const database = specDatabase("merging publisher");

  it("stores and closes although the notifier fails at everything", async () => {
    const failing = (): never => {
      throw new Error("no carrier");
    };
    const source = new ListeningSource();
    source.close = async () => Promise.reject(new Error("no carrier"));
    const publisher = { announce: failing, rescan: failing, drain: failing };
    const warnings: string[] = [];
    const logger = { info: () => undefined, warn: (message: string) => warnings.push(message), error: () => undefined };
    const backend = await database.open({ logger, notifier: { name: "failing", open: () => ({ source, publisher }) } });
    await backend.store("stored", 1);
    await backend.initGroup("stored", 0);
    await eventually(() => expect(backend.stats().announcementsFailed).toBeGreaterThan(0));
    await backend.close();
    expect(warnings).toEqual([
      "The notifier failed, and is tried again until it succeeds. Error: no carrier",
      "The notifier could not be closed. Error: no carrier",
    ]);
    await eventually(async () => expect(await database.connections()).toEqual([]));
  });

  it("merges the announcements of stores while an earlier one is unconfirmed", async () => {
    const publisher = new SlowPublisher();
    const source = new ListeningSource();
    const backend = await database.open({ notifier: { name: "slow", open: () => ({ source, publisher }) } });
    for (const taskId of ["a", "b", "c"]) await backend.store(taskId, 1);
    expect(publisher.told).toEqual(["ids a"]);
    await publisher.confirm();
    expect(publisher.told).toEqual(["ids a", "ids b c"]);
    await publisher.confirm();
  });
});
