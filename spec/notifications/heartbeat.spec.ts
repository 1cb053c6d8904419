import { Heartbeat, type Proof } from "../../lib/notifications/heartbeat";

/** A way from the pool to the listener that can be slow, broken or silent. */
class Line {
  readonly heartbeat = new Heartbeat();
  readonly nonces: string[] = [];

  readonly send = (nonce: string): Promise<void> => {
    this.nonces.push(nonce);
    return Promise.resolve();
  };

  prove(timeoutMs = 1_000): Promise<Proof> {
    return this.heartbeat.prove(this.send, timeoutMs);
  }

  /** The latest nonce arrives. */
  deliver(): void {
    this.heartbeat.receive(this.nonces.at(-1) ?? "");
  }
}

beforeEach(() => jest.useFakeTimers());

afterEach(() => {
  const timers = jest.getTimerCount();
  jest.useRealTimers();
  expect(timers).toBe(0);
});

it("is alive when its nonce comes back, and tells how long that took", async () => {
  const line = new Line();
  const proof = line.prove();
  await jest.advanceTimersByTimeAsync(40);
  line.deliver();
  expect(await proof).toEqual({ verdict: "alive", roundTripMs: 40 });
});

it("is alive when its nonce comes back before sending it is confirmed", async () => {
  const line = new Line();
  const send = async (nonce: string): Promise<void> => {
    await line.send(nonce);
    line.deliver();
  };
  expect(await line.heartbeat.prove(send, 1_000)).toMatchObject({ verdict: "alive" });
});

it("is deaf when its nonce was sent and does not come back in time", async () => {
  const line = new Line();
  const proof = line.prove(1_000);
  await jest.advanceTimersByTimeAsync(999);
  expect(jest.getTimerCount()).toBe(1);
  await jest.advanceTimersByTimeAsync(1);
  expect(await proof).toEqual({ verdict: "deaf" });
});

it("has its time from when the nonce was sent, however long that took", async () => {
  const line = new Line();
  let confirm = (): void => undefined;
  const sent = new Promise<void>((resolve) => (confirm = resolve));
  const proof = line.heartbeat.prove((nonce) => line.send(nonce).then(() => sent), 1_000);
  await jest.advanceTimersByTimeAsync(5_000);
  expect(jest.getTimerCount()).toBe(0);
  confirm();
  await jest.advanceTimersByTimeAsync(999);
  line.deliver();
  expect(await proof).toEqual({ verdict: "alive", roundTripMs: 5_999 });
});

it("is unproven when the nonce could not be sent", async () => {
  const line = new Line();
  expect(await line.heartbeat.prove(() => Promise.reject(new Error("no connection")), 1_000)).toEqual({
    verdict: "unproven",
  });
});

it("is unproven when sending throws at once", async () => {
  const send = (): never => {
    throw new Error("no pool");
  };
  expect(await new Heartbeat().prove(send, 1_000)).toEqual({ verdict: "unproven" });
});

it("does not believe what others send on its channel", async () => {
  const line = new Line();
  const proof = line.prove(1_000);
  await jest.advanceTimersByTimeAsync(1);
  for (const payload of ["", "0000000000000000", String(line.nonces[0]).toUpperCase() + " "])
    line.heartbeat.receive(payload);
  await jest.advanceTimersByTimeAsync(999);
  expect(await proof).toEqual({ verdict: "deaf" });
});

it("does not believe the nonce of an earlier heartbeat that comes late", async () => {
  const line = new Line();
  const first = line.prove(1_000);
  await jest.advanceTimersByTimeAsync(1_000);
  expect(await first).toEqual({ verdict: "deaf" });
  line.deliver();
  const second = line.prove(1_000);
  line.heartbeat.receive(line.nonces[0] ?? "");
  await jest.advanceTimersByTimeAsync(1_000);
  expect(await second).toEqual({ verdict: "deaf" });
  expect(new Set(line.nonces).size).toBe(2);
});

it("may be proven again and again", async () => {
  const line = new Line();
  for (let beat = 0; beat < 3; beat += 1) {
    const proof = line.prove();
    await jest.advanceTimersByTimeAsync(10);
    line.deliver();
    expect(await proof).toMatchObject({ verdict: "alive" });
    line.deliver();
  }
});
