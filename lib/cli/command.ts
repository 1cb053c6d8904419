import type { Command } from "commander";
import type { ExitCode } from "./exit-codes";
import type { Session } from "./session";

/** What a command does with its arguments and its options; gives the code with which the program ends. */
export type Handler<Options> = (session: Session, args: readonly string[], options: Options) => Promise<ExitCode>;

/** Makes an action for commander of a handler. */
export type Run = <Options>(handler: Handler<Options>) => (...parameters: unknown[]) => Promise<void>;

/** Adds one command to the program. */
export type RegisterCommand = (program: Command, run: Run) => void;

/** Examples for the end of a command's help. */
export function examples(...lines: readonly (readonly [command: string, purpose: string])[]): string {
  const width = Math.max(...lines.map(([command]) => command.length));
  return `\nExamples:\n${lines.map(([command, purpose]) => `  $ kojin-postgres ${command.padEnd(width)}  # ${purpose}`).join("\n")}`;
}
