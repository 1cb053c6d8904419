import { Command, InvalidArgumentError, Option } from "commander";
import ms from "ms";
import { maxAttempt } from "../chunks/chunk-rules";
import { checkSchemaName } from "../options";
import type { ChunkPosition } from "../result-backend";
import { checkDurationMs, checkId, maxDurationMs } from "../value/arguments";
import type { ExitCode } from "./exit-codes";
import { type GlobalOptions, Session, type Terminal } from "./session";

/** Runs a command and returns its exit code. */
type Handler<Options> = (session: Session, args: readonly string[], options: Options) => Promise<ExitCode>;

/** One run of the program. */
export interface Run {
  readonly terminal: Terminal;
  exitCode: ExitCode;
}

/** A command whose help ends with examples, and whose handler has a session. */
export class CliCommand extends Command {
  readonly #run: Run;
  #endsItself = false;

  constructor(run: Run, name?: string) {
    super(name);
    this.#run = run;
  }

  override createCommand(name?: string): CliCommand {
    return new CliCommand(this.#run, name);
  }

  examples(...lines: readonly (readonly [command: string, purpose: string])[]): this {
    const width = Math.max(...lines.map(([command]) => command.length));
    const texts = lines.map(([command, purpose]) => `  $ kojin-postgres ${command.padEnd(width)}  # ${purpose}`);
    return this.addHelpText("after", `\nExamples:\n${texts.join("\n")}`);
  }

  /** The handler ends by itself when the session is interrupted, with an exit code of its own. */
  endsItself(): this {
    this.#endsItself = true;
    return this;
  }

  /**
   * Opens a session for the handler and closes it afterwards. An error of either is printed and sets the exit code. A
   * signal ends the command without waiting for the handler, except after {@link endsItself}.
   */
  handle<Options>(handler: Handler<Options>): this {
    return this.action(async () => {
      const session = new Session(this.#run.terminal, this.optsWithGlobals<GlobalOptions>());
      const handling = handler(session, this.args, this.opts() as Options);
      this.#run.exitCode = await (this.#endsItself ? handling : session.unlessInterrupted(handling))
        .finally(async () => session.close())
        .catch((error: unknown) => session.printFailure(error));
    });
  }
}

export const parseId = parser(String, (id) => checkId(id, "taskId"));
export const parseSchema = parser(String, checkSchemaName);

/** Parses `30s`, `1.5h`, `250` (milliseconds) or `never` to milliseconds. */
export const parseDuration = parser(toMilliseconds);
export const parseFiniteDuration = parser(toMilliseconds, (durationMs) => checkDurationMs(durationMs, "duration"));
export const parseTtl = parser(toMilliseconds, (durationMs) => {
  if (durationMs <= 0) throw new RangeError("Expected a duration above 0.");
});

export function parseInteger(min: number, max: number): (text: string) => number {
  return parser((text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max)
      throw new RangeError(`Expected a whole number from ${min} to ${max}.`);
    return value;
  });
}

/** The longest time that a command which follows something runs. */
export const forOption = (): Option =>
  new Option("--for <duration>", "stop after this time").argParser(parseDuration).default(Infinity, "never");

/** Parses `120`, the number of a chunk, or `2-120`, an attempt and a number. */
export const parsePosition = parser((text): number | ChunkPosition => {
  const [whole, attempt, sequence] = /^(?:([1-9]\d{0,9})-)?(\d{1,15})$/.exec(text) ?? [];
  if (whole === undefined) throw new RangeError("Expected a number, or an attempt and a number as in 2-120.");
  if (Number(attempt) > maxAttempt) throw new RangeError(`Expected an attempt from 1 to ${maxAttempt}.`);
  return attempt === undefined ? Number(sequence) : { attempt: Number(attempt), sequence: Number(sequence) };
});

/** Commander names the option or argument only for an error of its own class. */
function parser<T>(parse: (text: string) => T, check: (value: T) => void = () => undefined): (text: string) => T {
  return (text) => {
    try {
      const value = parse(text);
      check(value);
      return value;
    } catch (error) {
      throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
    }
  };
}

function toMilliseconds(text: string): number {
  if (text === "never") return Infinity;
  // `ms` returns undefined for a text that is not a duration, and throws if it is empty.
  const durationMs = /^[\d.]/.test(text) ? (ms(text as ms.StringValue) as number | undefined) : undefined;
  if (durationMs === undefined || durationMs > maxDurationMs)
    throw new RangeError("Expected a duration such as 500ms, 30s, 5m, 2h, 7d, or never.");
  return durationMs;
}
