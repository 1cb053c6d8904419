export { PostgresResultBackend } from "./postgres-backend";
export { MemoryResultBackend } from "./memory-backend";
export type { MemoryResultBackendOptions } from "./memory-backend";
export type { ConnectionPool, PooledConnection } from "./database/connection";
export type { Logger } from "./logger";
export type { BatchOptions, NotifyMode, PostgresResultBackendOptions, TelemetryOptions } from "./options";
export type {
  Chunk,
  ChunkBackend,
  ChunkOptions,
  ChunkPosition,
  ClaimOptions,
  CloseOptions,
  EmitOptions,
  ExpectOptions,
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
  TaskReadOptions,
  TaskWaitOptions,
  UnclaimedOptions,
  WaitOptions,
  WriteOptions,
} from "./result-backend";
export type { OpenGroupsOptions } from "./groups/group-rules";
export type { MigrateOptions, MigrationPlan, MigrationReport } from "./schema/migrate";
export type { MigrationProgress } from "./schema/migration-run";
export { migrationScript } from "./schema/migration-script";
export type { MigrationScriptOptions } from "./schema/migration-script";
export type { TriggerState } from "./schema/triggers";
export type { AttachOptions, AttachReport, DetachOptions } from "./attach/attach";
export type { AttachedQueue } from "./attach/attachments";
export type { BackfillReport } from "./attach/backfill";
export type { QueueName } from "./attach/presets";
export type { QueueTable } from "./attach/queue-table";
export type { PruneOptions, PruneReport } from "./admin/pruner";
export type { Health } from "./admin/health";
export type { Inspection, ServerFacts, TableSize } from "./admin/inspection";
export type { CheckName, DiagnoseOptions, Diagnosis } from "./admin/diagnosis";
export type { Finding } from "./admin/checks";
export type { Stats } from "./admin/stats";
export type { Announcement } from "./results/announcements";
export type { WriteCounters } from "./results/batched-writer";
export type { ListenStatus, Notifier } from "./notifications/notifier";
export type { ReadCounters } from "./waiting/loader";
export type { WakeCause } from "./waiting/router";
export type { Codec } from "./value/encoding";
export type { ResultSchema } from "./value/decoding";
export { defineTask } from "./value/task";
export type { TaskDefinition, TaskDefinitionOptions, TaskId } from "./value/task";
export type { TaskFailure, WaitTarget } from "./errors";
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
  TaskFinishedError,
  TaskNotFoundError,
  WaitTimeoutError,
} from "./errors";
