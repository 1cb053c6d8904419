import type { HintPublisher } from "kojin-postgres";
import { decodeHint, encodeHints, rescanPayload } from "../../lib/notifications/hint";
import { RelayCounters } from "../../lib/relay/counters";
import { Forwarder, maxWaitingIds } from "../../lib/relay/forwarder";

/** Writes down what it is to announce, and has it confirmed when it is told to. */
class SlowPublisher implements HintPublisher {
  readonly told: string[] = [];
  #confirm: () => void = () => undefined;

  announce(name: string, ids: Iterable<string>): void {
    const list = [...ids];
    if (list.length > 0) this.told.push(`${name} ${list.join(" ")}`);
  }

  rescan(): void {
    this.told.push("rescan");
  }

  async drain(): Promise<void> {
    await new Promise<void>((resolve) => (this.#confirm = resolve));
  }

  /** Confirms what is under way, and lets what follows be told. */
  async confirm(): Promise<void> {
    this.#confirm();
    for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
  }
}

describe("what a relay hands on", () => {
  let publisher: SlowPublisher;
  let counters: RelayCounters;
  let forwarder: Forwarder;
  beforeEach(async () => {
    publisher = new SlowPublisher();
    counters = new RelayCounters();
    forwarder = new Forwarder(publisher, counters);
    receive(encodeHints("ids", ["first"]));
    await publisher.confirm();
  });
  afterEach(async () => {
    forwarder.stop();
    await publisher.confirm();
  });

  const receive = (payloads: readonly string[]): void => {
    for (const payload of payloads) {
      const hint = decodeHint(payload);
      if (hint !== undefined) forwarder.receive(hint);
    }
  };

  it("is merged while something is under way, each id once, by what it is", async () => {
    receive(encodeHints("ids", ["a", "b"]));
    await publisher.confirm();
    receive(['{"v":1,"ids":["c"]}', '{"v":1,"members":["g"]}', '{"v":1,"ids":["d","c"]}', '{"v":1,"done":["g"]}']);
    expect(forwarder.unpublished).toBe(6);
    await publisher.confirm();
    await publisher.confirm();
    expect(publisher.told).toEqual(["ids first", "ids a b", "ids c d", "done g", "members g"]);
    expect(forwarder).toMatchObject({ unpublished: 0, lagMs: 0 });
    expect(counters.ids).toEqual({ ids: 5, groups: 0, done: 1, members: 1 });
  });

  it("is, of too many ids that wait, that everybody should look", async () => {
    receive(encodeHints("ids", ["under way"]));
    await publisher.confirm();
    const ids = Array.from({ length: maxWaitingIds + 1 }, (_, index) => `id ${index}`);
    receive(encodeHints("ids", ids));
    expect(forwarder.unpublished).toBeLessThan(maxWaitingIds);
    await publisher.confirm();
    expect(publisher.told).toContain("rescan");
    expect(counters.rescans.overflow).toBe(1);
  });

  it("is nothing once somebody else leads", async () => {
    receive(encodeHints("ids", ["under way"]));
    await publisher.confirm();
    receive([...encodeHints("ids", ["too late"]), rescanPayload]);
    forwarder.stop();
    receive(encodeHints("ids", ["far too late"]));
    await publisher.confirm();
    await forwarder.drain();
    expect(publisher.told).toEqual(["ids first", "ids under way"]);
  });
});
