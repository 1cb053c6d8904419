import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { databaseEnvironment, type DemoDatabase } from "./database";
import type { FileTask } from "./tasks";
import type { WaitOrder } from "./waiter";

/** Longest time a process may take to leave before it is killed. */
const leaveTimeoutMs = 5_000;

/** The other processes of the demo: two workers and one waiter. */
export class Crew implements AsyncDisposable {
  /** Rejects when a process ends before it was told to. */
  readonly lost: Promise<never>;
  readonly #workers: readonly ChildProcess[];
  readonly #waiter: ChildProcess;
  #handedOut = 0;

  constructor(database: DemoDatabase) {
    this.#workers = [startProcess("worker", database), startProcess("worker", database)];
    this.#waiter = startProcess("waiter", database);
    this.lost = Promise.race([
      ...this.#workers.map((worker) => loss(worker, "A worker")),
      loss(this.#waiter, "The waiter"),
    ]);
    // Callers race this promise. After the race, its rejection is expected, since ending the processes causes it.
    this.lost.catch(() => undefined);
  }

  /** Gives tasks to the workers in turn. Any queue would do. Here it is a pipe to each process. */
  handOut(tasks: readonly FileTask[]): void {
    for (const task of tasks) {
      this.#workers[this.#handedOut % this.#workers.length]?.send(task);
      this.#handedOut += 1;
    }
  }

  /** Resolves once the waiter has opened all these waits. */
  async openWaits(orders: readonly WaitOrder[]): Promise<void> {
    this.#waiter.send(orders);
    await once(this.#waiter, "message");
  }

  /** Resolves once all waits have ended and the waiter has shown its report. */
  async reported(): Promise<void> {
    await once(this.#waiter, "message");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#waiter, ...this.#workers].map(endProcess));
  }
}

function startProcess(script: "worker" | "waiter", database: DemoDatabase): ChildProcess {
  // `fork` passes on the arguments that started this process, so tsx runs the children too.
  const child = fork(join(__dirname, `${script}.ts`), { env: databaseEnvironment(database) });
  // Sending to a process that has ended emits an error event. `loss` reports the end.
  child.on("error", () => undefined);
  return child;
}

async function loss(child: ChildProcess, name: string): Promise<never> {
  const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
  throw new Error(`${name} ended too early, with ${signal ?? `exit code ${code ?? "unknown"}`}.`);
}

async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  const killing = setTimeout(() => child.kill("SIGKILL"), leaveTimeoutMs);
  child.kill("SIGTERM");
  // An open channel would keep this process alive.
  if (child.connected) child.disconnect();
  await exited;
  clearTimeout(killing);
}
