import { catchError, map, of, skipWhile } from "rxjs";
import { isWaitTimeout } from "../value/foreign";
import type { GroupBackend, GroupProgress } from "../result-backend";
import { endedResponse, eventResponse, type EventStreamOptions, formatEvent } from "./event-stream";
import { problemOfId, problemResponse, toProblem } from "./problem";
import { lastEventIdOf } from "./request";
import { problemEvent, type StreamErrorOptions } from "./stream-error";

export interface SseGroupOptions extends EventStreamOptions, StreamErrorOptions {}

/** Ids of last events begin with it. */
const ended = "ended";

/**
 * A response that streams, as server-sent events, how far a group is:
 *
 * - `progress`, at once and at every change; its data is a `GroupProgress`. A client that reads slowly gets the latest only;
 * - `done`, with the same data, when all members have finished, and nothing after it;
 * - `expired`, if the deadline of the group is over: a {@link Problem}, and nothing after it;
 * - `problem`, if watching has ended otherwise: a {@link Problem}, with the code `BACKEND_CLOSED` while the server shuts down. An `EventSource` then connects again.
 *
 * A client that connects again is not sent the state it has seen last, and one that has seen the last event is told to stop, by a 204. Of a group that nothing is
 * known of, nothing is sent until something is. An id that no group can have is answered with 400. It does not ask who may see a group: check that before.
 */
export function sseGroup(
  backend: Pick<GroupBackend, "group$">,
  groupId: string,
  options: SseGroupOptions = {},
): Response {
  const badId = problemOfId(groupId, "groupId");
  if (badId !== undefined) return problemResponse(badId);
  const lastEventId = lastEventIdOf(options);
  if (lastEventId?.startsWith(ended) === true) return endedResponse();
  const events$ = backend.group$(groupId).pipe(
    skipWhile((progress) => idOf(progress) === lastEventId),
    map((progress) => formatEvent(progress.done ? "done" : "progress", progress, idOf(progress))),
    catchError((error: unknown) =>
      of(isWaitTimeout(error) ? formatEvent("expired", toProblem(error, {}), ended) : problemEvent(error, options)),
    ),
  );
  return eventResponse(events$, options);
}

/** Tells one state of a group from the others; counts only ever rise or move from failed to completed, so none comes back. */
function idOf({ completed, failed, total, done }: GroupProgress): string {
  const counts = `${completed}-${failed}-${total ?? "unknown"}`;
  return done ? `${ended}-${counts}` : counts;
}
