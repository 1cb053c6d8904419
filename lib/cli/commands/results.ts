import { buffer } from "node:stream/consumers";
import { Option } from "commander";
import ms from "ms";
import { lastValueFrom, takeUntil, tap } from "rxjs";
import { type TaskFailedError, TaskNotFoundError, WaitTimeoutError } from "../../errors";
import type { Chunk, ChunkPosition } from "../../index";
import { exactFailure } from "../../value/failure";
import { asJsonText } from "../../value/decoding";
import { JsonText, layOut, parseExactly, stringifyExactly } from "../../value/json-text";
import { forOption, parseDuration, parseId, parsePosition, parseTtl, type CliCommand } from "../command";
import { type ExitCode, exitCodeOfSignal, exitCodes, UsageError } from "../exit-codes";
import type { Session } from "../session";
import { printable } from "../text";

interface StoreOptions {
  readonly ttl?: number;
  readonly keep?: boolean;
  readonly failed?: boolean;
}

export const store = (program: CliCommand): void => {
  program
    .command("store")
    .summary("store the result of a task")
    .description("Stores a result and wakes the processes that wait for it.")
    .argument("<id>", "id of the task", parseId)
    .argument("<json>", 'the result as JSON; "-" reads it from the standard input')
    .option("--ttl <duration>", "how long to keep the result: 30s, 2h, 7d, never (default: 1d)", parseTtl)
    .option("--keep", "keep an existing result")
    .option("--failed", 'store an error: a string, or {"name", "message", "code", "details"}')
    .examples(
      [`store email-42 '{"sent": true}'`, "wakes every wait for email-42"],
      ["store report-7 - --ttl 7d < report.json", "from a file, kept for a week"],
      [`store email-43 --failed '"no such address"'`, "waits for email-43 fail"],
    )
    .handle<StoreOptions>(async (session, [taskId = "", json = ""], { ttl, keep, failed = false }) => {
      const text = json === "-" ? decodeUtf8(await buffer(session.terminal.in)) : json;
      const value = parseJson(text);
      const options = {
        ...(ttl === undefined ? {} : { ttlMs: ttl }),
        ...(keep === true ? { onConflict: "keep" as const } : {}),
      };
      const backend = await session.connect();
      await (failed ? backend.fail(taskId, value, options) : backend.store(taskId, new JsonText(text), options));
      const stored = failed ? "failure" : "result";
      session.printJson({ taskId, stored });
      session.note(`Stored the ${stored} of task ${taskId}.`);
      return exitCodes.ok;
    });
};

/** Rejects invalid UTF-8, which would otherwise be stored with replacement characters. */
function decodeUtf8(bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new UsageError("The standard input is not UTF-8.", { cause: error });
  }
}

function parseJson(text: string): unknown {
  try {
    return parseExactly(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UsageError(`The result is not JSON: ${reason}. A string needs quotes: '"like this"'.`, { cause: error });
  }
}

export const expectTask = (program: CliCommand): void => {
  program
    .command("expect")
    .summary("mark a task as expected")
    .description("Marks a task as expected, so that waits with --must-exist can tell it from an unknown one.")
    .argument("<id>", "id of the task", parseId)
    .option("--ttl <duration>", "how long the task is expected: 30s, 2h, 7d, never (default: 1d)", parseTtl)
    .examples(["expect email-42 --ttl 1h", "before the task is enqueued"])
    .handle<Pick<StoreOptions, "ttl">>(async (session, [taskId = ""], { ttl }) => {
      const backend = await session.connect();
      await backend.expect(taskId, ttl === undefined ? {} : { ttlMs: ttl });
      session.printJson({ taskId, status: "expected" });
      session.note(`Task ${taskId} is expected.`);
      return exitCodes.ok;
    });
};

export const get = (program: CliCommand): void => {
  program
    .command("get")
    .summary("print the result of a task")
    .description("Prints the stored result as JSON. Exits with 3 if there is none, and with 5 if the task failed.")
    .argument("<id>", "id of the task", parseId)
    .examples(["get email-42", "the result"], ["get email-42 --json", "on one line, a failure as an object"])
    .handle(async (session, [taskId = ""]) => {
      const backend = await session.connect();
      return printOutcome(session, taskId, await backend.getSettled(taskId, { schema: asJsonText }));
    });
};

interface WaitOptions {
  readonly timeout: number;
  readonly mustExist?: boolean;
}

export const wait = (program: CliCommand): void => {
  program
    .command("wait")
    .summary("wait for the result of a task")
    .description(
      "Prints the result as JSON as soon as any process stores it. Exits with 4 on timeout, and with 5 if the task failed. With --must-exist, exits with 3 at once if the task is unknown.",
    )
    .argument("<id>", "id of the task", parseId)
    .addOption(
      new Option("--timeout <duration>", "longest wait: 500ms, 30s, 5m, never")
        .argParser(parseDuration)
        .default(30_000, "30s"),
    )
    .option("--must-exist", "do not wait for a task without a result that is not expected")
    .examples(
      ["wait email-42", "up to 30 seconds"],
      ["wait email-42 --timeout 5m && echo sent", "up to 5 minutes"],
      ["wait email-42 --timeout 0", "reads once"],
    )
    .handle<WaitOptions>(async (session, [taskId = ""], { timeout: timeoutMs, mustExist = false }) => {
      const backend = await session.connect();
      const remark = setTimeout(() => noteWait(session, taskId, timeoutMs), quietMs);
      try {
        const options = { timeoutMs, mustExist, signal: session.interrupted, schema: asJsonText };
        return printOutcome(session, taskId, await backend.waitSettled(taskId, options));
      } catch (error) {
        if (error instanceof TaskNotFoundError) {
          session.printJson({ taskId, status: "unknown" });
          session.note(`Task ${taskId} is unknown: it has no result, and is not expected.`);
          return exitCodes.notFound;
        }
        if (!(error instanceof WaitTimeoutError && session.isJson)) throw error;
        session.printJson({ taskId, status: "timeout", timeoutMs });
        return exitCodes.timedOut;
      } finally {
        clearTimeout(remark);
      }
    });
};

/** A wait that takes longer says on a terminal that it waits. */
const quietMs = 500;

function noteWait(session: Session, taskId: string, timeoutMs: number): void {
  const limit = timeoutMs === Infinity ? "" : `, for up to ${ms(timeoutMs, { long: true })}`;
  if (session.terminal.err.isTTY === true) session.note(`Waiting for task ${taskId}${limit}. Ctrl-C ends it.`, "dim");
}

interface ChunksOptions {
  readonly after?: number | ChunkPosition;
  readonly for: number;
}

export const chunks = (program: CliCommand): void => {
  program
    .command("chunks")
    .summary("print what a task emits")
    .description(
      "Prints the chunks of a task as JSON, one per line: those that are stored, then those that follow, until the task has a result. Exits with 5 if the task failed.",
    )
    .argument("<id>", "id of the task", parseId)
    .option("--after <place>", "only chunks after this number, or attempt and number: 120, 2-120", parsePosition)
    .addOption(forOption())
    .examples(
      ["chunks answer-7", "until the task ends"],
      ["chunks answer-7 --after 2-120 --for 10s", "from number 121 of the second attempt on"],
      ["chunks answer-7 --json | jq -r .value", "in objects that have attempt and number"],
    )
    .endsItself()
    .handle<ChunksOptions>(async (session, [taskId = ""], { after = 0, for: durationMs }) => {
      const backend = await session.connect();
      const ended$ = session.ended$(durationMs);
      const chunks$ = backend.chunks$(taskId, { after, schema: asJsonText }).pipe(takeUntil(ended$));
      await lastValueFrom(chunks$.pipe(tap((chunk) => printChunk(session, taskId, chunk))), {
        defaultValue: undefined,
      });
      return session.interrupted.aborted ? exitCodeOfSignal(session.interrupted.reason) : exitCodes.ok;
    });
};

function printChunk(session: Session, taskId: string, chunk: Chunk<JsonText>): void {
  session.printJson({ taskId, ...chunk });
  if (chunk.kind === "chunk") session.print(layOut(printable(chunk.value.text)));
  else session.note(`Task ${taskId} has been started again. This is attempt ${chunk.attempt}.`, "yellow");
}

export const deleteResult = (program: CliCommand): void => {
  program
    .command("delete")
    .summary("delete the result of a task")
    .description("Deletes the result of a task and its chunks. Exits with 3 if there is none.")
    .argument("<id>", "id of the task", parseId)
    .examples(["delete email-42", "a failure, for example, before the task runs again"])
    .handle(async (session, [taskId = ""]) => {
      const backend = await session.connect();
      if (!(await backend.delete(taskId))) return printOutcome(session, taskId, undefined);
      session.printJson({ taskId, status: "deleted" });
      session.note(`Deleted the result of task ${taskId}.`);
      return exitCodes.ok;
    });
};

/** Prints a value to the standard output; without `--json`, a failure goes to the standard error. */
function printOutcome(session: Session, taskId: string, outcome: PromiseSettledResult<JsonText> | undefined): ExitCode {
  if (outcome === undefined) {
    session.printJson({ taskId, status: "missing" });
    session.note(`Task ${taskId} has no result, or it has expired.`);
    return exitCodes.notFound;
  }
  if (outcome.status === "fulfilled") {
    session.printJson({ taskId, status: "fulfilled", value: outcome.value });
    session.print(layOut(printable(outcome.value.text), "  "));
    return exitCodes.ok;
  }
  const { failure: rounded, message } = outcome.reason as TaskFailedError;
  const failure = exactFailure(rounded);
  session.printJson({ taskId, status: "rejected", failure });
  session.note(message, "red");
  if (failure.code !== undefined) session.note(`  code: ${failure.code}`);
  if (failure.details !== undefined) session.note(`  details: ${stringifyExactly(failure.details) ?? ""}`);
  for (let cause = failure.cause; cause !== undefined; cause = cause.cause)
    session.note(`  caused by ${cause.name}: ${cause.message}`);
  return exitCodes.taskFailed;
}
