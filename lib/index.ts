export { PostgresResultBackend } from "./postgres-backend";
export type { BatchOptions, Logger, PostgresResultBackendOptions } from "./options";
export type {
  CloseOptions,
  ResultBackend,
  ResultFeedOptions,
  SqlClient,
  StoreOptions,
  TaskOutcome,
  WaitOptions,
  WriteOptions,
} from "./result-backend";
export type { MigrationReport } from "./schema/migrations";
export type { PruneOptions, PruneReport } from "./prune/prune";
export type { Health } from "./health";
export type { Stats } from "./stats";
export type { ListenStatus } from "./notify/hint-source";
export type { WakeCause } from "./wait/router";
export type { TaskFailure } from "./errors";
export {
  BackendClosedError,
  DatabaseError,
  GroupConflictError,
  GroupFailedError,
  ResultBackendError,
  ResultEncodingError,
  SchemaError,
  TaskFailedError,
  WaitTimeoutError,
} from "./errors";
