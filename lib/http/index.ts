export { respond } from "./respond";
export type { FailureOptions, Problem, RequestOptions, RespondOptions } from "./respond";
export { sendResponse } from "./send-response";
export type { HttpHeaders, HttpRequest, NodeResponse } from "./send-response";
export { sseGroup, sseResult, sseTask } from "./events";
export type { SseGroupOptions, SseResultOptions, SseTaskOptions, StreamErrorOptions } from "./events";
export type { EventStreamOptions } from "./event-stream";
