import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { extname, join } from "node:path";
import { PostgresResultBackend, TaskFailedError, WaitTimeoutError } from "../../index";
import type { Session } from "../session";
import { inDigits } from "../text";
import type { DemoTask } from "./tasks";

const rounds = 200;
const members = 5_000;
const waitMs = 20_000;

interface Figures {
  readonly medianWakeUpMs: number;
  readonly slowestWakeUpMs: number;
  readonly groupMembers: number;
  readonly groupMs: number;
}

/** A worker process stores, this one waits; all that they share is the database at `url`, and the ids. */
export async function runDemo(session: Session, url: string): Promise<void> {
  await using backend = await PostgresResultBackend.connect(url);
  const say = (line: string): void => {
    if (!session.isJson) session.print(line);
  };
  await backend.migrate();
  await backend.ready();
  await using worker = await Worker.start(url);
  session.interrupted.throwIfAborted();
  say(
    `A Postgres server of its own, and two processes: this one (${process.pid}) waits, worker ${worker.processId} stores.\n`,
  );

  await showOutcomes(backend, worker, say);
  const latenciesMs = await measureWakeUps(backend, worker, session.interrupted);
  const figures: Figures = {
    medianWakeUpMs: rounded(latenciesMs[latenciesMs.length >> 1] ?? 0),
    slowestWakeUpMs: rounded(latenciesMs.at(-1) ?? 0),
    groupMembers: members,
    groupMs: rounded(await runGroup(backend, worker)),
  };
  if (session.isJson) {
    session.printJson({ ...figures, wokenBy: backend.stats().wokenBy });
    return;
  }
  say(`\n${rounds} tasks, one at a time, from this process to the worker and back by way of the database:`);
  say(`  half of them took at most ${figures.medianWakeUpMs} ms, the slowest ${figures.slowestWakeUpMs} ms.`);
  say(
    `A group of ${inDigits(members)} members was done, and heard of, after ${inDigits(Math.round(figures.groupMs))} ms.`,
  );
  const { notification, read, sweep } = backend.stats().wokenBy;
  say(
    `Woken by notifications: ${notification}; found at the first read: ${read}; by sweeping: ${sweep}. Nobody polled.`,
  );
}

async function showOutcomes(
  backend: PostgresResultBackend,
  worker: Worker,
  say: (line: string) => void,
): Promise<void> {
  const [waiting, failing, forgotten] = [
    backend.wait("square", waitMs),
    backend.wait("failing", waitMs),
    backend.wait("forgotten", 500),
  ];
  worker.handOut({ kind: "square", taskId: "square", input: 12 });
  worker.handOut({ kind: "fail", taskId: "failing" });
  const errors = Promise.all([failing, forgotten].map(async (wait) => wait.catch((error: unknown) => error)));
  say(`wait("square")     ${JSON.stringify(await waiting)}`);
  const [failure, timeout] = await errors;
  if (failure instanceof TaskFailedError)
    say(`wait("failing")    ${failure.name}: ${failure.failure.name}: ${failure.failure.message}`);
  if (timeout instanceof WaitTimeoutError) say(`wait("forgotten")  ${timeout.name}: ${timeout.message}`);
}

/** One after the other, in ascending order of the time they took. */
async function measureWakeUps(
  backend: PostgresResultBackend,
  worker: Worker,
  interrupted: AbortSignal,
): Promise<number[]> {
  const latenciesMs: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const taskId = `round-${round}`;
    const startedAt = performance.now();
    const waiting = backend.wait(taskId, { timeoutMs: waitMs, signal: interrupted });
    worker.handOut({ kind: "square", taskId, input: round });
    await waiting;
    latenciesMs.push(performance.now() - startedAt);
  }
  return latenciesMs.sort((a, b) => a - b);
}

async function runGroup(backend: PostgresResultBackend, worker: Worker): Promise<number> {
  const startedAt = performance.now();
  await backend.initGroup("squares", members);
  const waiting = backend.waitGroup<number>("squares", waitMs);
  for (let index = 0; index < members; index += 1)
    worker.handOut({ kind: "member", groupId: "squares", taskId: `member-${index}`, input: index });
  await waiting;
  return performance.now() - startedAt;
}

const rounded = (durationMs: number): number => Math.round(durationMs * 10) / 10;

/** The other process. */
class Worker implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(url: string): Promise<Worker> {
    // In the environment, since arguments, and a password in them, can be seen by every user. As .ts where this file is run so.
    const env = { ...process.env, DATABASE_URL: url };
    const child = fork(join(__dirname, `worker${extname(__filename)}`), {
      env,
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    // A message to a process that is gone is an error event; the waits end by their own limits.
    child.on("error", () => undefined);
    const worker = new Worker(child);
    await Promise.race([
      once(child, "message"),
      once(child, "exit").then(() => Promise.reject(new Error("The worker of the demo ended too early."))),
    ]);
    return worker;
  }

  get processId(): number {
    return this.#child.pid ?? 0;
  }

  handOut(task: DemoTask): void {
    this.#child.send(task);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGTERM");
    await exited;
  }
}
