/** An error of the user's making. Its message says everything, so the command prints it without a stack. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

interface Command<Options> {
  readonly usage: string;
  /** @throws An error whose message says what is wrong with the arguments. */
  readonly parse: (args: readonly string[]) => Options | "help";
  /** Returns the exit code. */
  readonly run: (options: Options) => Promise<number>;
}

/** Runs a command and ends the process. Exit codes, besides those of `run`: 1 after an error, 2 after wrong use. */
export function runCommand<Options extends object>(command: Command<Options>): void {
  void exitCodeOf(command).then((exitCode) => process.exit(exitCode));
}

async function exitCodeOf<Options extends object>({ usage, parse, run }: Command<Options>): Promise<number> {
  let options: Options | "help";
  try {
    options = parse(process.argv.slice(2));
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    return 2;
  }
  if (options === "help") {
    console.log(usage);
    return 0;
  }
  try {
    return await run(options);
  } catch (error) {
    console.error(error instanceof UsageError ? error.message : error);
    return error instanceof UsageError ? 2 : 1;
  }
}
