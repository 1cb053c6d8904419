import type { TaskFailedError } from "../errors";
import { isWaitTimeout, isTaskFailed, isBackendClosed } from "../value/foreign";
import type { ResultBackend } from "../result-backend";
import { checkDurationMs, typeName } from "../value/arguments";
import { asJsonText } from "../value/json-text";
import { type FailureOptions, jsonResponse, problemOfId, problemResponse, toProblem } from "./problem";
import { pathOf, type RequestOptions, signalOf } from "./request";

export interface RespondOptions extends RequestOptions, FailureOptions {
  /** How long the client may be kept waiting for the result, in milliseconds. 0 looks once. Stay below the timeouts of proxies on the way; 60 s is common. */
  readonly waitMs: number;
  /** Where to ask again, as the `Location` of a 202. Default: path and query of `request`; without either there is no such header. */
  readonly location?: string;
  /** When to ask again, in milliseconds; `Retry-After` has it in whole seconds, rounded up. Default 1 000. */
  readonly retryAfterMs?: number;
  /** The response to a task that failed, where some failures are the client's to mend. Default: a problem with status 500. */
  readonly onFailure?: (error: TaskFailedError) => Response | Promise<Response>;
}

/**
 * The response to a request for the result of a task:
 *
 * - 200 with the result as JSON, at once if it is stored, else as soon as it is within `waitMs`;
 * - 202 with `Location` and `Retry-After` if it is not there by then, also while the database cannot be reached;
 * - 500 as `application/problem+json` with the code `TASK_FAILED` if the task failed, without a word of the error unless `showErrors` is set;
 * - 400, the same way, with `INVALID_ID` for an id that no task can have;
 * - 503, the same way, with `BACKEND_CLOSED` and `Retry-After` while the server shuts down;
 * - 499 without a body once `signal` has aborted: nobody is there to read it.
 *
 * It does not ask who may see a result: check that before. An id that was never given to a task looks like a task that is not done.
 *
 * @throws `DatabaseError` Reading is not allowed, or fails for good.
 * @throws `SchemaError` The tables are missing.
 */
export async function respond(
  backend: Pick<ResultBackend, "waitSettled">,
  taskId: string,
  options: RespondOptions,
): Promise<Response> {
  const { waitMs, retryAfterMs = 1_000 } = options;
  checkDurationMs(waitMs, "waitMs");
  checkDurationMs(retryAfterMs, "retryAfterMs");
  const badId = problemOfId(taskId, "taskId");
  if (badId !== undefined) return problemResponse(badId);
  const signal = signalOf(options);
  const retryAfter = { "Retry-After": String(Math.ceil(retryAfterMs / 1_000)) };
  try {
    const waitOptions = { timeoutMs: waitMs, schema: asJsonText, ...(signal === undefined ? {} : { signal }) };
    const settled = await backend.waitSettled(taskId, waitOptions);
    if (settled.status === "fulfilled") return jsonResponse(200, settled.value);
    return await failureResponse(settled.reason, options);
  } catch (error) {
    if (signal?.aborted === true && (error === signal.reason || signal.reason === undefined))
      return new Response(null, { status: 499 });
    if (isWaitTimeout(error)) {
      return jsonResponse(202, { taskId, status: "pending" }, { ...retryAfter, ...locationHeader(options) });
    }
    if (!isBackendClosed(error)) throw error;
    const response = problemResponse(toProblem(error, options));
    response.headers.set("Retry-After", retryAfter["Retry-After"]);
    return response;
  }
}

async function failureResponse(reason: unknown, options: RespondOptions): Promise<Response> {
  const { onFailure } = options;
  if (onFailure === undefined || !isTaskFailed(reason)) return problemResponse(toProblem(reason, options));
  if (typeof onFailure !== "function")
    throw new TypeError(`onFailure: expected a function, got ${typeName(onFailure)}.`);
  return onFailure(reason);
}

function locationHeader({ location, request }: RespondOptions): Record<string, string> {
  const target = location ?? (request === undefined ? undefined : pathOf(request));
  return target === undefined ? {} : { Location: target };
}
