import { STATUS_CODES } from "node:http";
import {
  isBackendClosed,
  isTaskFailed,
  isTaskNotFound,
  isWaitTimeout,
  type TaskFailedError,
  type TaskFailure,
} from "../errors";
import type { ResultBackend } from "../result-backend";
import { checkDurationMs, checkId, checkOptions, type OptionNames, typeName } from "../value/arguments";
import { exactFailure } from "../value/failure";
import { asJsonText } from "../value/decoding";
import { stringifyExactly } from "../value/json-text";
import { headerOf, type HttpRequest } from "./send-response";

export interface RequestOptions {
  /**
   * Request to answer. Provides the `Location` of a 202, the time for which its client prefers to wait, the
   * `Last-Event-ID` of a stream and, if it has one, the `signal`.
   */
  readonly request?: HttpRequest;
  /** Aborts when the client no longer needs the response. Default: the request's `signal`. */
  readonly signal?: AbortSignal;
}

export interface FailureOptions {
  /**
   * Sends the client the name, message, code, details and cause of a task's error. Default `false`: error messages are
   * written for operators, and may contain file names, host names or other users' data.
   */
  readonly showErrors?: boolean;
}

export interface RespondOptions extends RequestOptions, FailureOptions {
  /**
   * Longest wait for the result, in milliseconds. 0 reads once. A request with `Prefer: wait=SECONDS` shortens it. Stay
   * below the timeouts of proxies, often 60 s.
   */
  readonly waitMs: number;
  /**
   * Answers 404 for an unknown task: one without a result or chunks that nothing has called `expect` for. Default
   * `false`: answers 202.
   */
  readonly mustExist?: boolean;
  /**
   * `Location` of a 202, where the client asks again. Default: path and query of `request`. Without either, the header
   * is omitted.
   */
  readonly location?: string;
  /**
   * Delay before the client asks again, in milliseconds. `Retry-After` has it in seconds, rounded up. Default 1 000.
   */
  readonly retryAfterMs?: number;
  /**
   * Creates the response for a failed task, for failures that the client can correct. Default: a problem with status
   * 500.
   */
  readonly onFailure?: (error: TaskFailedError) => Response | Promise<Response>;
}

const respondNames: OptionNames<RespondOptions> = {
  mustExist: true,
  request: true,
  signal: true,
  showErrors: true,
  waitMs: true,
  location: true,
  retryAfterMs: true,
  onFailure: true,
};

/** Explanation of a missing result as in RFC 9457: the body of `application/problem+json`, or the data of an event. */
export interface Problem {
  /** The name of the status. */
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  /** A constant to switch on. */
  readonly code: "INVALID_ID" | "TASK_NOT_FOUND" | "TASK_FAILED" | "WAIT_TIMEOUT" | "BACKEND_CLOSED" | "INTERNAL";
  /** The error that the task failed with; only if `showErrors` is set. */
  readonly failure?: TaskFailure;
}

/**
 * Creates the response to a request for the result of a task:
 *
 * - 200 with the result as JSON, if it is stored or is stored within `waitMs`;
 * - 202 with `Location` and `Retry-After` if it is not stored by then, or the database cannot be reached;
 * - 400 as `application/problem+json` with the code `INVALID_ID` if the id is invalid;
 * - 404 as a problem with the code `TASK_NOT_FOUND` if the task is unknown and `mustExist` is set; otherwise 202;
 * - 499 without a body if `signal` has aborted;
 * - 500 as a problem with the code `TASK_FAILED` if the task failed, without the error unless `showErrors` is set;
 * - 503 as a problem with the code `BACKEND_CLOSED`, and `Retry-After`, if the server is shutting down.
 *
 * If the request has `Prefer: wait=SECONDS` (RFC 7240), that is how long it waits, but at most `waitMs`, and
 * `Preference-Applied` has the seconds that applied.
 *
 * `respond` does not check whether the client may see the result; check that first.
 *
 * @throws `DatabaseError` The role may not read results, or reading fails permanently.
 * @throws `SchemaError` The tables are missing.
 */
export async function respond(
  backend: Pick<ResultBackend, "waitSettled">,
  taskId: string,
  options: RespondOptions,
): Promise<Response> {
  checkOptions(options, respondNames);
  const { waitMs, retryAfterMs = 1_000, mustExist = false } = options;
  checkDurationMs(waitMs, "waitMs");
  checkDurationMs(retryAfterMs, "retryAfterMs");
  const badId = problemOfId(taskId, "taskId");
  if (badId !== undefined) return problemResponse(badId);
  const signal = signalOf(options);
  const retryAfter = { "Retry-After": String(Math.ceil(retryAfterMs / 1_000)) };
  const { timeoutMs, applied } = preferredWait(options);
  try {
    const waitOptions = { timeoutMs, mustExist, schema: asJsonText, ...(signal === undefined ? {} : { signal }) };
    const settled = await backend.waitSettled(taskId, waitOptions);
    if (settled.status === "fulfilled") return jsonResponse(200, settled.value, applied);
    return await failureResponse(settled.reason, options, applied);
  } catch (error) {
    if (signal?.aborted === true && (error === signal.reason || signal.reason === undefined))
      return new Response(null, { status: 499 });
    if (isWaitTimeout(error))
      return jsonResponse(
        202,
        { taskId, status: "pending" },
        { ...retryAfter, ...locationHeader(options), ...applied },
      );
    if (isTaskNotFound(error)) return problemResponse(toProblem(error));
    if (isBackendClosed(error)) return problemResponse(toProblem(error), retryAfter);
    throw error;
  }
}

type HeaderValues = Readonly<Record<string, string>>;

/**
 * Returns the time for which to wait, and the header that tells the client. Of several preferences for it the first
 * counts, and a malformed one counts as none (RFC 7240, section 2).
 */
function preferredWait({ request, waitMs }: RespondOptions): {
  readonly timeoutMs: number;
  readonly applied: HeaderValues;
} {
  const header = (request && headerOf(request.headers, "prefer")) ?? "";
  // A comma in quotes does not end a preference. Quotes that are not closed reach to the end.
  const preferences = header.match(/(?:"(?:[^"\\]|\\.)*"?|[^",])+/g) ?? [];
  const preference = preferences.find((each) => /^\s*wait\s*(?:[=;]|$)/i.test(each));
  const [, plain, quoted] = /^\s*wait\s*=\s*(?:(\d+)|"(\d+)")\s*(?:;|$)/i.exec(preference ?? "") ?? [];
  const text = plain ?? quoted;
  if (text === undefined) return { timeoutMs: waitMs, applied: {} };
  const timeoutMs = Math.min(Number(text) * 1_000, waitMs);
  return { timeoutMs, applied: { "Preference-Applied": `wait=${Math.floor(timeoutMs / 1_000)}` } };
}

async function failureResponse(reason: unknown, options: RespondOptions, applied: HeaderValues): Promise<Response> {
  const { onFailure } = options;
  if (onFailure === undefined || !isTaskFailed(reason)) return problemResponse(toProblem(reason, options), applied);
  if (typeof onFailure !== "function")
    throw new TypeError(`onFailure: expected a function, got ${typeName(onFailure)}.`);
  return onFailure(reason);
}

/** Omits the host, since behind a proxy the client uses another name for this server. */
function locationHeader({ location, request }: RespondOptions): Record<string, string> {
  const target = request?.originalUrl ?? request?.url;
  if (location !== undefined) return { Location: location };
  if (target === undefined || !URL.canParse(target, "http://localhost")) return {};
  // A path that begins with two slashes would be read as the name of another host.
  const oneSlash = (text: string): string => text.replace(/^[/\\]+/, "/");
  const { pathname, search } = new URL(oneSlash(target), "http://localhost");
  return { Location: oneSlash(pathname) + search };
}

export const signalOf = ({ signal, request }: RequestOptions): AbortSignal | undefined => signal ?? request?.signal;

/** Converts an error to the part that a client may see. */
export function toProblem(error: unknown, { showErrors = false }: FailureOptions = {}): Problem {
  if (isTaskFailed(error)) {
    const problem = createProblem(500, "TASK_FAILED", "The task failed.");
    return showErrors ? { ...problem, failure: exactFailure(error.failure) } : problem;
  }
  if (isTaskNotFound(error)) return createProblem(404, "TASK_NOT_FOUND", "There is no such task.");
  if (isWaitTimeout(error)) {
    const what = error.groupId === undefined ? "task" : "group";
    return createProblem(410, "WAIT_TIMEOUT", `The ${what} did not finish in time.`);
  }
  if (isBackendClosed(error)) return createProblem(503, "BACKEND_CLOSED", "The server is shutting down.");
  return createProblem(500, "INTERNAL", "The result could not be read.");
}

/** Returns the problem with the id of a request; undefined for a valid id. */
export function problemOfId(id: string, what: "taskId" | "groupId"): Problem | undefined {
  try {
    checkId(id, what);
    return undefined;
  } catch (error) {
    // If the id is not a string, the mistake is in the server and not in the request.
    if (!(error instanceof RangeError)) throw error;
    return createProblem(400, "INVALID_ID", error.message);
  }
}

function createProblem(status: number, code: Problem["code"], detail: string): Problem {
  return { title: STATUS_CODES[status] ?? "", status, detail, code };
}

export function problemResponse(problem: Problem, headers: HeaderValues = {}): Response {
  return jsonResponse(problem.status, problem, { ...headers, "Content-Type": "application/problem+json" });
}

/** Creates a response that forbids caching, since a result can be replaced and may be private. */
function jsonResponse(status: number, value: unknown, headers: HeaderValues = {}): Response {
  const common = { "Content-Type": "application/json", "Cache-Control": "no-store" };
  return new Response(stringifyExactly(value) ?? "null", { status, headers: { ...common, ...headers } });
}
