import { randomBytes } from "node:crypto";
import {
  defer,
  distinctUntilChanged,
  exhaustMap,
  ignoreElements,
  map,
  merge,
  type MonoTypeOperatorFunction,
  type Observable,
  ReplaySubject,
  retry,
  share,
  tap,
  timer,
} from "rxjs";
import { TaskFailedError } from "../errors";
import type { Health } from "../admin/health";
import { formatEvent, type StreamEvent } from "../http/event-stream";
import type { ListenStatus } from "../notifications/notifier";
import type { PostgresResultBackend } from "../postgres-backend";
import type { GroupProgress, TaskOutcome } from "../result-backend";
import { asJsonText } from "../value/decoding";
import { JsonText, layOut } from "../value/json-text";
import { GroupList, type GroupListTimes } from "./group-list";

/** A result as the page shows it. */
interface SeenResult {
  readonly taskId: string;
  readonly isFailure: boolean;
  /** Milliseconds since 1970 on this process's clock. */
  readonly seenAt: number;
  /** The value, or name and message of the failure; only if results are shown. */
  readonly detail?: string;
}

interface CompletedGroup extends GroupProgress {
  readonly seenAt: number;
}

/** Everything that the page shows. */
export interface DashboardState {
  readonly status: ListenStatus;
  readonly problems: readonly string[];
  readonly resultsPerSecond: number;
  /** The counts of the last 60 seconds, oldest first. */
  readonly history: readonly number[];
  readonly resultsSeen: number;
  readonly failuresSeen: number;
  /** Time the latest heartbeat took from the pool to the listener; null unless the listener is listening. */
  readonly heartbeatMs: number | null;
  readonly databaseMs: number | null;
  readonly notifyQueueUsage: number | null;
  readonly reconnects: number;
  /** Null before the first read. */
  readonly groups: readonly GroupProgress[] | null;
  readonly hasMoreGroups: boolean;
  readonly showsResults: boolean;
  readonly results: readonly (SeenResult & { readonly number: number })[];
  readonly failures: readonly (SeenResult & { readonly number: number })[];
  readonly completedGroups: readonly (CompletedGroup & { readonly number: number })[];
}

export interface MonitorTimes extends GroupListTimes {
  /** Shortest time between two states, in milliseconds. */
  readonly tickMs: number;
  /** Time between two health checks, and before a failed subscription is retried, in milliseconds. */
  readonly healthMs: number;
}

const maxGroups = 50;
const maxResults = 20;
const maxCompletedGroups = 10;
const maxDetailLength = 300;
const historySeconds = 60;
/** The rate is an average, because the count of a single second varies too much to be read. */
const rateSeconds = 5;

/**
 * Watches a backend while there are subscribers: the first one starts all subscriptions and reads, and the last one
 * ends them. Lists and counts are kept in between.
 */
export class Monitor {
  /** The state as a server-sent event, first as it is and then at each change. All subscribers share it. */
  readonly events$: Observable<StreamEvent>;
  readonly #backend: PostgresResultBackend;
  readonly #times: MonitorTimes;
  readonly #showResults: boolean;
  readonly #counts = new RecentCounts(historySeconds);
  readonly #results = new RecentEntries<SeenResult>(maxResults);
  readonly #failures = new RecentEntries<SeenResult>(maxResults);
  readonly #completedGroups = new RecentEntries<CompletedGroup>(maxCompletedGroups);
  readonly #groups: GroupList;
  /** Recent errors with the time until which each is shown: a stream that works again does not report it. */
  readonly #errors = new Map<string, number>();
  #health: Health | undefined;

  constructor(backend: PostgresResultBackend, showResults: boolean, times: MonitorTimes) {
    this.#backend = backend;
    this.#showResults = showResults;
    this.#times = times;
    this.#groups = new GroupList(backend, maxGroups, times);
    // The id of an event names the run of this server and a number.
    const run = randomBytes(4).toString("hex");
    let events = 0;
    this.events$ = defer(() => this.#watch()).pipe(
      map((state) => formatEvent("state", new JsonText(state), `${run}-${(events += 1)}`)),
      share({ connector: () => new ReplaySubject<StreamEvent>(1) }),
    );
  }

  #watch(): Observable<string> {
    const { tickMs, healthMs } = this.#times;
    const watched = [
      this.#backend.results$({ schema: asJsonText }).pipe(tap((outcome) => this.#addResult(outcome))),
      this.#backend
        .groupCompletions$()
        .pipe(tap((group) => this.#completedGroups.add({ ...group, seenAt: Date.now() }))),
      this.#groups.follow(),
      timer(0, healthMs).pipe(
        exhaustMap(async () => this.#backend.health()),
        tap((health) => (this.#health = health)),
      ),
    ].map((source$: Observable<unknown>) => source$.pipe(ignoreElements(), this.#retried()));
    const states$ = timer(0, tickMs).pipe(
      map(() => JSON.stringify(this.#state())),
      distinctUntilChanged(),
    );
    return merge(...watched, states$);
  }

  /** Retries for ever: missing rights can be granted, and missing tables created. */
  #retried(): MonoTypeOperatorFunction<never> {
    const { healthMs } = this.#times;
    return retry({
      delay: (error: unknown) => {
        const message = error instanceof Error ? error.message : String(error);
        this.#errors.set(message, performance.now() + 2 * healthMs);
        return timer(healthMs);
      },
    });
  }

  #addResult(outcome: TaskOutcome<JsonText>): void {
    const isFailure = outcome.status === "rejected";
    const detail = this.#showResults ? { detail: detailOf(outcome) } : {};
    const seen = { taskId: outcome.taskId, isFailure, seenAt: Date.now(), ...detail };
    this.#counts.add();
    this.#results.add(seen);
    if (isFailure) this.#failures.add(seen);
  }

  #state(): DashboardState {
    const { status, heartbeatMs, reconnects } = this.#backend.stats();
    const history = this.#counts.history();
    const resultsPerSecond = history.slice(-rateSeconds).reduce((sum, count) => sum + count, 0) / rateSeconds;
    return {
      status,
      problems: this.#problems(),
      resultsPerSecond,
      history,
      resultsSeen: this.#results.added,
      failuresSeen: this.#failures.added,
      heartbeatMs: status === "listening" ? (heartbeatMs ?? null) : null,
      databaseMs: this.#health?.databaseMs ?? null,
      notifyQueueUsage: this.#health?.notifyQueueUsage ?? null,
      reconnects,
      groups: this.#groups.groups ?? null,
      hasMoreGroups: this.#groups.hasMore,
      showsResults: this.#showResults,
      results: this.#results.entries,
      failures: this.#failures.entries,
      completedGroups: this.#completedGroups.entries,
    };
  }

  #problems(): readonly string[] {
    for (const [message, until] of this.#errors) if (until < performance.now()) this.#errors.delete(message);
    return [...new Set([...(this.#health?.problems ?? []), ...this.#errors.keys()])];
  }
}

function detailOf(outcome: TaskOutcome<JsonText>): string {
  if (outcome.status === "fulfilled") return shorten(layOut(outcome.value.text));
  const reason: unknown = outcome.reason;
  return shorten(
    reason instanceof TaskFailedError ? `${reason.failure.name}: ${reason.failure.message}` : String(reason),
  );
}

/** Cuts between two characters, not within a surrogate pair. */
function shorten(text: string): string {
  const start = text.slice(0, maxDetailLength);
  return start.length === text.length ? text : `${start.toWellFormed().replace(/\uFFFD$/, "")}…`;
}

/** The latest entries, newest first, numbered from 1. */
class RecentEntries<T> {
  readonly #limit: number;
  #entries: readonly (T & { readonly number: number })[] = [];
  #added = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get entries(): readonly (T & { readonly number: number })[] {
    return this.#entries;
  }

  /** The number of all entries so far. */
  get added(): number {
    return this.#added;
  }

  add(entry: T): void {
    this.#added += 1;
    this.#entries = [{ ...entry, number: this.#added }, ...this.#entries.slice(0, this.#limit - 1)];
  }
}

/** Counts events in each of the last seconds. */
export class RecentCounts {
  readonly #seconds: number;
  readonly #now: () => number;
  /** The current second comes last. */
  #counts: number[];
  #latest: number;

  /** @param now - Milliseconds on a clock that never goes back. */
  constructor(seconds: number, now: () => number = () => performance.now()) {
    this.#seconds = seconds;
    this.#now = now;
    this.#counts = new Array<number>(seconds + 1).fill(0);
    this.#latest = Math.floor(now() / 1_000);
  }

  add(): void {
    this.#advance();
    this.#counts[this.#seconds] = (this.#counts[this.#seconds] ?? 0) + 1;
  }

  /** The counts of the seconds that are over, oldest first. */
  history(): readonly number[] {
    this.#advance();
    return this.#counts.slice(0, this.#seconds);
  }

  #advance(): void {
    const second = Math.floor(this.#now() / 1_000);
    const passed = Math.min(second - this.#latest, this.#seconds + 1);
    this.#latest = second;
    if (passed > 0) this.#counts = [...this.#counts.slice(passed), ...new Array<number>(passed).fill(0)];
  }
}
