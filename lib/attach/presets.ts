/** A queue whose tables `attachQueue` knows. */
export type QueueName = "pg-boss" | "dbos";

/** A table of a queue, with the expressions of a `QueueTable`. `job` is a row. */
interface PresetTable {
  readonly table: string;
  readonly archive?: string;
  readonly id: string;
  readonly succeeded: string;
  readonly failed: string;
  readonly result: string;
  readonly error: string;
}

interface QueuePreset {
  /** Schema in which the queue creates its tables by default. */
  readonly schema: string;
  readonly tables: readonly PresetTable[];
}

const pgBoss: PresetTable = {
  table: "job",
  // Up to version 10.
  archive: "archive",
  id: "job.id",
  succeeded: "job.state::pg_catalog.text operator(pg_catalog.=) 'completed'",
  failed: "job.state::pg_catalog.text operator(pg_catalog.=) any (array['failed', 'cancelled'])",
  // As its own API returns it: what is no object is wrapped as {"value": …}. A failure is unwrapped.
  result: "job.output",
  error: `case
      when job.state::pg_catalog.text operator(pg_catalog.=) 'cancelled'
      then '{"name": "JobCancelledError", "message": "The job was cancelled."}'::pg_catalog.jsonb
      when pg_catalog.jsonb_typeof(job.output) operator(pg_catalog.=) 'object'
        and (job.output operator(pg_catalog.-) 'value'::pg_catalog.text) operator(pg_catalog.=) '{}'::pg_catalog.jsonb
      then job.output operator(pg_catalog.->) 'value'::pg_catalog.text
      else job.output
    end`,
};

/**
 * A value of DBOS Transact, without what its serializer (superjson) adds to restore types that JSON lacks. A value in
 * its portable format is plain JSON.
 */
const dbosValue = (column: string): string => `case
      when job.${column}::pg_catalog.jsonb operator(pg_catalog.?) '__dbos_serializer'
      then job.${column}::pg_catalog.jsonb operator(pg_catalog.->) 'json'::pg_catalog.text
      else job.${column}::pg_catalog.jsonb
    end`;

/** Since version 5, a workflow that returns or throws has a row in a table of its own. */
const dbosOutput: PresetTable = {
  table: "workflow_output",
  id: "job.workflow_uuid",
  succeeded: "job.error is null",
  failed: "job.error is not null",
  result: dbosValue("output"),
  error: dbosValue("error"),
};

/** Workflows that end without a row there. */
const dbosStatus: PresetTable = {
  table: "workflow_status",
  id: "job.workflow_uuid",
  succeeded: "false",
  failed: "job.status operator(pg_catalog.=) any (array['CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'])",
  result: "null::pg_catalog.jsonb",
  error: `case
      when job.status operator(pg_catalog.=) 'CANCELLED'
      then '{"name": "WorkflowCancelledError", "message": "The workflow was cancelled."}'::pg_catalog.jsonb
      else '{"name": "MaxRecoveryAttemptsExceededError", "message": "The workflow was recovered too often."}'::pg_catalog.jsonb
    end`,
};

export const queuePresets: Readonly<Record<QueueName, QueuePreset>> = {
  "pg-boss": { schema: "pgboss", tables: [pgBoss] },
  // In the order in which DBOS locks them.
  dbos: { schema: "dbos", tables: [dbosStatus, dbosOutput] },
};
