import { randomBytes } from "node:crypto";
import {
  defer,
  distinctUntilChanged,
  exhaustMap,
  filter,
  finalize,
  ignoreElements,
  map,
  merge,
  type Observable,
  ReplaySubject,
  share,
  throttle,
  timer,
} from "rxjs";
import type { Health } from "../admin/health";
import type { BackendCore } from "../backend-core";
import { formatEvent, type StreamEvent } from "../http/event-stream";
import type { ListenStatus, NotificationKind } from "../notifications/notifier";
import type { PostgresResultBackend } from "../postgres-backend";
import { latestVersion } from "../schema/migration-files";
import { JsonText } from "../value/json-text";
import { type Facts, readCounts, readIdentity } from "./facts";
import { type GroupLists, readGroupLists } from "./group-lists";
import { History, type Series } from "./history";
import { type ListedResult, RecentResults } from "./recent-results";

/** `loading`: nothing was read yet. `unmigrated`: the tables are missing or older. `unreachable`: no answer. */
export type DashboardPhase = "loading" | "ready" | "unmigrated" | "unreachable";

/** Everything that the first page shows. */
export interface DashboardState {
  /** When the event was sent, in milliseconds since 1970 on the server's clock. */
  readonly now: number;
  readonly phase: DashboardPhase;
  readonly problems: readonly string[];
  /** When the lists were read, in milliseconds since 1970 on the server's clock; null before the first read. */
  readonly readAt: number | null;
  readonly status: ListenStatus;
  readonly reconnects: number;
  /** Time the latest heartbeat took from the pool to the listener; null unless the listener is listening. */
  readonly heartbeatMs: number | null;
  readonly databaseMs: number | null;
  readonly notifyQueueUsage: number | null;
  /** Waits for tasks and for groups that are open in this process. */
  readonly waiting: number;
  readonly resultsPerSecond: number;
  readonly series: Series;
  /** Null before they were read. */
  readonly facts: Partial<Facts>;
  readonly groups: GroupLists | null;
  readonly showsResults: boolean;
  readonly results: readonly ListedResult[] | null;
  readonly failures: readonly ListedResult[];
}

export interface MonitorTimes {
  /** Shortest time between two states, in milliseconds. */
  readonly tickMs: number;
  /** Shortest time between the beginnings of two reads of the lists, in milliseconds. */
  readonly readMs: number;
  /** Time between two reads if no notification arrives, in milliseconds. */
  readonly idleMs: number;
  /** Time between two health checks, in milliseconds. */
  readonly healthMs: number;
}

/** The next read waits this many times as long as the last one took, so that reading stays below 5 % of the time. */
const restFactor = 20;
const kinds: readonly NotificationKind[] = ["tasks", "groups"];

/**
 * Watches a backend while there are subscribers: the first one starts all reads, and the last one ends them. A
 * notification causes the next read. Lists and counts are kept in between.
 */
export class Monitor {
  /** The state as a server-sent event, first as it is and then at each change. All subscribers share it. */
  readonly events$: Observable<StreamEvent>;
  readonly #backend: PostgresResultBackend;
  readonly #core: BackendCore;
  readonly #times: MonitorTimes;
  readonly #showResults: boolean;
  readonly #history = new History();
  readonly #recent: RecentResults;
  /** The message of the latest read of each part, if it failed. */
  readonly #errors = new Map<string, string>();
  /** When a read may begin again, on the clock of `performance.now()`. */
  readonly #restUntil = new Map<string, number>();
  #health: Health | undefined;
  #facts: Partial<Facts> = {};
  #groups: GroupLists | undefined;
  #readAt: number | undefined;
  #heartbeatMs: number | undefined;

  constructor(backend: PostgresResultBackend, showResults: boolean, times: MonitorTimes) {
    this.#backend = backend;
    this.#core = backend.core;
    this.#showResults = showResults;
    this.#times = times;
    this.#recent = new RecentResults(this.#core, this.#history, showResults);
    // The id of an event names the run of this server and a number.
    const run = randomBytes(4).toString("hex");
    let events = 0;
    this.events$ = defer(() => this.#watch()).pipe(
      // The time alone is no change.
      map((state) => `{"now":${this.#recent.serverTime},${state.slice(1)}`),
      map((state) => formatEvent("state", new JsonText(state), `${run}-${(events += 1)}`)),
      share({ connector: () => new ReplaySubject<StreamEvent>(1) }),
    );
  }

  #watch(): Observable<string> {
    const { notifications } = this.#core;
    const { tickMs, readMs, idleMs, healthMs } = this.#times;
    // Keeps the listener open.
    const release = notifications.demand();
    for (const kind of kinds) notifications.selection?.followAll(kind);
    const isDue = (count: number): boolean =>
      count % Math.ceil(idleMs / readMs) === 0 ||
      this.#recent.canReadOlder ||
      notifications.report.status !== "listening";
    const reasons$ = merge(
      timer(0, readMs).pipe(filter(isDue)),
      notifications.notifications$,
      notifications.status$.pipe(filter((status) => status === "listening")),
    );
    const reads$ = reasons$.pipe(
      // A reason that arrives during a read, or while the database rests, causes the next read.
      throttle(() => this.#readLists(), { leading: true, trailing: true }),
    );
    const checks$ = timer(0, healthMs).pipe(exhaustMap(async () => this.#check()));
    const states$ = timer(0, tickMs).pipe(
      map(() => JSON.stringify(this.#state())),
      distinctUntilChanged(),
    );
    return merge(ignoreAll(reads$), ignoreAll(checks$), states$).pipe(
      finalize(() => {
        for (const kind of kinds) notifications.selection?.unfollowAll(kind);
        release();
        this.#recent.pause();
      }),
    );
  }

  /** Reads the lists, and completes once the next read may begin. */
  #readLists(): Observable<unknown> {
    const startedAt = performance.now();
    const reads = async (): Promise<void> => {
      if (this.#phase === "unmigrated") return;
      await this.#attempt("results", async () => this.#recent.readNew());
      await this.#attempt("groups", async () => (this.#groups = await readGroupLists(this.#core)));
      if (this.#errors.size === 0) this.#readAt = this.#recent.serverTime;
    };
    return defer(reads).pipe(
      exhaustMap(async () => {
        const restMs = restFactor * (performance.now() - startedAt);
        // With a rest of their own: they may take many times as long as what is new.
        if (this.#recent.canReadOlder) await this.#rarely("older results", async () => this.#recent.readOlder());
        return restMs;
      }),
      exhaustMap((restMs) => timer(Math.max(this.#times.readMs, restMs))),
    );
  }

  async #check(): Promise<void> {
    this.#health = await this.#backend.health();
    if (this.#health.databaseMs === undefined) return;
    await this.#attempt("identity", async () => this.#learn(await readIdentity(this.#core)));
    if (this.#phase === "ready" || this.#phase === "loading")
      await this.#rarely("counts", async () => this.#learn(await readCounts(this.#core)));
  }

  /** Reads unless the database is to rest from the previous such read. */
  async #rarely(what: string, read: () => Promise<unknown>): Promise<void> {
    const startedAt = performance.now();
    if (startedAt < (this.#restUntil.get(what) ?? 0)) return;
    await this.#attempt(what, read);
    const endedAt = performance.now();
    this.#restUntil.set(what, endedAt + restFactor * (endedAt - startedAt));
  }

  #learn(facts: Partial<Facts>): void {
    this.#facts = { ...this.#facts, ...facts };
  }

  async #attempt(what: string, read: () => Promise<unknown>): Promise<void> {
    try {
      await read();
      this.#errors.delete(what);
    } catch (error) {
      this.#errors.set(what, error instanceof Error ? error.message : String(error));
    }
  }

  get #phase(): DashboardPhase {
    const { schemaVersion, databaseMs } = this.#health ?? {};
    if (this.#health !== undefined && databaseMs === undefined) return "unreachable";
    if (schemaVersion !== undefined && schemaVersion < latestVersion) return "unmigrated";
    return this.#readAt === undefined ? "loading" : "ready";
  }

  #state(): Omit<DashboardState, "now"> {
    const { status, heartbeatMs, reconnects, waiting, waitingGroups } = this.#backend.stats();
    if (heartbeatMs !== undefined && heartbeatMs !== this.#heartbeatMs) this.#history.addLatency(heartbeatMs);
    this.#heartbeatMs = heartbeatMs;
    const phase = this.#phase;
    return {
      phase,
      problems: this.#problems(phase),
      readAt: phase === "ready" ? null : (this.#readAt ?? null),
      status,
      reconnects,
      heartbeatMs: status === "listening" ? (heartbeatMs ?? null) : null,
      databaseMs: this.#health?.databaseMs ?? null,
      notifyQueueUsage: this.#health?.notifyQueueUsage ?? null,
      waiting: waiting + waitingGroups,
      resultsPerSecond: this.#history.perSecond,
      series: this.#history.series(this.#recent.gaps),
      facts: this.#facts,
      groups: this.#groups ?? null,
      showsResults: this.#showResults,
      results: this.#readAt === undefined ? null : this.#recent.results,
      failures: this.#recent.failures,
    };
  }

  #problems(phase: DashboardPhase): readonly string[] {
    const known = this.#health?.problems ?? [];
    // The check of the database says it better than each read that failed for the same reason.
    return phase === "unmigrated" || phase === "unreachable"
      ? known
      : [...new Set([...known, ...this.#errors.values()])];
  }
}

const ignoreAll = (source$: Observable<unknown>): Observable<never> => source$.pipe(ignoreElements());
