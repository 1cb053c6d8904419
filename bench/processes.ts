import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";

/** Longer than any call should take, so that a run that hangs ends with an error. */
const callLimitMs = 120_000;

/** The calls that a worker answers: each has a name, one argument and one answer. */
export type Tasks = Readonly<Record<string, (argument: never) => unknown>>;

interface Request {
  readonly call: number;
  readonly name: string;
  readonly argument: unknown;
}

interface Reply {
  readonly call: number;
  readonly value?: unknown;
  readonly error?: string;
}

interface PendingCall {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Another process, which runs a file of `workers/`. */
export class WorkerProcess<T extends Tasks> implements Disposable {
  readonly #script: string;
  readonly #child: ChildProcess;
  readonly #pending = new Map<number, PendingCall>();
  #calls = 0;

  constructor(script: string, nodeArguments: readonly string[] = []) {
    this.#script = script;
    this.#child = fork(join(__dirname, "workers", `${script}.js`), {
      execArgv: [...nodeArguments],
      // Not JSON: times travel as Float64Array.
      serialization: "advanced",
    });
    this.#child.on("message", (reply: Reply) => this.#settle(reply));
    // Sending to a process that has ended emits an error event. The exit handler below reports the end.
    this.#child.on("error", () => undefined);
    this.#child.once("exit", (code, signal) => {
      const error = new Error(`The process ${script} ended with ${signal ?? `exit code ${code ?? "unknown"}`}.`);
      for (const { reject } of this.#pending.values()) reject(error);
    });
  }

  async call<Name extends keyof T & string>(
    name: Name,
    ...[argument]: Parameters<T[Name]>
  ): Promise<Awaited<ReturnType<T[Name]>>> {
    const call = (this.#calls += 1);
    const answer = new Promise<unknown>((resolve, reject) => this.#pending.set(call, { resolve, reject }));
    const late = new Error(`The process ${this.#script} did not answer the call ${name} within ${callLimitMs} ms.`);
    const timer = setTimeout(() => this.#pending.get(call)?.reject(late), callLimitMs);
    this.#child.send({ call, name, argument } satisfies Request);
    try {
      return (await answer) as Awaited<ReturnType<T[Name]>>;
    } finally {
      clearTimeout(timer);
    }
  }

  [Symbol.dispose](): void {
    if (this.#child.connected) this.#child.disconnect();
  }

  #settle({ call, value, error }: Reply): void {
    const pending = this.#pending.get(call);
    this.#pending.delete(call);
    if (error === undefined) pending?.resolve(value);
    else pending?.reject(new Error(error));
  }
}

/** Answers the calls of the parent process, and ends with it. */
export function serve(tasks: Tasks): void {
  // Ctrl-C in a terminal reaches every process. The main process alone decides when to stop.
  process.on("SIGINT", () => undefined);
  process.once("disconnect", () => process.exit());
  process.on("message", (request: Request) => void answer(tasks, request));
}

async function answer(tasks: Tasks, { call, name, argument }: Request): Promise<void> {
  try {
    reply({ call, value: await tasks[name]?.(argument as never) });
  } catch (error) {
    reply({ call, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
}

function reply(message: Reply): void {
  // An error means that the main process has ended. Then this process ends too.
  process.send?.(message, undefined, undefined, () => undefined);
}
