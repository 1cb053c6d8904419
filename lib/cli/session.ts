import { inspect } from "node:util";
import type { Pool } from "pg";
import { Database } from "../database/database";
import { OwnPool } from "../database/own-pool";
import { EmbeddedPostgresError, startEmbeddedPostgres } from "../embedded/index";
import { type Notifier, type Logger, PostgresResultBackend } from "../index";
import { latestVersion } from "../schema/migration-files";
import { SchemaCheck } from "../schema/schema-check";
import { layOut, stringifyExactly } from "../value/json-text";
import { asUsage, UsageError } from "./failure";
import { createNotifier, type NatsCliOptions, natsAccess } from "./nats/notifier";
import { Secrets } from "./secrets";
import type { Terminal } from "./terminal";
import { printable } from "./text";
import { isError } from "../value/foreign";

/** The options that every command has. */
export interface GlobalOptions extends NatsCliOptions {
  readonly url?: string;
  readonly listenUrl?: string;
  readonly schema: string;
  /** How notifications travel. Default: NATS if its address is given, else LISTEN. */
  readonly notifier?: "listen" | "nats";
  readonly json?: boolean;
  readonly debug?: boolean;
}

export interface ConnectOptions {
  /** Whether a server is started for the command where no address is given, with the tables in it. */
  readonly embedded?: boolean;
}

const noDatabase = "No database: give its address by --url, or in DATABASE_URL.";
const checkTimeoutMs = 5_000;

/** One run of a command: what it was given, where it writes, and its way to the database. */
export class Session {
  readonly terminal: Terminal;
  readonly options: GlobalOptions;
  readonly #secrets: Secrets;

  constructor(terminal: Terminal, options: GlobalOptions) {
    this.terminal = terminal;
    this.options = options;
    this.#secrets = new Secrets([options.url, options.listenUrl, terminal.env["DATABASE_URL"]]);
  }

  get isJson(): boolean {
    return this.options.json === true;
  }

  get schema(): string {
    return this.options.schema;
  }

  /** The address that was given; undefined if none was. */
  get url(): string | undefined {
    const given = this.options.url ?? this.terminal.env["DATABASE_URL"];
    return given === "" ? undefined : given;
  }

  /** Whether processes hear of results over NATS, so that this one should, too. */
  get usesNats(): boolean {
    const { notifier, nats } = this.options;
    return notifier === "nats" || (notifier === undefined && nats !== undefined);
  }

  /** Aborts when the command should end. */
  get interrupted(): AbortSignal {
    return this.terminal.interrupted;
  }

  /** For people, on the standard output. */
  print(text: string): void {
    this.terminal.out.write(`${text}\n`);
  }

  /** One object for programs, on one line of the standard output. */
  printJson(value: unknown): void {
    this.terminal.out.write(`${layOut(stringifyExactly(value) ?? "null")}\n`);
  }

  /** A remark beside the output, on the standard error. Programs are spared it. */
  note(text: string): void {
    if (!this.isJson) this.terminal.err.write(`${this.#secrets.hide(printable(text))}\n`);
  }

  /** What went wrong, on one line; with `--debug` all there is to know. */
  printFailure(error: unknown, exitCode: number, remedy: string | undefined): void {
    const message = isError(error) ? error.message : String(error);
    if (this.isJson) {
      const { name, code } = error as { name?: unknown; code?: unknown };
      const failure = { name, code, message: this.#secrets.hide(message), remedy, exitCode };
      this.terminal.err.write(`${JSON.stringify({ error: failure })}\n`);
    } else {
      const sentence = /[.!?:]$/.test(message) ? message : `${message}.`;
      this.note(`kojin-postgres: ${sentence}${remedy === undefined ? "" : ` ${remedy}`}`);
    }
    if (this.options.debug === true) this.terminal.err.write(`${this.#secrets.hide(inspect(error, { depth: 6 }))}\n`);
  }

  /** Creates the notifier for NATS, which connects when it is first used. */
  notifier(): Notifier {
    const { env } = this.terminal;
    const access = natsAccess(this.options, env);
    // Before anything can be said about other options, one of which may have the same text.
    this.#secrets.add(access.secrets);
    return createNotifier(access, this.options, env);
  }

  /** A text without passwords. */
  withoutSecrets(text: string): string {
    return this.#secrets.hide(text);
  }

  /** Where the library says what an operator should know. */
  get logger(): Logger {
    const note = (message: string): void => this.note(message);
    return { info: this.options.debug === true ? note : (): void => undefined, warn: note, error: note };
  }

  /** A pool without a backend, which reaches the database and finds tables there; ended however `use` ends. */
  async withPool<T>(use: (pool: Pool) => Promise<T>): Promise<T> {
    const { url } = this;
    if (url === undefined) throw new UsageError(noDatabase);
    const own = asUsage(() => new OwnPool(url));
    try {
      await new SchemaCheck(new Database(own.pool, this.schema), this.schema, latestVersion()).version(checkTimeoutMs);
      return await use(own.pool);
    } finally {
      await own.end();
    }
  }

  /** Connects, and leaves nothing connected however `use` ends. */
  async withBackend<T>(
    use: (backend: PostgresResultBackend) => Promise<T>,
    { embedded = false }: ConnectOptions = {},
  ): Promise<T> {
    const { url } = this;
    if (url !== undefined) {
      await using backend = await this.#connect(url);
      return await use(backend);
    }
    if (!embedded) throw new UsageError(noDatabase);
    return this.withServer(async (serverUrl) => {
      await using backend = await this.#connect(serverUrl);
      await backend.migrate();
      return await use(backend);
    });
  }

  /** A server of this run alone, gone with all its data when `use` ends. */
  async withServer<T>(use: (url: string) => Promise<T>): Promise<T> {
    const server = await startEmbeddedPostgres();
    try {
      return await use(server.url);
    } finally {
      // A server that could not be ended is a fault, but not one that hides what was found.
      await server.stop().catch((error: unknown) => {
        if (!(error instanceof EmbeddedPostgresError)) throw error;
        this.note(error.message);
      });
    }
  }

  async #connect(url: string): Promise<PostgresResultBackend> {
    const { listenUrl } = this.options;
    try {
      return await PostgresResultBackend.connect(url, {
        schema: this.schema,
        logger: this.logger,
        ...(listenUrl === undefined ? {} : { listen: { connection: listenUrl } }),
        ...(this.usesNats ? { notifier: this.notifier() } : {}),
      });
    } catch (error) {
      if (error instanceof TypeError) throw new UsageError(error.message, { cause: error });
      throw error;
    }
  }
}
