import { setImmediate as nextTurn } from "node:timers/promises";
import fc from "fast-check";
import { Database } from "../../lib/database/database";
import { SessionConfig } from "../../lib/database/session-config";
import { channelOf } from "../../lib/notifications/payload";
import { PostgresNotifications } from "../../lib/notifications/postgres-notifications";
import { eventually } from "../support/eventually";
import { type SpecDatabase, specDatabase } from "../support/spec-database";
import { TcpProxy } from "../support/tcp-proxy";

const silent = { info: (): void => undefined, warn: (): void => undefined, error: (): void => undefined };
const times = { heartbeatMs: 10_000, heartbeatTimeoutMs: 20_000, selfTestMs: 20_000 };
const generous = { timeoutMs: 30_000, intervalMs: 5 };

/** A backend's share of the listener and a model of it. */
class Witness {
  readonly notifications: PostgresNotifications;
  readonly channel: string;
  readonly heard = new Set<string>();
  /** Number of times it stopped listening. */
  interruptions = 0;
  isClosed = false;
  readonly releases: (() => void)[] = [];

  constructor(database: SpecDatabase, schema: string, url: string) {
    this.channel = channelOf(schema);
    this.notifications = new PostgresNotifications({
      config: new SessionConfig(database.pool, url, "listener"),
      schema,
      database: new Database(database.pool, schema),
      logger: silent,
      times,
    });
    this.notifications.notifications$.subscribe(({ taskIds }) => taskIds.forEach((taskId) => this.heard.add(taskId)));
    this.notifications.status$.subscribe((status) => (this.interruptions += status === "listening" ? 0 : 1));
  }

  get isListening(): boolean {
    return this.notifications.report.status === "listening";
  }
}

type Step =
  | { readonly do: "open"; readonly schema: number }
  | { readonly do: "demand" | "release" | "close"; readonly which: number }
  | { readonly do: "pause"; readonly ms: number }
  | { readonly do: "lose" | "turn" | "settle" };

/** Counted from the latest, so that recently opened backends are closed again. */
const which = fc.nat({ max: 2 });
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("open" as const), schema: fc.nat({ max: 1 }) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("demand" as const), which }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("release" as const), which }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("close" as const), which }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("lose" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("turn" as const) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("pause" as const), ms: fc.nat({ max: 60 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("settle" as const) }) },
);

describe("backends that share a listener", () => {
  let proxy: TcpProxy;
  // Before the check for leaked connections.
  afterEach(async () => proxy.stop());
  const database = specDatabase("listener property");
  let markers = 0;
  beforeEach(async () => {
    proxy = await TcpProxy.start(database.url);
    // A LISTEN takes longer to arrive than a notification on another connection.
    proxy.delayMs = 15;
  });

  /**
   * A backend that reports listening hears what is sent from now on, unless it reports an interruption in between.
   * Gives the backends that heard the marker.
   */
  async function mark(witnesses: readonly Witness[]): Promise<readonly Witness[]> {
    const listening = witnesses
      .filter((each) => each.isListening)
      .map((witness) => ({ witness, interruptions: witness.interruptions, marker: `marker ${(markers += 1)}` }));
    await Promise.all(
      listening.map(async ({ witness, marker }) =>
        database.sql("select pg_notify($1, $2)", [witness.channel, JSON.stringify({ v: 1, ids: [marker] })]),
      ),
    );
    await eventually(() => {
      for (const { witness, interruptions, marker } of listening)
        expect(witness.heard.has(marker) || witness.interruptions > interruptions).toBe(true);
    }, generous);
    return listening.filter(({ witness, marker }) => witness.heard.has(marker)).map(({ witness }) => witness);
  }

  /** Waits until everything that should listen does. */
  async function settle(witnesses: readonly Witness[]): Promise<void> {
    const waiting = witnesses.filter((each) => !each.isClosed && each.releases.length > 0);
    // A terminated connection may only now be found lost.
    await eventually(async () => {
      const heard = await mark(witnesses);
      for (const witness of waiting) expect(heard).toContain(witness);
    }, generous);
  }

  async function run(steps: readonly Step[]): Promise<void> {
    const witnesses: Witness[] = [];
    const pending: Promise<unknown>[] = [];
    const pick = (index: number): Witness | undefined => witnesses.filter((each) => !each.isClosed).at(-1 - index);
    const act = async (step: Step): Promise<void> => {
      if (step.do === "open") witnesses.push(new Witness(database, `schema ${step.schema}`, proxy.route(database.url)));
      if (step.do === "open") witnesses.at(-1)?.releases.push(witnesses.at(-1)?.notifications.demand() ?? fail);
      if (step.do === "turn") await nextTurn();
      if (step.do === "pause") await database.sql("select pg_sleep($1)", [step.ms / 1_000]);
      if (step.do === "settle") await settle(witnesses);
      if (step.do === "lose") pending.push(database.terminateListeners());
      if (!("which" in step)) return;
      const witness = pick(step.which);
      if (witness === undefined) return;
      if (step.do === "demand") witness.releases.push(witness.notifications.demand());
      if (step.do === "release") witness.releases.pop()?.();
      if (step.do === "close") {
        witness.isClosed = true;
        pending.push(witness.notifications.close());
      }
    };
    try {
      // Most steps only matter once there is a connection.
      for (const step of [{ do: "open", schema: 0 }, { do: "settle" }, ...steps] as const) {
        await act(step);
        pending.push(mark(witnesses));
      }
      await Promise.all(pending);
      await settle(witnesses);
    } finally {
      await Promise.all(witnesses.map(async ({ notifications }) => notifications.close()));
    }
    await eventually(async () => expect(await database.listeners()).toEqual([]), generous);
  }

  it("hear what is sent whenever they say that they listen, and leave nothing behind", async () => {
    await fc.assert(fc.asyncProperty(fc.array(anyStep, { minLength: 4, maxLength: 40 }), run), {
      numRuns: 40,
      endOnFailure: true,
    });
  }, 300_000);
});

const fail = (): never => {
  throw new Error("There is no witness.");
};
