import { Heartbeat, type HeartbeatOutcome, type HeartbeatSender } from "../../lib/notifications/heartbeat";
import { channelOf } from "../../lib/notifications/payload";

/** A pool whose heartbeats arrive on command, arrive at once, get lost on another server, or cannot be sent. */
class FakePool implements HeartbeatSender {
  readonly nonces: string[] = [];
  /** Sending is confirmed with this. */
  sent: Promise<unknown> = Promise.resolve();

  constructor(
    readonly heartbeat: Heartbeat,
    public state: "slow" | "fast" | "elsewhere" | "ended" | "throwing" = "slow",
  ) {}

  notify(_channel: string, nonce: string): Promise<void> {
    if (this.state === "throwing") throw new Error("no pool");
    this.nonces.push(nonce);
    if (this.state === "ended") return Promise.reject(new Error("ended"));
    if (this.state === "fast") this.heartbeat.receive(nonce);
    return this.sent.then(() => undefined);
  }

  async test(timeoutMs = 1_000): Promise<HeartbeatOutcome> {
    return this.heartbeat.test([this], timeoutMs);
  }

  /** The latest heartbeat arrives. */
  deliver(): void {
    this.heartbeat.receive(this.nonces.at(-1) ?? "");
  }
}

let heartbeat: Heartbeat;
const pools = (...states: FakePool["state"][]): FakePool[] => states.map((state) => new FakePool(heartbeat, state));
const verdict = async (of: readonly FakePool[]): Promise<string> => {
  const outcome = heartbeat.test(of, 1_000);
  await jest.advanceTimersByTimeAsync(2_000);
  return (await outcome).verdict;
};

beforeEach(() => {
  jest.useFakeTimers();
  heartbeat = new Heartbeat();
});

afterEach(() => {
  const timers = jest.getTimerCount();
  jest.useRealTimers();
  expect(timers).toBe(0);
});

describe("a heartbeat", () => {
  it("is received when its nonce arrives, and says how long that took", async () => {
    const pool = new FakePool(heartbeat);
    const outcome = pool.test();
    await jest.advanceTimersByTimeAsync(40);
    pool.deliver();
    expect(await outcome).toEqual({ verdict: "received", roundTripMs: 40 });
  });

  it("is received when its nonce arrives before sending it is confirmed", async () => {
    const pool = new FakePool(heartbeat);
    pool.sent = new Promise(() => undefined);
    const outcome = pool.test();
    await jest.advanceTimersByTimeAsync(1);
    pool.deliver();
    expect(await outcome).toMatchObject({ verdict: "received" });
  });

  it("is missed when its nonce was sent and does not arrive in time", async () => {
    const outcome = new FakePool(heartbeat).test(1_000);
    await jest.advanceTimersByTimeAsync(999);
    expect(jest.getTimerCount()).toBe(1);
    await jest.advanceTimersByTimeAsync(1);
    expect(await outcome).toEqual({ verdict: "missed" });
  });

  it("has its time from when the nonce was sent, however long that took", async () => {
    const pool = new FakePool(heartbeat);
    let confirm = (): void => undefined;
    pool.sent = new Promise<void>((resolve) => (confirm = resolve));
    const outcome = pool.test(1_000);
    await jest.advanceTimersByTimeAsync(5_000);
    expect(jest.getTimerCount()).toBe(0);
    confirm();
    await jest.advanceTimersByTimeAsync(999);
    pool.deliver();
    expect(await outcome).toEqual({ verdict: "received", roundTripMs: 5_999 });
  });

  it.each(["ended", "throwing"] as const)("is unsent when its pool is %s", async (state) => {
    expect(await new FakePool(heartbeat, state).test()).toEqual({ verdict: "unsent" });
  });

  it("is not confused with other payloads on its channel", async () => {
    const pool = new FakePool(heartbeat);
    const outcome = pool.test(1_000);
    await jest.advanceTimersByTimeAsync(1);
    for (const payload of ["", "0000000000000000", String(pool.nonces[0]).toUpperCase() + " "])
      heartbeat.receive(payload);
    await jest.advanceTimersByTimeAsync(999);
    expect(await outcome).toEqual({ verdict: "missed" });
  });

  it("is not confused with an earlier one that arrives late", async () => {
    const pool = new FakePool(heartbeat);
    expect(await verdict([pool])).toBe("missed");
    pool.deliver();
    const second = pool.test(1_000);
    heartbeat.receive(pool.nonces[0] ?? "");
    await jest.advanceTimersByTimeAsync(1_000);
    expect(await second).toEqual({ verdict: "missed" });
    expect(new Set(pool.nonces).size).toBe(2);
  });

  it("may be sent again and again", async () => {
    const pool = new FakePool(heartbeat);
    for (let beat = 0; beat < 3; beat += 1) {
      const outcome = pool.test();
      await jest.advanceTimersByTimeAsync(10);
      pool.deliver();
      expect(await outcome).toMatchObject({ verdict: "received" });
      pool.deliver();
    }
  });

  it("has a channel of its own, which needs no quotes and is no channel of a schema", () => {
    const channels = Array.from({ length: 1_000 }, () => new Heartbeat().channel);
    expect(new Set(channels).size).toBe(1_000);
    expect(channels[0]).toMatch(/^kojin_hb_[0-9a-f]{16}$/);
    expect(channels[0]?.length).not.toBe(channelOf("public").length);
  });
});

describe("several pools on one connection", () => {
  it("are asked one at a time, in turn", async () => {
    const all = pools("fast", "fast", "fast");
    for (let beat = 0; beat < 6; beat += 1) expect(await verdict(all)).toBe("received");
    expect(all.map(({ nonces }) => nonces.length)).toEqual([2, 2, 2]);
  });

  it("stand in for one that has ended", async () => {
    const [first, second] = pools("ended", "fast") as [FakePool, FakePool];
    expect(await verdict([first, second])).toBe("received");
    second.state = "elsewhere";
    for (let beat = 0; beat < 2; beat += 1) expect(await verdict([first, second])).toBe("missed");
    expect([first, second].map((pool) => heartbeat.isElsewhere(pool))).toEqual([false, false]);
  });

  it("show which one reaches another server, until its heartbeats arrive again", async () => {
    const [first, second] = pools("elsewhere", "fast") as [FakePool, FakePool];
    for (let beat = 0; beat < 3; beat += 1) expect(await verdict([first, second])).toBe("received");
    expect([heartbeat.isElsewhere(first), heartbeat.isElsewhere(second)]).toEqual([true, false]);
    first.state = "fast";
    expect(await verdict([first, second])).toBe("received");
    expect(heartbeat.isElsewhere(first)).toBe(false);
  });

  it("miss a heartbeat if none arrives, and send none if none can", async () => {
    expect(await verdict(pools("elsewhere", "ended", "elsewhere"))).toBe("missed");
    expect(await verdict(pools("ended", "ended"))).toBe("unsent");
    expect(await verdict([])).toBe("unsent");
  });

  it("are forgotten with the connection", async () => {
    const [first, second] = pools("elsewhere", "fast") as [FakePool, FakePool];
    await verdict([first, second]);
    heartbeat.reset();
    expect(heartbeat.isElsewhere(first)).toBe(false);
  });
});
