import { buffer } from "node:stream/consumers";
import { JsonText, parseExactly } from "../../value/json-text";
import { parseId, parseTtl } from "../arguments";
import { examples, type RegisterCommand } from "../command";
import { exitCodes } from "../exit-codes";
import { UsageError } from "../failure";
import type { Session } from "../session";

interface Options {
  readonly ttl?: number;
  readonly keep?: boolean;
  readonly failed?: boolean;
}

export const store: RegisterCommand = (program, run) => {
  program
    .command("store")
    .summary("store the result of a task")
    .description("Stores a result, and wakes whoever waits for it.")
    .argument("<id>", "of the task", parseId)
    .argument("<json>", 'the result as JSON; "-" reads it from the standard input')
    .option("--ttl <duration>", "how long it is kept: 30s, 2h, 7d, never (default: a day)", parseTtl)
    .option("--keep", "leave a result that is there as it is")
    .option("--failed", 'the JSON is an error: a text, or {"name", "message", "code", "details"}')
    .addHelpText(
      "after",
      examples(
        [`store email-42 '{"sent": true}'`, "whoever waits for email-42 gets it"],
        ["store report-7 - --ttl 7d < report.json", "from a file, for a week"],
        [`store email-43 --failed '"no such address"'`, "the wait fails"],
      ),
    )
    .action(
      run<Options>(async (session, [taskId = "", json = ""], { ttl, keep, failed }) => {
        const text = json === "-" ? decode(await buffer(session.terminal.in)) : json;
        const value = parse(text);
        const options = {
          ...(ttl === undefined ? {} : { ttlMs: ttl }),
          ...(keep === true ? { onConflict: "keep" as const } : {}),
        };
        return session.withBackend(async (backend) => {
          await (failed === true
            ? backend.fail(taskId, value, options)
            : backend.store(taskId, new JsonText(text), options));
          return report(session, taskId, failed === true);
        });
      }),
    );
};

/** Strictly: what is not UTF-8 would be stored with other characters in its place. */
function decode(bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new UsageError("The standard input is not UTF-8.", { cause: error });
  }
}

function parse(json: string): unknown {
  try {
    return parseExactly(json);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UsageError(`The result is not JSON: ${reason}. A text needs quotes: '"like this"'.`, { cause: error });
  }
}

function report(session: Session, taskId: string, isFailure: boolean): number {
  if (session.isJson) session.printJson({ taskId, stored: isFailure ? "failure" : "result" });
  else session.note(`Stored the ${isFailure ? "failure" : "result"} of task ${taskId}.`);
  return exitCodes.ok;
}
