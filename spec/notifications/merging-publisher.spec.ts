import { maxWaitingIds, MergingPublisher } from "../../lib/notifications/merging-publisher";
import { ListeningSource, SlowPublisher } from "../support/slow-notifier";
import { specDatabase } from "../support/spec-database";

describe("announcements", () => {
  let carrier: SlowPublisher;
  let publisher: MergingPublisher;
  beforeEach(() => {
    carrier = new SlowPublisher();
    publisher = new MergingPublisher(carrier);
  });
  afterEach(async () => {
    publisher.clear();
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
});

describe("a backend with a notifier", () => {
  const database = specDatabase("merging publisher");

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
