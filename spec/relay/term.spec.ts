import { maxWaitingIds } from "../../lib/notifications/merging-publisher";
import { encodePayloads, rescanPayload } from "../../lib/notifications/payload";
import { RelayCounters, Term } from "../../lib/relay/term";
import { ListeningSource, SlowPublisher } from "../support/slow-notifier";

describe("what a relay hands on", () => {
  let source: ListeningSource;
  let publisher: SlowPublisher;
  let counters: RelayCounters;
  let term: Term;
  beforeEach(async () => {
    source = new ListeningSource();
    publisher = new SlowPublisher();
    counters = new RelayCounters();
    term = new Term(source, publisher, { warn: () => undefined }, counters);
    await publisher.confirm();
  });
  afterEach(async () => {
    await term.end();
    await publisher.confirm();
  });

  const receive = (payloads: readonly string[]): void => payloads.forEach((payload) => source.receive(payload));

  it("is merged while something is under way, each id once, by what it is", async () => {
    receive(encodePayloads("ids", ["a", "b"]));
    await publisher.confirm();
    receive(['{"v":1,"ids":["c"]}', '{"v":1,"members":["g"]}', '{"v":1,"ids":["d","c"]}', '{"v":1,"done":["g"]}']);
    expect(term.unpublished).toBe(6);
    await publisher.confirm();
    await publisher.confirm();
    expect(publisher.told).toEqual(["rescan", "ids a b", "ids c d", "done g", "members g"]);
    expect(term).toMatchObject({ unpublished: 0, lagMs: 0 });
    expect(counters).toMatchObject({ terms: 1, ids: { ids: 4, groups: 0, done: 1, members: 1 } });
  });

  it("is a rescan when too many ids are queued", async () => {
    receive(encodePayloads("ids", ["under way"]));
    await publisher.confirm();
    const ids = Array.from({ length: maxWaitingIds + 1 }, (_, index) => `id ${index}`);
    receive(encodePayloads("ids", ids));
    expect(term.unpublished).toBeLessThan(maxWaitingIds);
    await publisher.confirm();
    expect(publisher.told.at(-1)).toBe("rescan");
    expect(counters.rescans).toEqual({ takeover: 1, reconnect: 0, announced: 0, overflow: 1 });
  });

  it("is a rescan after each interruption, and whenever one is announced", async () => {
    source.setStatus("connecting");
    source.setStatus("listening");
    await publisher.confirm();
    receive([...encodePayloads("ids", ["beside it"]), rescanPayload]);
    await publisher.confirm();
    expect(publisher.told).toEqual(["rescan", "rescan", "ids beside it", "rescan"]);
    expect(counters.rescans).toEqual({ takeover: 1, reconnect: 1, announced: 1, overflow: 0 });
  });

  it("is nothing once another relay leads", async () => {
    receive(encodePayloads("ids", ["under way"]));
    await publisher.confirm();
    receive([...encodePayloads("ids", ["too late"]), rescanPayload]);
    await term.end();
    receive(encodePayloads("ids", ["far too late"]));
    await publisher.confirm();
    await term.finish();
    expect(publisher.told).toEqual(["rescan", "ids under way"]);
  });
});
