import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Stats } from "kojin-postgres";
import { closeLimitMs } from "./limits";
import type { Problems } from "./problems";
import type { Command, Report } from "./protocol";
import type { WorkerPlan } from "./site";

/** How long a process may take to end once nothing should keep it. */
const leaveLimitMs = 3_000;

/** A process that uses the library. That it ends by itself, or prints an error, is a problem. */
export class Worker {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #problems: Problems;
  readonly #listeners = new Set<(report: Report) => void>();
  #isLeaving = false;

  constructor({ name, setup }: WorkerPlan, problems: Problems) {
    this.name = name;
    this.#problems = problems;
    // Node hands on the arguments this process was started with, and so the children are run by tsx as well.
    this.#child = fork(join(__dirname, "worker.ts"), {
      env: { ...process.env, SOAK_WORKER: JSON.stringify(setup) },
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    // A message to a process that is gone is an error event here. That it is gone is told below.
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

  /** The next report of a kind; undefined if it does not come in time. */
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

  /** Closes its backend; gives the counters it had. */
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

/** Starts the workers; resolves once all of them listen. */
export async function startCrew(plans: readonly WorkerPlan[], problems: Problems): Promise<Worker[]> {
  const crew = plans.map((plan) => new Worker(plan, problems));
  const ready = await Promise.all(crew.map(async (worker) => worker.report("ready", 30_000)));
  if (ready.every((report) => report !== undefined)) return crew;
  for (const worker of crew) worker.kill();
  throw new Error(`The processes could not be started. ${problems.words.join("\n")}`);
}
