import { STATUS_CODES } from "node:http";
import type { TaskFailure } from "../errors";
import { isWaitTimeout, isTaskFailed, isBackendClosed } from "../value/foreign";
import { checkId } from "../value/arguments";
import { exactFailure } from "../value/failure";
import { stringifyExactly } from "../value/json-text";

/** Why there is no result, as RFC 9457 has it; the body of `application/problem+json`, and the data of an event. */
export interface Problem {
  /** The status' own name. */
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  /** A constant to switch on. */
  readonly code: "INVALID_ID" | "TASK_FAILED" | "WAIT_TIMEOUT" | "BACKEND_CLOSED" | "INTERNAL";
  /** What the task failed with; only if `showErrors` is set. */
  readonly failure?: TaskFailure;
}

export interface FailureOptions {
  /**
   * Whether a client is told the name, message, code, details and cause of the error that a task failed with. Default `false`: such texts are written for those
   * who run the task, and may name files, hosts or other people's data.
   */
  readonly showErrors?: boolean;
}

/** What a client may know of an error. */
export function toProblem(error: unknown, { showErrors = false }: FailureOptions): Problem {
  if (isTaskFailed(error)) {
    const problem = createProblem(500, "TASK_FAILED", "The task failed.");
    return showErrors ? { ...problem, failure: exactFailure(error.failure) } : problem;
  }
  if (isWaitTimeout(error))
    return createProblem(
      410,
      "WAIT_TIMEOUT",
      `The ${error.groupId === undefined ? "task" : "group"} was not done in time.`,
    );
  if (isBackendClosed(error)) return createProblem(503, "BACKEND_CLOSED", "The server is shutting down.");
  return createProblem(500, "INTERNAL", "The result could not be read.");
}

/** What is wrong with an id that came with a request; undefined if nothing is. */
export function problemOfId(id: string, what: "taskId" | "groupId"): Problem | undefined {
  try {
    checkId(id, what);
    return undefined;
  } catch (error) {
    // No string at all: that is the server's fault, and not the client's.
    if (!(error instanceof RangeError)) throw error;
    return createProblem(400, "INVALID_ID", error.message);
  }
}

export function problemResponse(problem: Problem): Response {
  return jsonResponse(problem.status, problem, { "Content-Type": "application/problem+json" });
}

/** Results may be replaced, and are somebody's own: nothing on the way keeps them. */
export function jsonResponse(status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): Response {
  const common = { "Content-Type": "application/json", "Cache-Control": "no-store" };
  return new Response(stringifyExactly(value) ?? "null", { status, headers: { ...common, ...headers } });
}

function createProblem(status: number, code: Problem["code"], detail: string): Problem {
  return { title: STATUS_CODES[status] ?? "", status, detail, code };
}
