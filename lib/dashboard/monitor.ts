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
import type { ListenStatus } from "../notifications/notifier";
import type { PostgresResultBackend } from "../postgres-backend";
import type { GroupProgress, TaskOutcome } from "../result-backend";
import { asJsonText, type JsonText, layOut } from "../value/json-text";
import type { Frame } from "./event-stream";
import { GroupList, type GroupListTimes } from "./group-list";
import { Rate } from "./rate";
import { Recent } from "./recent";

/** A result as the page shows it. */
interface Seen {
  readonly taskId: string;
  readonly isFailure: boolean;
  /** In milliseconds since 1970, on this process's clock. */
  readonly seenAt: number;
  /** The value, or name and message of the failure; only where results are to be shown. */
  readonly detail?: string;
}

interface DoneGroup extends GroupProgress {
  readonly seenAt: number;
}

/** All that the page shows. */
export interface DashboardState {
  readonly status: ListenStatus;
  readonly problems: readonly string[];
  readonly resultsPerSecond: number;
  /** Of each of the last 60 seconds, oldest first. */
  readonly history: readonly number[];
  readonly resultsSeen: number;
  readonly failuresSeen: number;
  /** How long the latest notification that was timed took from the pool to the listener; null while nothing is heard. */
  readonly wakeUpMs: number | null;
  readonly databaseMs: number | null;
  readonly notifyQueueUsage: number | null;
  readonly reconnects: number;
  /** Null until they have been read. */
  readonly groups: readonly GroupProgress[] | null;
  readonly hasMoreGroups: boolean;
  readonly showsResults: boolean;
  readonly results: readonly (Seen & { readonly number: number })[];
  readonly failures: readonly (Seen & { readonly number: number })[];
  readonly doneGroups: readonly (DoneGroup & { readonly number: number })[];
}

export interface MonitorTimes extends GroupListTimes {
  /** Between two states, in milliseconds, however much happens. */
  readonly tickMs: number;
  /** Between two looks at the database's health, and between two attempts at what has failed. */
  readonly healthMs: number;
}

const [groupLimit, resultLimit, failureLimit, doneGroupLimit] = [50, 20, 20, 10];
const historySeconds = 60;
/** The rate is an average over these: of a single second it would jump about. */
const rateSeconds = 5;
const maxDetailLength = 300;

/**
 * Looks at a backend as long as anybody looks at it: the first subscriber of {@link Monitor.frames$} starts all subscriptions and reads, the last one ends them.
 * Lists and counts are kept in between.
 */
export class Monitor {
  /** The whole state, now and at every change, the same for everybody. */
  readonly frames$: Observable<Frame>;
  readonly #backend: PostgresResultBackend;
  readonly #times: MonitorTimes;
  readonly #showResults: boolean;
  readonly #rate = new Rate(historySeconds);
  readonly #results = new Recent<Seen>(resultLimit);
  readonly #failures = new Recent<Seen>(failureLimit);
  readonly #doneGroups = new Recent<DoneGroup>(doneGroupLimit);
  readonly #groups: GroupList;
  /** What has failed lately, with the time up to which it counts: nothing tells that it works again. */
  readonly #problems = new Map<string, number>();
  #health: Health | undefined;

  constructor(backend: PostgresResultBackend, showResults: boolean, times: MonitorTimes) {
    this.#backend = backend;
    this.#showResults = showResults;
    this.#times = times;
    this.#groups = new GroupList(backend, groupLimit, times);
    // Ids go on within a run, and differ from those of another.
    const run = randomBytes(4).toString("hex");
    let frames = 0;
    this.frames$ = defer(() => this.#watch()).pipe(
      map((data) => ({ id: `${run}-${(frames += 1)}`, data })),
      share({ connector: () => new ReplaySubject<Frame>(1) }),
    );
  }

  #watch(): Observable<string> {
    const { tickMs, healthMs } = this.#times;
    const watched = [
      this.#backend.results$({ schema: asJsonText }).pipe(tap((outcome) => this.#onResult(outcome))),
      this.#backend.groupCompletions$().pipe(tap((group) => this.#doneGroups.add({ ...group, seenAt: Date.now() }))),
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

  /** Tries again what has failed, for as long as somebody looks: rights may be given, and tables made. */
  #retried(): MonoTypeOperatorFunction<never> {
    const { healthMs } = this.#times;
    return retry({
      delay: (error: unknown) => {
        const message = error instanceof Error ? error.message : String(error);
        this.#problems.set(message, performance.now() + 2 * healthMs);
        return timer(healthMs);
      },
    });
  }

  #onResult(outcome: TaskOutcome<JsonText>): void {
    const isFailure = outcome.status === "rejected";
    const detail = this.#showResults ? { detail: detailOf(outcome) } : {};
    const seen = { taskId: outcome.taskId, isFailure, seenAt: Date.now(), ...detail };
    this.#rate.add();
    this.#results.add(seen);
    if (isFailure) this.#failures.add(seen);
  }

  #state(): DashboardState {
    const { status, heartbeatMs, reconnects } = this.#backend.stats();
    const history = this.#rate.history();
    const lately = history.slice(-rateSeconds);
    return {
      status,
      problems: this.#currentProblems(),
      resultsPerSecond: lately.reduce((sum, count) => sum + count, 0) / rateSeconds,
      history,
      resultsSeen: this.#results.added,
      failuresSeen: this.#failures.added,
      wakeUpMs: status === "listening" ? (heartbeatMs ?? null) : null,
      databaseMs: this.#health?.databaseMs ?? null,
      notifyQueueUsage: this.#health?.notifyQueueUsage ?? null,
      reconnects,
      groups: this.#groups.groups ?? null,
      hasMoreGroups: this.#groups.hasMore,
      showsResults: this.#showResults,
      results: this.#results.entries,
      failures: this.#failures.entries,
      doneGroups: this.#doneGroups.entries,
    };
  }

  #currentProblems(): readonly string[] {
    for (const [message, until] of this.#problems) if (until < performance.now()) this.#problems.delete(message);
    return [...new Set([...(this.#health?.problems ?? []), ...this.#problems.keys()])];
  }
}

function detailOf(outcome: TaskOutcome<JsonText>): string {
  if (outcome.status === "fulfilled") return shorten(layOut(outcome.value.text));
  const reason: unknown = outcome.reason;
  return shorten(
    reason instanceof TaskFailedError ? `${reason.failure.name}: ${reason.failure.message}` : String(reason),
  );
}

/** Not through the middle of a character. */
function shorten(text: string): string {
  const start = text.slice(0, maxDetailLength);
  return start.length === text.length ? text : `${start.toWellFormed().replace(/\uFFFD$/, "")}…`;
}
