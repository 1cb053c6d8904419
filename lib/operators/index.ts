export { awaitResults } from "./await-results";
export type { AwaitResultsOptions } from "./await-results";
export { groupProgress } from "./group-progress";
export type { GroupProgressOptions, GroupState } from "./group-progress";
export { settleResults } from "./settle-results";
