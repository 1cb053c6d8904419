import type { NotificationPublisher } from "kojin-postgres/notifier";
import { decodePayload, encodePayloads, rescanPayload } from "../../lib/notifications/payload";
import { RelayCounters } from "../../lib/relay/report";
import { Forwarder, maxWaitingIds } from "../../lib/relay/term";

/** Writes down what it is to announce, and has it confirmed when it is told to. */
class SlowPublisher implements NotificationPublisher {
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
    receive(encodePayloads("ids", ["first"]));
    await publisher.confirm();
  });
  afterEach(async () => {
    forwarder.stop();
    await publisher.confirm();
  });

  const receive = (payloads: readonly string[]): void => {
    for (const payload of payloads) {
      const notification = decodePayload(payload);
      if (notification !== undefined) forwarder.receive(notification);
    }
  };

  it("is merged while something is under way, each id once, by what it is", async () => {
    receive(encodePayloads("ids", ["a", "b"]));
    await publisher.confirm();
    receive(['{"v":1,"ids":["c"]}', '{"v":1,"members":["g"]}', '{"v":1,"ids":["d","c"]}', '{"v":1,"done":["g"]}']);
    expect(forwarder.unpublished).toBe(6);
    await publisher.confirm();
    await publisher.confirm();
    expect(publisher.told).toEqual(["ids first", "ids a b", "ids c d", "done g", "members g"]);
    expect(forwarder).toMatchObject({ unpublished: 0, lagMs: 0 });
    expect(counters.ids).toEqual({ ids: 5, groups: 0, done: 1, members: 1 });
  });

  it("is a rescan when too many ids are queued", async () => {
    receive(encodePayloads("ids", ["under way"]));
    await publisher.confirm();
    const ids = Array.from({ length: maxWaitingIds + 1 }, (_, index) => `id ${index}`);
    receive(encodePayloads("ids", ids));
    expect(forwarder.unpublished).toBeLessThan(maxWaitingIds);
    await publisher.confirm();
    expect(publisher.told).toContain("rescan");
    expect(counters.rescans.overflow).toBe(1);
  });

  it("is nothing once another relay leads", async () => {
    receive(encodePayloads("ids", ["under way"]));
    await publisher.confirm();
    receive([...encodePayloads("ids", ["too late"]), rescanPayload]);
    forwarder.stop();
    receive(encodePayloads("ids", ["far too late"]));
    await publisher.confirm();
    await forwarder.drain();
    expect(publisher.told).toEqual(["ids first", "ids under way"]);
  });
});
