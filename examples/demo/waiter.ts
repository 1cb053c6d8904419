// The waiting process. It opens a wait for every task, shows what comes, and ends with a report of how it came and how fast. It does not ask again and
// again: Postgres tells it when a result is there.

import { once } from "node:events";
import { PostgresResultBackend, TaskFailedError, WaitTimeoutError } from "kojin-postgres";
import { followParent } from "./child";
import { databaseOfParent } from "./database";
import type { Fingerprint } from "./fingerprint";
import { readLatencies } from "./latency";
import { createReport } from "./report";
import { Screen } from "./screen";
import type { FileTask } from "./tasks";

/** What to wait for, and for how long. */
export interface WaitOrder extends FileTask {
  readonly timeoutMs: number;
}

/** How a wait went. Times are milliseconds since 1970, with fractions. */
export interface EndedWait {
  readonly taskId: string;
  readonly outcome: "result" | "failure" | "timeout";
  readonly openedAtMs: number;
  readonly endedAtMs: number;
}

async function main(): Promise<void> {
  const screen = new Screen();
  // However it ends, the terminal gets its cursor back.
  process.once("exit", () => screen.close());
  followParent(() => process.exit());

  const { url, schema } = databaseOfParent();
  const backend = await PostgresResultBackend.connect(url, { schema });
  // Not needed, but the first wait would pay for it: from here on notifications are heard.
  await backend.ready();

  const [orders] = (await once(process, "message")) as [WaitOrder[]];
  screen.open(orders.length);
  const waits = orders.map((order) => waitFor(backend, order, screen));
  // One more read of the last id: once it is back, what was there already has been found, and the rest is up to notifications.
  await backend.getSettled(orders.at(-1)?.taskId ?? "none");
  process.send?.("waiting");
  const ended = await Promise.all(waits);
  screen.close();

  const latencies = await readLatencies(url, schema, ended);
  console.log(`\n${createReport(ended, backend.stats().wokenBy, latencies)}`);
  await backend.close();
  process.send?.("reported");
}

async function waitFor(backend: PostgresResultBackend, order: WaitOrder, screen: Screen): Promise<EndedWait> {
  const { taskId, name, timeoutMs } = order;
  const openedAtMs = now();
  try {
    const result = await backend.wait<Fingerprint>(taskId, timeoutMs);
    const endedAtMs = now();
    screen.showResult(name, result);
    return { taskId, outcome: "result", openedAtMs, endedAtMs };
  } catch (error) {
    const endedAtMs = now();
    if (error instanceof TaskFailedError) {
      screen.showFailure(name, error);
      return { taskId, outcome: "failure", openedAtMs, endedAtMs };
    }
    if (error instanceof WaitTimeoutError) {
      screen.showTimeout(error);
      return { taskId, outcome: "timeout", openedAtMs, endedAtMs };
    }
    throw error;
  }
}

// Not Date.now(), which knows whole milliseconds only: a result often takes less than two from its commit to here.
function now(): number {
  return performance.timeOrigin + performance.now();
}

void main();
