import { isBackendClosed } from "../value/foreign";
import { formatEvent } from "./event-stream";
import { toProblem } from "./problem";

export interface StreamErrorOptions {
  /** Told of what has ended a stream and is nobody's plan, such as a `DatabaseError`, since no caller is there to catch it. Default: only the client is told. */
  readonly onError?: (error: unknown) => void;
}

/** The last event of a stream that has ended too early. It has no id: what came before it is where to go on. */
export function problemEvent(error: unknown, { onError }: StreamErrorOptions): string {
  // Not 503 instead of a stream, even if it is known at once: to an `EventSource` any status but 200 is final.
  if (!isBackendClosed(error)) onError?.(error);
  return formatEvent("problem", toProblem(error, {}));
}
