import { CommanderError, Option } from "commander";
import { version } from "../package-files";
import { CliCommand, parseInteger, parseSchema, type Run } from "./command";
import { demo } from "./commands/demo";
import { doctor, migrate, prune, status } from "./commands/operating";
import { attach, detach } from "./commands/queues";
import { group } from "./commands/groups";
import { groups, list } from "./commands/lists";
import { chunks, deleteResult, expectTask, get, store, wait } from "./commands/results";
import { dashboard, relay } from "./commands/services";
import { watch } from "./commands/watch";
import { type ExitCode, exitCodes, exitCodesHelp, failureLine, UsageError } from "./exit-codes";
import type { Terminal } from "./session";

/** All commands, in the order of the help. */
const commands = [
  migrate,
  status,
  doctor,
  store,
  expectTask,
  get,
  list,
  wait,
  chunks,
  deleteResult,
  group,
  groups,
  watch,
  prune,
  attach,
  detach,
  dashboard,
  relay,
  demo,
];

/** Runs one command line and returns its exit code. It uses nothing of the process except `terminal`. */
export async function runProgram(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  const run: Run = { terminal, exitCode: exitCodes.ok };
  const isJson = args.includes("--json");
  try {
    await createProgram(run, isJson).parseAsync(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    const isAnswer = error.code === "commander.helpDisplayed" || error.code === "commander.version";
    return isAnswer ? exitCodes.ok : exitCodes.usage;
  }
  return run.exitCode;
}

function createProgram(run: Run, isJson: boolean): CliCommand {
  const { out, err } = run.terminal;
  const program = new CliCommand(run, "kojin-postgres")
    .description("Store, await, watch and inspect task results on PostgreSQL.")
    .version(version, "-V, --version", "print the version of the package")
    .helpOption("-h, --help", "print this help")
    .helpCommand("help [command]", "print the help of a command")
    .configureHelp({ showGlobalOptions: true })
    // Nothing may follow the JSON of an error.
    .showHelpAfterError(isJson ? false : "(see --help)")
    .addHelpText("afterAll", exitCodesHelp)
    .addHelpText("after", "\nEach command has examples: kojin-postgres help wait")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void out.write(text),
      writeErr: (text) => void err.write(text),
      getOutHelpWidth: () => out.columns ?? 100,
      getErrHelpWidth: () => err.columns ?? 100,
      outputError: (text, write) => write(isJson ? toFailureLine(text) : text),
    });
  addGlobalOptions(program);
  for (const register of commands) register(program);
  return program;
}

function addGlobalOptions(program: CliCommand): void {
  program
    .option("--url <address>", "database address (default: DATABASE_URL, which does not show in process lists)")
    .option("--listen-url <address>", "direct address for LISTEN if --url leads through a transaction pooler")
    .addOption(
      new Option(
        "--notifier <way>",
        "how notifications travel (default: nats if --nats is given, otherwise listen)",
      ).choices(["listen", "nats"]),
    )
    .option("--nats <servers>", "NATS addresses, separated by commas (default: NATS_URL, or 127.0.0.1:4222)")
    .option("--nats-creds <file>", "NATS credentials file (default: NATS_CREDS)")
    .option("--nats-prefix <text>", "prefix of the subjects, the same in all processes (default: kojin)")
    .option("--nats-shards <number>", "shards, the same in all processes (default: 256)", parseInteger(1, 4_096))
    .option("--schema <name>", "schema of the tables (default: public)", parseSchema)
    .option("--json", "print one JSON object per line, for programs")
    .option("--no-color", "print no colours, as if NO_COLOR were set")
    .option("--debug", "print errors with all their causes, and what the library logs");
}

function toFailureLine(text: string): string {
  const message = text.trim().replace(/^error: /, "");
  return failureLine(new UsageError(message), message);
}
