import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Stats } from "kojin-postgres";
import { closeLimitMs } from "./limits";
import type { Problems } from "./problems";
import type { Command, Report } from "./protocol";
import type { WorkerPlan } from "./site";

/** Longest time a process may take to end once nothing keeps it alive. */
const leaveLimitMs = 3_000;

/** A process that uses the library. It is a problem if the process ends by itself or prints an error. */
export class Worker {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #problems: Problems;
  readonly #listeners = new Set<(report: Report) => void>();
  #isLeaving = false;

  constructor({ name, setup }: WorkerPlan, problems: Problems) {
    this.name = name;
    this.#problems = problems;
    // `fork` passes on the arguments that started this process, so tsx runs the children too.
    this.#child = fork(join(__dirname, "worker.ts"), {
      env: { ...process.env, SOAK_WORKER: JSON.stringify(setup) },
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    // Sending to a process that has ended emits an error event. The exit handler below reports the end.
    this.#child.on("error", () => undefined);
    this.#child.stderr?.on("data", (text: Buffer) => {
      if (!this.#isLeaving) problems.add("worker", `${name} printed: ${text.toString().trim().slice(0, 500)}`);
    });
    this.#child.once("exit", (code, signal) => {
      if (!this.#isLeaving) problems.add("worker", `${name} ended with ${signal ?? `exit code ${code ?? "unknown"}`}`);
    });
    this.#child.on("message", (report: Report) => {
      for (const listener of this.#listeners) listener(report);
    });
  }

  get hasExited(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  send(command: Command): void {
    if (this.#child.connected) this.#child.send(command);
  }

  onReport(listener: (report: Report) => void): void {
    this.#listeners.add(listener);
  }

  /** Waits for the next report of a kind. Gives undefined if none arrives in time. */
  async report<Kind extends Report["report"]>(
    kind: Kind,
    timeoutMs: number,
  ): Promise<Extract<Report, { report: Kind }> | undefined> {
    const timer = new AbortController();
    const reported = new Promise<Extract<Report, { report: Kind }>>((resolve) =>
      this.onReport((report) => {
        if (report.report === kind) resolve(report as Extract<Report, { report: Kind }>);
      }),
    );
    try {
      return await Promise.race([
        reported,
        sleep(timeoutMs, undefined, { signal: timer.signal }).catch(() => undefined),
        once(this.#child, "exit", { signal: timer.signal }).then(
          () => undefined,
          () => undefined,
        ),
      ]);
    } finally {
      timer.abort();
    }
  }

  /** Closes the worker's backend and returns its last counters. */
  async close(): Promise<Stats | undefined> {
    const closed = this.report("closed", closeLimitMs + 2_000);
    this.send({ command: "close" });
    const report = await closed;
    if (report === undefined || report.tookMs > closeLimitMs)
      this.#problems.add(
        "close",
        `${this.name} took ${report === undefined ? "too long" : `${Math.round(report.tookMs)} ms`}`,
      );
    return report?.stats;
  }

  /** Lets the process end by itself. */
  async leave(): Promise<void> {
    if (this.hasExited) return;
    this.#isLeaving = true;
    const exited = once(this.#child, "exit");
    this.send({ command: "leave" });
    const code: unknown = await Promise.race([
      exited.then(([exitCode]) => exitCode as unknown),
      sleep(leaveLimitMs, "no end", { ref: false }),
    ]);
    if (code === 0) return;
    this.#problems.add("close", `${this.name} was left alive after its close, or ended with ${String(code)}`);
    this.kill();
  }

  kill(): void {
    this.#isLeaving = true;
    this.#child.kill("SIGKILL");
  }
}

/** Starts the workers and resolves once all of them listen. */
export async function startCrew(plans: readonly WorkerPlan[], problems: Problems): Promise<Worker[]> {
  const crew = plans.map((plan) => new Worker(plan, problems));
  const ready = await Promise.all(crew.map(async (worker) => worker.report("ready", 30_000)));
  if (ready.every((report) => report !== undefined)) return crew;
  for (const worker of crew) worker.kill();
  throw new Error(`The processes could not be started. ${problems.words.join("\n")}`);
}
