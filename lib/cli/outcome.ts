import type { TaskFailedError } from "../errors";
import { exactFailure } from "../value/failure";
import { type JsonText, layOut } from "../value/json-text";
import { type ExitCode, exitCodes } from "./exit-codes";
import type { Session } from "./session";
import { printable } from "./text";

/** Shows what became of a task: its value on the standard output, or its failure. */
export function printOutcome(
  session: Session,
  taskId: string,
  outcome: PromiseSettledResult<JsonText> | undefined,
): ExitCode {
  if (outcome === undefined) {
    if (session.isJson) session.printJson({ taskId, status: "missing" });
    else session.note(`There is no result of task ${taskId}, or it has expired.`);
    return exitCodes.notFound;
  }
  if (outcome.status === "fulfilled") {
    if (session.isJson) session.printJson({ taskId, status: "fulfilled", value: outcome.value });
    else session.print(layOut(printable(outcome.value.text), "  "));
    return exitCodes.ok;
  }
  const { failure, message } = outcome.reason as TaskFailedError;
  if (session.isJson) session.printJson({ taskId, status: "rejected", failure: exactFailure(failure) });
  else session.note(message);
  return exitCodes.taskFailed;
}
