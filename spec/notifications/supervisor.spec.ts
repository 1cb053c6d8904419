import { type SupervisedSession, Supervisor } from "../../lib/notifications/supervisor";

class FakeSession implements SupervisedSession {
  isDisposed = false;

  constructor(readonly life: AbortController) {}

  dispose(): Promise<void> {
    this.isDisposed = true;
    return Promise.resolve();
  }
}

/** Writes down what happens. Connects, or stays under way, as it is told. */
class Keeper extends Supervisor<FakeSession> {
  readonly events: string[] = [];
  readonly sessions: FakeSession[] = [];
  next: "connects" | "hangs" = "connects";
  isWanted = true;

  constructor() {
    super({ maxDelayMs: 1_000, checkIntervalMs: 10_000, keepsProcessAlive: true });
  }

  protected get isNeeded(): boolean {
    return this.isWanted;
  }

  protected async connect(life: AbortController): Promise<FakeSession> {
    if (this.next === "hangs")
      await new Promise<never>((_resolve, reject) =>
        life.signal.addEventListener("abort", () => reject(life.signal.reason as Error)),
      );
    const session = new FakeSession(life);
    this.sessions.push(session);
    return session;
  }

  protected check(): Promise<void> {
    return Promise.resolve();
  }

  protected onConnected(_session: FakeSession, attempt: number): void {
    this.events.push(`connected ${attempt}`);
  }

  protected onLost({ message }: Error, { isDisposed }: FakeSession): void {
    this.events.push(`lost ${message}${this.session === undefined && !isDisposed ? "" : " too late"}`);
  }

  protected onFailed({ message }: Error, attempt: number): void {
    this.events.push(`failed ${attempt} ${message}`);
  }

  protected override onIdle(): void {
    this.events.push("idle");
  }
}

describe("a supervisor", () => {
  let keeper: Keeper;
  beforeEach(() => {
    jest.useFakeTimers();
    keeper = new Keeper();
  });
  afterEach(async () => {
    keeper.isWanted = false;
    await keeper.stop(new Error("the spec is over"));
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
  });
  const start = async (): Promise<void> => {
    keeper.start();
    await jest.advanceTimersByTimeAsync(0);
  };

  it("disposes of a session that is lost while it connects", async () => {
    keeper.next = "hangs";
    await start();
    await keeper.stop(new Error("stopped"));
    expect(keeper.events).toEqual(["idle"]);
    expect(keeper.sessions).toEqual([]);
  });

  it("can be started again while it stops", async () => {
    await start();
    const stopped = keeper.stop(new Error("stopped"));
    keeper.start();
    await stopped;
    await jest.advanceTimersByTimeAsync(0);
    expect(keeper.events).toEqual(["connected 0", "lost stopped", "connected 0"]);
    expect(keeper.sessions.map(({ isDisposed }) => isDisposed)).toEqual([true, false]);
  });
});
