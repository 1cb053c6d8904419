import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command, CommanderError, Option } from "commander";
import { parseSchema, parseShards } from "./arguments";
import type { Handler, Run } from "./command";
import { commands } from "./commands/index";
import { type ExitCode, exitCodes, exitCodesHelp } from "./exit-codes";
import { exitCodeOf, exitCodeOfSignal, remedyFor, UsageError } from "./failure";
import { type GlobalOptions, Session } from "./session";
import type { Terminal } from "./terminal";

/** Runs one command line, and gives the code to end with. Touches nothing of the process but what `terminal` has. */
export async function runProgram(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  let exitCode: ExitCode = exitCodes.ok;
  const run: Run =
    <Options>(handler: Handler<Options>) =>
    async (...parameters) => {
      const command = parameters.at(-1) as Command;
      const session = new Session(terminal, command.optsWithGlobals<GlobalOptions>());
      try {
        exitCode = await handler(session, command.args, command.opts() as Options);
      } catch (error) {
        exitCode = explain(session, error);
      }
    };
  try {
    await createProgram(terminal, run, args.includes("--json")).parseAsync(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    const isAnswer = error.code === "commander.helpDisplayed" || error.code === "commander.version";
    return isAnswer ? exitCodes.ok : exitCodes.usage;
  }
  return exitCode;
}

function explain(session: Session, error: unknown): ExitCode {
  if (session.interrupted.aborted) {
    session.note("Interrupted.");
    return exitCodeOfSignal(session.interrupted.reason);
  }
  const exitCode = exitCodeOf(error);
  session.printFailure(error, exitCode, remedyFor(error, session.schema));
  return exitCode;
}

function createProgram(terminal: Terminal, run: Run, isJson: boolean): Command {
  const program = new Command("kojin-postgres")
    .description("Task results on PostgreSQL that never poll: look at them, store, await and watch them.")
    .version(readVersion(), "-V, --version", "the version of the package")
    .option("--url <address>", "the database; default: DATABASE_URL, which does not show in the list of processes")
    .option("--listen-url <address>", "a direct address for LISTEN, where --url goes through a transaction pooler")
    .addOption(
      new Option(
        "--notifier <way>",
        "how notifications travel (default: nats if --nats is given, else listen)",
      ).choices(["listen", "nats"]),
    )
    .option("--nats <servers>", "addresses of NATS, with commas between them; default: NATS_URL, or 127.0.0.1:4222")
    .option("--nats-creds <file>", "a file with credentials for NATS; default: NATS_CREDS")
    .option("--nats-prefix <text>", "what subjects begin with, as the other processes have it (default: kojin)")
    .option("--nats-shards <number>", "as the other processes have it (default: 256)", parseShards)
    .option("--schema <name>", "the schema with the tables", parseSchema, "public")
    .option("--json", "one JSON object for each line of output, for programs")
    .option("--debug", "errors with all their causes, and what the library tells its logger")
    .helpOption("-h, --help", "this text")
    .helpCommand("help [command]", "the help of a command")
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError("(--help tells more)")
    .addHelpText("afterAll", exitCodesHelp)
    .addHelpText("after", "\nEach command has examples: kojin-postgres help wait")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void terminal.out.write(text),
      writeErr: (text) => void terminal.err.write(text),
      getOutHelpWidth: () => terminal.out.columns ?? 100,
      getErrHelpWidth: () => terminal.err.columns ?? 100,
      outputError: (text, write) => write(isJson ? asJson(text) : text),
    });
  // In JSON nothing may follow the error.
  if (isJson) program.showHelpAfterError(false);
  for (const register of commands) register(program, run);
  return program;
}

function asJson(text: string): string {
  const error = new UsageError(text.trim().replace(/^error: /, ""));
  return `${JSON.stringify({ error: { name: error.name, code: error.code, message: error.message, exitCode: exitCodes.usage } })}\n`;
}

function readVersion(): string {
  const manifest = readFileSync(join(__dirname, "..", "..", "package.json"), "utf8");
  return (JSON.parse(manifest) as { version: string }).version;
}
