import { setImmediate as turn } from "node:timers/promises";
import { type SupervisedSession, Supervisor, type SupervisorOptions } from "../../lib/notifications/supervisor";
import { eventually } from "../support/eventually";

/** Lets everything pass until it is closed; what comes then waits until it is opened. */
class Gate {
  #opened = Promise.resolve();
  #open = (): void => undefined;

  close(): void {
    this.#opened = new Promise((resolve) => (this.#open = resolve));
  }

  open(): void {
    this.#open();
  }

  async pass(): Promise<void> {
    await this.#opened;
  }
}

class FakeSession implements SupervisedSession {
  disposals = 0;

  constructor(
    readonly life: AbortController,
    readonly keeper: Keeper,
  ) {}

  lose(message: string): void {
    this.life.abort(new Error(message));
  }

  async dispose(): Promise<void> {
    this.disposals += 1;
    await this.keeper.endings.pass();
    this.keeper.open -= 1;
    this.keeper.events.push("disposed");
  }
}

/** Writes down what happens. Connects, ends and checks sessions as far as its gates are open. */
class Keeper extends Supervisor<FakeSession> {
  readonly events: string[] = [];
  readonly sessions: FakeSession[] = [];
  readonly connecting = new Gate();
  readonly endings = new Gate();
  readonly checking = new Gate();
  /** What the next attempts reject with. */
  readonly refusals: string[] = [];
  onSession: (session: FakeSession) => void = () => undefined;
  delayMs: number | undefined;
  isWanted = true;
  attempts = 0;
  open = 0;
  mostOpen = 0;
  checks = 0;
  checksUnderWay = 0;
  mostChecksUnderWay = 0;
  /** What a check rejects with once it has passed its gate. */
  fault: string | undefined;

  constructor(options: Partial<SupervisorOptions> = {}) {
    super({ maxDelayMs: 20, checkIntervalMs: 60_000, ...options });
  }

  delayBefore(attempt: number): number {
    return super.retryDelayMs(attempt);
  }

  protected override retryDelayMs(attempt: number): number {
    return this.delayMs ?? super.retryDelayMs(attempt);
  }

  protected get isNeeded(): boolean {
    return this.isWanted;
  }

  protected async connect(life: AbortController): Promise<FakeSession> {
    this.attempts += 1;
    await this.connecting.pass();
    const refusal = this.refusals.shift();
    if (refusal !== undefined) throw new Error(refusal);
    const session = new FakeSession(life, this);
    this.open += 1;
    this.mostOpen = Math.max(this.mostOpen, this.open);
    this.sessions.push(session);
    this.onSession(session);
    return session;
  }

  protected async check(): Promise<void> {
    this.checks += 1;
    this.checksUnderWay += 1;
    this.mostChecksUnderWay = Math.max(this.mostChecksUnderWay, this.checksUnderWay);
    const { fault } = this;
    await this.checking.pass();
    this.checksUnderWay -= 1;
    if (fault !== undefined) throw new Error(fault);
  }

  protected onConnected(_session: FakeSession, attempt: number): void {
    this.events.push(`connected ${attempt}`);
  }

  protected onLost({ message }: Error): void {
    this.events.push(`lost ${message}${this.session === undefined ? "" : " too late"}`);
  }

  protected onFailed({ message }: Error, attempt: number): void {
    this.events.push(`failed ${attempt} ${message}`);
  }

  protected override onIdle(): void {
    this.events.push("idle");
  }
}

const keepers: Keeper[] = [];

function createKeeper(options?: Partial<SupervisorOptions>): Keeper {
  const keeper = new Keeper(options);
  keepers.push(keeper);
  return keeper;
}

async function startKeeper(options?: Partial<SupervisorOptions>): Promise<Keeper> {
  const keeper = createKeeper(options);
  keeper.start();
  await connected(keeper, 1);
  return keeper;
}

async function connected(keeper: Keeper, sessions: number): Promise<FakeSession> {
  return eventually(() => {
    expect(keeper.sessions).toHaveLength(sessions);
    expect(keeper.session).toBe(keeper.sessions.at(-1));
    return keeper.session as FakeSession;
  });
}

/** Resolves after more than the longest delay between two attempts: another supervisor has connected again thrice. */
async function severalDelays(): Promise<void> {
  const marker = await startKeeper();
  for (const count of [1, 2, 3]) {
    marker.session?.lose("marker");
    await connected(marker, count + 1);
  }
}

afterEach(async () => {
  for (const keeper of keepers.splice(0)) {
    for (const gate of [keeper.connecting, keeper.endings, keeper.checking]) gate.open();
    await keeper.stop(new Error("the spec is over"));
    expect([keeper.session, keeper.open]).toEqual([undefined, 0]);
    expect(keeper.sessions.map(({ disposals }) => disposals)).toEqual(keeper.sessions.map(() => 1));
    expect(keeper.mostOpen).toBeLessThanOrEqual(1);
    expect(keeper.mostChecksUnderWay).toBeLessThanOrEqual(2);
  }
});

describe("a lost session", () => {
  it("is replaced each time, however many attempts that takes", async () => {
    const keeper = await startKeeper();
    keeper.session?.lose("gone");
    const second = await connected(keeper, 2);
    keeper.refusals.push("refused", "refused again");
    second.lose("gone again");
    await connected(keeper, 3);
    expect(keeper.events).toEqual([
      "connected 0",
      ...["lost gone", "disposed", "connected 1"],
      ...["lost gone again", "disposed", "failed 1 refused", "failed 2 refused again", "connected 3"],
    ]);
  });

  it("is disposed of before another attempt begins", async () => {
    const keeper = await startKeeper();
    keeper.endings.close();
    keeper.session?.lose("gone");
    await eventually(() => expect(keeper.sessions[0]?.disposals).toBe(1));
    await severalDelays();
    expect([keeper.session, keeper.attempts]).toEqual([undefined, 1]);
    keeper.endings.open();
    await connected(keeper, 2);
  });

  it("is disposed of although it was lost while it connected", async () => {
    const keeper = createKeeper();
    keeper.onSession = (session) => {
      if (keeper.sessions.length === 1) session.lose("last words");
    };
    keeper.start();
    await connected(keeper, 2);
    expect(keeper.events).toEqual(["failed 0 last words", "disposed", "connected 1"]);
  });

  it("is not replaced where it is not needed, until that is started again", async () => {
    const keeper = await startKeeper();
    keeper.isWanted = false;
    keeper.session?.lose("gone");
    await eventually(() => expect(keeper.events.at(-1)).toBe("idle"));
    expect(keeper.attempts).toBe(1);
    keeper.isWanted = true;
    keeper.start();
    await connected(keeper, 2);
    expect(keeper.events).toEqual(["connected 0", "lost gone", "disposed", "idle", "connected 0"]);
  });

  it("is replaced after a delay that doubles up to its limit, with up to half of it taken off", () => {
    const keeper = createKeeper({ maxDelayMs: 1_000 });
    for (const [attempt, delayMs] of [100, 200, 400, 800, 1_000, 1_000].entries()) {
      const delays = Array.from({ length: 200 }, () => keeper.delayBefore(attempt + 1));
      expect(Math.min(...delays)).toBeGreaterThanOrEqual(delayMs / 2);
      expect(Math.max(...delays)).toBeLessThanOrEqual(delayMs);
      expect(new Set(delays).size).toBeGreaterThan(100);
    }
  });
});

describe("stopping", () => {
  it("ends the attempt under way, reports no failure of it, and begins no other", async () => {
    const keeper = createKeeper();
    keeper.connecting.close();
    keeper.refusals.push("aborted");
    keeper.start();
    await turn();
    const stopped = keeper.stop(new Error("stopped"));
    keeper.connecting.open();
    await stopped;
    await severalDelays();
    expect([keeper.attempts, keeper.events]).toEqual([1, ["idle"]]);
  });

  it("disposes of a session that connects all the same", async () => {
    const keeper = createKeeper();
    keeper.connecting.close();
    keeper.start();
    await turn();
    const stopped = keeper.stop(new Error("stopped"));
    keeper.connecting.open();
    await stopped;
    expect([keeper.sessions.length, keeper.session, keeper.open]).toEqual([1, undefined, 0]);
    expect(keeper.events).toEqual(["disposed", "idle"]);
  });

  it("ends the delay before another attempt", async () => {
    const keeper = createKeeper();
    keeper.refusals.push("refused");
    keeper.delayMs = 3_600_000;
    keeper.start();
    await eventually(() => expect(keeper.events).toEqual(["failed 0 refused"]));
    await keeper.stop(new Error("stopped"));
    expect(keeper.events).toEqual(["failed 0 refused", "idle"]);
  });

  it("resolves once the session is disposed of", async () => {
    const keeper = await startKeeper();
    keeper.endings.close();
    let isStopped = false;
    const stopped = keeper.stop(new Error("stopped")).then(() => (isStopped = true));
    await severalDelays();
    expect([isStopped, keeper.events]).toEqual([false, ["connected 0", "lost stopped"]]);
    keeper.endings.open();
    await stopped;
    expect(keeper.open).toBe(0);
  });
});

describe("starting", () => {
  it("while it stops leads to one session, which comes after the one before it", async () => {
    const keeper = await startKeeper();
    keeper.endings.close();
    const stopped = keeper.stop(new Error("stopped"));
    for (let call = 0; call < 3; call += 1) keeper.start();
    await severalDelays();
    expect(keeper.attempts).toBe(1);
    keeper.endings.open();
    await stopped;
    // A second loop would show by a second attempt after each loss.
    for (const count of [2, 3, 4]) (await connected(keeper, count)).lose("gone");
    await connected(keeper, 5);
    await severalDelays();
    expect([keeper.attempts, keeper.mostOpen]).toEqual([5, 1]);
    expect(keeper.events).not.toContain("idle");
  });

  it("again and again leads to one session", async () => {
    const keeper = await startKeeper();
    for (let call = 0; call < 3; call += 1) keeper.start();
    keeper.session?.lose("gone");
    for (let call = 0; call < 3; call += 1) keeper.start();
    await connected(keeper, 2);
    await severalDelays();
    expect([keeper.attempts, keeper.mostOpen]).toEqual([2, 1]);
  });
});

describe("a check", () => {
  const often = { checkIntervalMs: 5 };

  it("is made at an interval, and loses a session that fails it", async () => {
    const keeper = await startKeeper(often);
    await eventually(() => expect(keeper.checks).toBeGreaterThan(2));
    keeper.fault = "no answer";
    await eventually(() => expect(keeper.events).toContain("lost no answer"));
    keeper.fault = undefined;
    await eventually(() => expect(keeper.session).toBeDefined());
  });

  it("is never made beside another of the same session", async () => {
    const [keeper, marker] = [await startKeeper(often), await startKeeper(often)];
    keeper.checking.close();
    await eventually(() => expect(keeper.checksUnderWay).toBe(1));
    const { checks } = keeper;
    const { checks: seen } = marker;
    await keeper.checkNow();
    await eventually(() => expect(marker.checks).toBeGreaterThan(seen + 3));
    expect([keeper.checks, keeper.mostChecksUnderWay]).toEqual([checks, 1]);
    keeper.checking.open();
    await eventually(() => expect(keeper.checks).toBeGreaterThan(checks));
  });

  it("that has not ended when its session is lost concerns the next session in no way", async () => {
    const keeper = await startKeeper();
    keeper.fault = "late";
    keeper.checking.close();
    const late = keeper.checkNow();
    keeper.session?.lose("gone");
    const second = await connected(keeper, 2);
    keeper.fault = undefined;
    const { checks } = keeper;
    const next = keeper.checkNow();
    expect(keeper.checks).toBe(checks + 1);
    keeper.checking.open();
    await Promise.all([late, next]);
    await severalDelays();
    expect(keeper.session).toBe(second);
  });

  it("is not made once the session is lost", async () => {
    const keeper = await startKeeper(often);
    keeper.connecting.close();
    keeper.session?.lose("gone");
    const { checks } = keeper;
    await keeper.checkNow();
    const marker = await startKeeper(often);
    await eventually(() => expect(marker.checks).toBeGreaterThan(3));
    expect(keeper.checks).toBe(checks);
  });
});

describe("a process", () => {
  /** Node lists only timers that keep the process alive. */
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;

  it.each([
    [false, 0],
    [true, 1],
  ])("is kept alive by timers if so wanted: %p", async (keepsProcessAlive, count) => {
    await turn();
    const before = timers();
    const keeper = await startKeeper({ keepsProcessAlive });
    expect(timers() - before).toBe(count);
    keeper.refusals.push(...Array.from({ length: 1_000 }, () => "refused"));
    keeper.session?.lose("gone");
    await eventually(() => expect(keeper.events.at(-1)).toMatch(/^failed/));
    expect(timers() - before).toBe(count);
    await keeper.stop(new Error("stopped"));
    expect(timers() - before).toBe(0);
  });
});
