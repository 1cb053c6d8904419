// A process that uses the library at the command of the main process and reports how each call ended.

import { DatabaseError, PostgresResultBackend, WaitTimeoutError } from "kojin-postgres";
import { bufferTime, filter, map, type Observable } from "rxjs";
import { followGroup, waitForGroup } from "./group-follower";
import { sweepIntervalMs } from "./limits";
import { type Command, type Ended, now, type Order, type Outcome, type Report, type WorkerSetup } from "./protocol";
import { differenceOf, failureOf, isFailing, valueOf } from "./tasks";

async function main(): Promise<void> {
  // Ctrl-C in a terminal reaches every process. The main process alone decides when to stop.
  process.on("SIGINT", () => undefined);
  process.once("disconnect", () => process.exit());
  const setup = JSON.parse(process.env["SOAK_WORKER"] ?? "") as WorkerSetup;
  const { url, listenUrl, schema, notify, hasFeeds } = setup;
  const listen = listenUrl === undefined ? true : { connection: listenUrl };
  const backend = await PostgresResultBackend.connect(url, { schema, notify, listen, sweepIntervalMs });
  await backend.ready();
  if (hasFeeds) {
    show("results", backend.results$().pipe(map(({ taskId }) => taskId)));
    show("groups", backend.groupCompletions$().pipe(map(({ groupId }) => groupId)));
  }
  process.on("message", (command: Command) => {
    if ("order" in command)
      void carryOut(backend, command.order).then((ended) => send({ report: "ended", call: command.call, ended }));
    else if (command.command === "close") void close(backend);
    // From here on nothing should keep this process alive.
    else process.removeAllListeners("disconnect").disconnect();
  });
  send({ report: "ready" });
}

let isClosing = false;

async function close(backend: PostgresResultBackend): Promise<void> {
  isClosing = true;
  const startedAt = now();
  const stats = backend.stats();
  await backend.close();
  send({ report: "closed", tookMs: now() - startedAt, stats });
}

function show(feed: "results" | "groups", ids$: Observable<string>): void {
  ids$
    .pipe(
      bufferTime(100),
      filter((ids) => ids.length > 0),
    )
    .subscribe({
      next: (ids) => send({ report: "seen", feed, ids }),
      error: (error: unknown) => {
        if (!isClosing) send({ report: "feed ended", error: `${feed}: ${describe(error)}` });
      },
    });
}

async function carryOut(backend: PostgresResultBackend, order: Order): Promise<Ended> {
  const startedAt = now();
  const end = (outcome: Outcome, detail = ""): Ended => ({ outcome, startedAt, endedAt: now(), detail });
  try {
    const difference = await perform(backend, order);
    if (difference === null) return end("nothing");
    return difference === undefined ? end("done") : end("wrong", difference);
  } catch (error) {
    return error instanceof WaitTimeoutError ? end("timeout") : end("failed", describe(error));
  }
}

/** Returns a description of what was wrong with the outcome; null for a claim that was not granted. */
async function perform(backend: PostgresResultBackend, order: Order): Promise<string | undefined | null> {
  switch (order.what) {
    case "store":
      if (isFailing(order.taskId)) await backend.fail(order.taskId, failureOf(order.taskId));
      else await backend.store(order.taskId, valueOf(order.taskId));
      return undefined;
    case "wait":
      return differenceOf(order.taskId, await backend.waitSettled(order.taskId, order.timeoutMs));
    case "initGroup": {
      const { groupId, members, isDeclared } = order.group;
      await backend.initGroup(groupId, isDeclared ? members : members.length);
      return undefined;
    }
    case "finishMember":
      if (isFailing(order.taskId)) await backend.failGroupMember(order.groupId, order.taskId, failureOf(order.taskId));
      else await backend.completeGroupMember(order.groupId, order.taskId, valueOf(order.taskId));
      return undefined;
    case "waitGroup":
      return waitForGroup(backend, order.group, order.timeoutMs);
    case "followGroup":
      return followGroup(backend, order.group);
    case "claim":
      return (await backend.claimGroup(order.groupId)) === undefined ? null : undefined;
  }
}

function send(report: Report): void {
  // An error means that the main process has ended. Then this process ends too.
  process.send?.(report, undefined, undefined, () => undefined);
}

function describe(error: unknown): string {
  const state = error instanceof DatabaseError && error.sqlState !== undefined ? ` ${error.sqlState}` : "";
  return error instanceof Error ? `${error.name}${state}: ${error.message}` : String(error);
}

void main();
