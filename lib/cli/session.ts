import { inspect, styleText } from "node:util";
import type { Pool } from "pg";
import { fromEvent, merge, NEVER, type Observable, of, timer } from "rxjs";
import { Database } from "../database/database";
import { OwnPool } from "../database/own-pool";
import { unlessAborted } from "../database/race";
import { EmbeddedPostgresError, startEmbeddedPostgres } from "../embedded/index";
import { type Logger, type Notifier, PostgresResultBackend } from "../index";
import { SchemaCheck } from "../schema/schema-check";
import { isError } from "../errors";
import { longestTimerMs } from "../value/arguments";
import { layOut, stringifyExactly } from "../value/json-text";
import { asUsage, type ExitCode, exitCodeOf, exitCodeOfSignal, failureLine, remedyFor, UsageError } from "./exit-codes";
import { createNotifier, type NatsCliOptions } from "./nats-notifier";
import { printable, Secrets } from "./text";

/** A stream that a command writes to: a terminal if `isTTY` is set. */
export type Output = NodeJS.WritableStream & {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
};

/** Everything that a command uses of its process. */
export interface Terminal {
  readonly in: NodeJS.ReadableStream;
  readonly out: Output;
  readonly err: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborts when the command should end, with the name of the signal as its reason. */
  readonly interrupted: AbortSignal;
}

/** The options of every command. */
export interface GlobalOptions extends NatsCliOptions {
  readonly url?: string;
  readonly listenUrl?: string;
  readonly schema?: string;
  readonly notifier?: "listen" | "nats";
  readonly json?: boolean;
  readonly debug?: boolean;
  /** False for `--no-color`. */
  readonly color?: boolean;
}

export type Color = "red" | "yellow" | "green" | "dim";

const checkTimeoutMs = 5_000;
/** Shortest time between two notes about the same step. */
const noteIntervalMs = 2_000;

/** One run of a command: its options, its output, and the connections it opens. */
export class Session {
  readonly terminal: Terminal;
  readonly options: GlobalOptions;
  readonly #secrets: Secrets;
  #schema: string;
  readonly #closers: (() => Promise<unknown>)[] = [];
  /** A handler that was interrupted may continue, but prints nothing more. */
  #isClosed = false;

  constructor(terminal: Terminal, options: GlobalOptions) {
    this.terminal = terminal;
    this.options = options;
    this.#schema = options.schema ?? "public";
    this.#secrets = new Secrets([options.url, options.listenUrl, terminal.env["DATABASE_URL"]]);
  }

  get isJson(): boolean {
    return this.options.json === true;
  }

  get schema(): string {
    return this.#schema;
  }

  /** Looks for the results in another schema than `--schema`, which names that of a queue in some commands. */
  useSchema(name: string): void {
    this.#schema = name;
  }

  get url(): string | undefined {
    const url = this.options.url ?? this.terminal.env["DATABASE_URL"];
    return url === "" ? undefined : url;
  }

  get usesNats(): boolean {
    const { notifier, nats } = this.options;
    return notifier === "nats" || (notifier === undefined && nats !== undefined);
  }

  get interrupted(): AbortSignal {
    return this.terminal.interrupted;
  }

  /** Settles like `work`, or rejects once the command is interrupted. `work` itself continues. */
  async unlessInterrupted<T>(work: Promise<T>): Promise<T> {
    return unlessAborted(work, [this.interrupted]);
  }

  /** Emits once the command is interrupted, or after a time. */
  ended$(afterMs: number): Observable<unknown> {
    const { interrupted } = this;
    return merge(
      interrupted.aborted ? of(undefined) : fromEvent(interrupted, "abort"),
      afterMs > longestTimerMs ? NEVER : timer(afterMs),
    );
  }

  /** Writes a line for people to the standard output; nothing with `--json`. */
  print(text: string): void {
    if (!this.isJson && !this.#isClosed) this.terminal.out.write(`${text}\n`);
  }

  /** Writes a line for programs to the standard output; nothing without `--json`. */
  printJson(value: unknown): void {
    if (this.isJson && !this.#isClosed) this.terminal.out.write(`${layOut(stringifyExactly(value) ?? "null")}\n`);
  }

  /** Writes a remark to the standard error; nothing with `--json`. */
  note(text: string, color?: Color): void {
    if (!this.#isClosed) this.#note(text, color);
  }

  #note(text: string, color?: Color): void {
    const { err } = this.terminal;
    const line = this.redact(printable(text));
    if (!this.isJson) err.write(`${color === undefined ? line : this.paint(color, line, err)}\n`);
  }

  /** Colours a text for a terminal. NO_COLOR (https://no-color.org) and `--no-color` turn that off. */
  paint(color: Color, text: string, output = this.terminal.out): string {
    const { NO_COLOR = "", TERM } = this.terminal.env;
    const hasColors = output.isTTY === true && TERM !== "dumb" && NO_COLOR === "" && this.options.color !== false;
    return hasColors ? styleText(color, text, { validateStream: false }) : text;
  }

  /** Reports an error on one line, with all its causes if `--debug` is given, and returns the exit code. */
  printFailure(error: unknown): ExitCode {
    if (this.interrupted.aborted) {
      // The reader of a pipe has ended, and expects no remark.
      if (this.interrupted.reason !== "SIGPIPE") this.#note("Interrupted.");
      return exitCodeOfSignal(this.interrupted.reason);
    }
    const message = isError(error) ? error.message : String(error);
    const remedy = remedyFor(error, this.schema);
    if (this.isJson) this.terminal.err.write(failureLine(error, this.redact(message), remedy));
    const sentence = /[.!?:]$/.test(message) ? message : `${message}.`;
    this.#note(`kojin-postgres: ${sentence}${remedy === undefined ? "" : ` ${remedy}`}`, "red");
    if (this.options.debug === true) this.terminal.err.write(`${this.redact(inspect(error, { depth: 6 }))}\n`);
    return exitCodeOf(error);
  }

  /** Hides passwords in a text. */
  redact(text: string): string {
    return this.#secrets.hide(text);
  }

  get logger(): Logger {
    const note = (message: string): void => this.note(message);
    return { info: this.options.debug === true ? note : (): void => undefined, warn: note, error: note };
  }

  async createNotifier(): Promise<Notifier> {
    return createNotifier(this.options, this.terminal.env, this.#secrets);
  }

  /** Connects a backend, which {@link close} closes. */
  async connect(url = this.#requireUrl()): Promise<PostgresResultBackend> {
    const { listenUrl } = this.options;
    const options = {
      schema: this.schema,
      logger: this.logger,
      ...(listenUrl === undefined ? {} : { listen: { connection: listenUrl } }),
      ...(this.usesNats ? { notifier: await this.createNotifier() } : {}),
    };
    this.interrupted.throwIfAborted();
    const connecting = asUsage(async () => PostgresResultBackend.connect(url, options));
    try {
      const backend = await this.unlessInterrupted(connecting);
      this.#closers.push(async () => {
        // Closing the backend would wait for writes, which may wait for a lock.
        if (this.interrupted.aborted) await backend.core.database.close();
        await backend.close();
      });
      return backend;
    } catch (error) {
      // After an interruption it may still connect. Closing the session does not wait for that.
      connecting.then(async (late) => late.close()).catch(() => undefined);
      throw error;
    }
  }

  /** Opens a pool to a database that has the tables; {@link close} ends it. */
  async openPool(): Promise<Pool> {
    const url = this.#requireUrl();
    const own = await asUsage(() => new OwnPool(url));
    this.#closers.push(async () => own.end());
    const check = new SchemaCheck(new Database(own.pool, this.schema), this.schema);
    await this.unlessInterrupted(check.version(checkTimeoutMs));
    return own.pool;
  }

  /** Starts an empty Postgres server, which {@link close} stops and deletes, and returns its address. */
  async startServer(): Promise<string> {
    const server = await startEmbeddedPostgres();
    this.#closers.push(async () =>
      server.stop().catch((error: unknown) => {
        // A server that cannot be stopped must not hide the outcome of the command.
        if (!(error instanceof EmbeddedPostgresError)) throw error;
        this.#note(error.message);
      }),
    );
    return server.url;
  }

  /** Closes what the command has opened, in reverse order. Nothing but a failure is printed afterwards. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const close of this.#closers.splice(0).reverse()) await close();
  }

  #requireUrl(): string {
    if (this.url === undefined) throw new UsageError("No database address: set DATABASE_URL or pass --url.");
    return this.url;
  }
}

/** Notes the progress of a step at its beginning, and then from time to time. */
export class RareNotes {
  readonly #session: Session;
  #step = "";
  #notedAt = performance.now();

  constructor(session: Session) {
    this.#session = session;
  }

  show(step: string, text: string): void {
    if (step === this.#step && performance.now() - this.#notedAt < noteIntervalMs) return;
    [this.#step, this.#notedAt] = [step, performance.now()];
    this.#session.note(text);
  }
}
