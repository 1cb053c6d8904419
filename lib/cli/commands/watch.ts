import { concat, defer, EMPTY, filter, interval, map, merge, type Observable, of, takeUntil, tap } from "rxjs";
import type { TaskFailedError } from "../../errors";
import type { PostgresResultBackend, TaskOutcome } from "../../index";
import { longestTimerMs } from "../../value/arguments";
import { exactFailure } from "../../value/failure";
import { asJsonText } from "../../value/decoding";
import type { JsonText } from "../../value/json-text";
import { forOption, parseDuration, type CliCommand } from "../command";
import { exitCodes, UsageError } from "../exit-codes";
import type { Session } from "../session";
import { BarView, LineView, type RatesEvent, type UntimedEvent, type WatchEvent } from "./watch-views";

interface WatchOptions {
  readonly results: boolean;
  readonly groups: boolean;
  readonly prefix: string;
  readonly showResults?: boolean;
  readonly every?: number;
  readonly for: number;
}

export const watch = (program: CliCommand): void => {
  program
    .command("watch")
    .summary("show results and groups as they arrive")
    .description(
      "Shows every result that any process stores from now on, and the progress of open groups: as bars on a terminal, otherwise as lines. Values are hidden unless you ask for them. Ctrl-C ends the command and exits with 0.",
    )
    .option("--no-results", "show only groups")
    .option("--no-groups", "show only results")
    .option("--prefix <text>", "show only tasks and groups whose id begins with this", "")
    .option("--show-results", "show values, which then also appear in logs")
    .option("--every <duration>", "time between two rates (default: 1s on a terminal, otherwise 10s)", parseDuration)
    .addOption(forOption())
    .examples(
      ["watch", "everything"],
      ["watch --prefix upload: --no-groups", "some results"],
      ["watch --json --for 1m | jq -r 'select(.status == \"rejected\").taskId'", "tasks that fail"],
    )
    .endsItself()
    .handle<WatchOptions>(async (session, _args, options) => {
      if (!options.results && !options.groups)
        throw new UsageError("With --no-results and --no-groups there is nothing to watch.");
      const backend = await session.connect();
      const bars = usesBars(session) ? new BarView(session) : undefined;
      const view = bars ?? new LineView(session);
      try {
        await watch$(session, backend, options).forEach((event) => view.show(event));
      } finally {
        bars?.close();
      }
      return exitCodes.ok;
    });
};

const usesBars = ({ terminal, isJson }: Session): boolean => terminal.out.isTTY === true && !isJson;

/** Emits events and rates until the command is interrupted or its time is over, then the rates once more. */
function watch$(session: Session, backend: PostgresResultBackend, options: WatchOptions): Observable<WatchEvent> {
  const counter = new Counter();
  const everyMs = options.every ?? (usesBars(session) ? 1_000 : 10_000);
  return concat(
    merge(
      events$(backend, options).pipe(tap((event) => counter.count(event))),
      interval(Math.min(Math.max(everyMs, 100), longestTimerMs)).pipe(map(() => counter.rates())),
    ).pipe(takeUntil(session.ended$(options.for))),
    defer(() => of(counter.rates())),
  ).pipe(map((event) => ({ at: new Date().toISOString(), ...event })));
}

function events$(
  backend: PostgresResultBackend,
  { results, groups, prefix, showResults = false }: WatchOptions,
): Observable<UntimedEvent> {
  const where = (taskId: string): boolean => taskId.startsWith(prefix);
  const results$ = backend.results$({ where, schema: asJsonText });
  const groups$ = backend.groupChanges$().pipe(filter(({ groupId }) => groupId.startsWith(prefix)));
  // The status last: once it says "listening", the other streams miss nothing.
  return merge(
    results ? results$.pipe(map((outcome) => toResultEvent(outcome, showResults))) : EMPTY,
    groups ? groups$.pipe(map((progress) => ({ type: "group" as const, ...progress }))) : EMPTY,
    backend.status$.pipe(map((status) => ({ type: "listener" as const, status }))),
  );
}

function toResultEvent(outcome: TaskOutcome<JsonText>, showResults: boolean): UntimedEvent {
  const { taskId } = outcome;
  if (outcome.status === "rejected") {
    const { failure } = outcome.reason as TaskFailedError;
    return { type: "result", taskId, status: "rejected", failure: exactFailure(failure) };
  }
  return { type: "result", taskId, status: "fulfilled", ...(showResults ? { value: outcome.value } : {}) };
}

/** Counts events since the start, and results per second since the previous rates. */
class Counter {
  readonly #openGroups = new Set<string>();
  #results = 0;
  #failures = 0;
  #groupsDone = 0;
  #previous = { results: 0, at: performance.now() };

  count(event: UntimedEvent): void {
    if (event.type === "result") {
      this.#results += 1;
      if (event.status === "rejected") this.#failures += 1;
    } else if (event.type === "group") {
      if (!event.done) this.#openGroups.add(event.groupId);
      else {
        this.#openGroups.delete(event.groupId);
        this.#groupsDone += 1;
      }
    }
  }

  rates(): RatesEvent {
    const { results, at } = this.#previous;
    this.#previous = { results: this.#results, at: performance.now() };
    const resultsPerSecond = ((this.#results - results) * 1_000) / Math.max(1, this.#previous.at - at);
    return {
      type: "rates",
      results: this.#results,
      failures: this.#failures,
      groupsDone: this.#groupsDone,
      openGroups: this.#openGroups.size,
      resultsPerSecond: Math.round(resultsPerSecond * 10) / 10,
    };
  }
}
