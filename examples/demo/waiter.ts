// The waiting process. It opens a wait for every task, shows each outcome, and ends with a report of what woke it and
// how fast. It does not poll: Postgres notifies it of each result.

import { once } from "node:events";
import { PostgresResultBackend, TaskFailedError, WaitTimeoutError } from "kojin-postgres";
import { databaseOfParent, followParent } from "./child";
import { readLatencies } from "./latency";
import { createReport } from "./report";
import { Screen } from "./screen";
import type { FileTask, Fingerprint } from "./tasks";

/** A task to wait for, and the time limit. */
export interface WaitOrder extends FileTask {
  readonly timeoutMs: number;
}

/** The end of a wait. Times are milliseconds since 1970, with fractions. */
export interface EndedWait {
  readonly taskId: string;
  readonly outcome: "result" | "failure" | "timeout";
  readonly openedAtMs: number;
  readonly endedAtMs: number;
}

async function main(): Promise<void> {
  const screen = new Screen();
  // However the process ends, the terminal gets its cursor back.
  process.once("exit", () => screen.close());
  followParent(() => process.exit());

  const { url, schema } = databaseOfParent();
  const backend = await PostgresResultBackend.connect(url, { schema });
  // Optional: without it, the first wait would also wait for LISTEN.
  await backend.ready();

  const [orders] = (await once(process, "message")) as [WaitOrder[]];
  screen.open(orders.length);
  const waits = orders.map((order) => waitFor(backend, order, screen));
  // Reads the last id once more: when the answer is here, everything stored before has been found, and notifications do
  // the rest.
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

// Not Date.now(), which has whole milliseconds only: a result often takes less than two from its commit to here.
function now(): number {
  return performance.timeOrigin + performance.now();
}

void main();
