export { PostgresResultBackend } from "./postgres-backend";
export { MemoryResultBackend } from "./memory-backend";
export type { MemoryResultBackendOptions } from "./memory-backend";
export type { ConnectionPool, PooledConnection } from "./database/pool";
export type { Logger } from "./logger";
export type { BatchOptions, NotifyMode, PostgresResultBackendOptions, TelemetryOptions } from "./options";
export type {
  ClaimOptions,
  CloseOptions,
  GroupBackend,
  GroupClaim,
  GroupOptions,
  GroupProgress,
  ReadOptions,
  ResultBackend,
  ResultFeedOptions,
  SqlClient,
  StoreOptions,
  TaskOutcome,
  UnclaimedOptions,
  WaitOptions,
  WriteOptions,
} from "./result-backend";
export type { OpenGroupsOptions } from "./groups/group-arguments";
export type { MigrateOptions, MigrationReport } from "./schema/migrations";
export type { MigrationProgress } from "./schema/migration-run";
export type { MigrationPlan } from "./schema/migration-plan";
export { migrationScript } from "./schema/migration-script";
export type { MigrationScriptOptions } from "./schema/migration-script";
export type { TriggerState } from "./schema/triggers";
export type { PruneOptions, PruneReport } from "./prune/pruner";
export type { Health } from "./health";
export type { Inspection, ServerFacts, TableSize } from "./inspect/inspection";
export type { CheckName, DiagnoseOptions, Diagnosis } from "./inspect/diagnosis";
export type { Finding } from "./inspect/check";
export type { Stats } from "./stats";
export type { Announcement } from "./store/announcements";
export type { WriteCounters } from "./store/write-rules";
export type { Hint, HintName, StoredResult } from "./notify/hint";
export type {
  HintCarrier,
  HintChannel,
  HintChannelOptions,
  HintKind,
  HintPublisher,
  HintSelection,
  HintSource,
  LateKeys,
  ListenReport,
  ListenStatus,
} from "./notify/hint-source";
export type { ReadCounters } from "./wait/loader";
export type { WakeCause } from "./wait/router";
export type { Codec } from "./value/json";
export type { ResultSchema } from "./value/schema";
export { defineTask } from "./value/task";
export type { TaskDefinition, TaskId } from "./value/task";
export type { TaskFailure } from "./errors";
export {
  BackendClosedError,
  DatabaseError,
  GroupConflictError,
  GroupFailedError,
  MissingPackageError,
  ResultBackendError,
  ResultEncodingError,
  ResultValidationError,
  SchemaError,
  TaskFailedError,
  WaitTimeoutError,
} from "./errors";
