import { PassThrough, Readable } from "node:stream";
import { runProgram } from "../../../lib/cli/program";
import type { Output } from "../../../lib/cli/session";
import { eventually } from "../../support/eventually";
import type { SpecDatabase } from "../../support/spec-database";
import { inVariant } from "../../support/variant";

export interface CliRun {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string | Readable;
  /** Whether both outputs are terminals, 100 columns wide. */
  readonly isTerminal?: boolean;
}

/** A command that is under way. */
export interface RunningCli {
  readonly stdout: () => string;
  readonly stderr: () => string;
  interrupt(signal?: NodeJS.Signals): void;
  /** Resolves once the output holds `text`. */
  shows(text: string | RegExp): Promise<void>;
  readonly done: Promise<CliRun>;
}

/** The program as it is, but for the process around it. */
export function startCli(
  args: readonly string[],
  { env = {}, stdin = "", isTerminal = false }: CliOptions = {},
): RunningCli {
  const interruption = new AbortController();
  const [out, err] = [collect(isTerminal), collect(isTerminal)];
  const terminal = {
    in: typeof stdin === "string" ? Readable.from([stdin]) : stdin,
    out: out.stream,
    err: err.stream,
    env,
    interrupted: interruption.signal,
  };
  const done = runProgram(args, terminal).then((exitCode) => ({ exitCode, stdout: out.text(), stderr: err.text() }));
  return {
    stdout: out.text,
    stderr: err.text,
    interrupt: (signal = "SIGINT") => interruption.abort(signal),
    shows: async (text) => eventually(() => expect(out.text()).toMatch(text), { timeoutMs: 15_000 }),
    done,
  };
}

/** Runs commands on a spec's database, by the variant's way to it, and gives what they printed. */
export function cliOf(database: SpecDatabase): {
  run(args: readonly string[], options?: CliOptions): Promise<CliRun>;
  start(args: readonly string[], options?: CliOptions): RunningCli;
  json<T>(args: readonly string[]): Promise<T>;
} {
  const located = (args: readonly string[]): string[] => [...args, "--schema", database.schema, ...addressOf(database)];
  const start = (args: readonly string[], options?: CliOptions): RunningCli => startCli(located(args), options);
  const run = async (args: readonly string[], options?: CliOptions): Promise<CliRun> => start(args, options).done;
  return {
    start,
    run,
    json: async <T>(args: readonly string[]) => JSON.parse((await run([...args, "--json"])).stdout) as T,
  };
}

/** The options that lead to the database of a spec. */
function addressOf(database: SpecDatabase): string[] {
  const { poolUrl, options } = inVariant(database.url);
  const listen = typeof options.listen === "object" ? options.listen.connection : undefined;
  return ["--url", poolUrl, ...(typeof listen === "string" ? ["--listen-url", listen] : [])];
}

/** The objects of an output that has one on each line. */
export function jsonLines<T>(output: string): T[] {
  return output
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as T);
}

function collect(isTerminal: boolean): { stream: Output; text: () => string } {
  const stream = new PassThrough();
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  const size = isTerminal ? { isTTY: true, columns: 100, rows: 30 } : {};
  return { stream: Object.assign(stream, size), text: () => Buffer.concat(chunks).toString() };
}
