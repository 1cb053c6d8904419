export { respond } from "./respond";
export type { FailureOptions, Problem, RequestOptions, RespondOptions } from "./respond";
export { sendResponse } from "./send-response";
export type { HttpHeaders, HttpRequest, NodeResponse } from "./send-response";
export { sseGroup, sseResult } from "./events";
export type { EventStreamOptions, SseGroupOptions, SseResultOptions, StreamErrorOptions } from "./events";
