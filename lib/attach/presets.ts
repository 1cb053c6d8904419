/** A queue whose tables `attachQueue` knows. */
export type QueueName = "pg-boss" | "dbos";

/** The table of a queue, and the schema in which the queue creates it by default. */
interface QueuePreset {
  readonly schema: string;
  readonly table: string;
  readonly archive: string | undefined;
  readonly id: string;
  readonly succeeded: string;
  readonly failed: string;
  readonly result: string;
  readonly error: string;
}

/**
 * What presets share: `job` is the row. pg-boss wraps what is no object as `{"value": …}`; its failures are shown
 * without that, its results are left as its own API returns them.
 */
export const queuePresets: Readonly<Record<QueueName, QueuePreset>> = {
  "pg-boss": {
    schema: "pgboss",
    table: "job",
    // Up to version 10.
    archive: "archive",
    id: "job.id",
    succeeded: "job.state::pg_catalog.text operator(pg_catalog.=) 'completed'",
    failed: "job.state::pg_catalog.text operator(pg_catalog.=) any (array['failed', 'cancelled'])",
    result: "job.output",
    error: `case
      when job.state::pg_catalog.text operator(pg_catalog.=) 'cancelled'
      then '{"name": "JobCancelledError", "message": "The job was cancelled."}'::pg_catalog.jsonb
      when pg_catalog.jsonb_typeof(job.output) operator(pg_catalog.=) 'object'
        and (job.output operator(pg_catalog.-) 'value'::pg_catalog.text) operator(pg_catalog.=) '{}'::pg_catalog.jsonb
      then job.output operator(pg_catalog.->) 'value'::pg_catalog.text
      else job.output
    end`,
  },
  dbos: {
    schema: "dbos",
    table: "workflow_status",
    archive: undefined,
    id: "job.workflow_uuid",
    succeeded: "job.status operator(pg_catalog.=) 'SUCCESS'",
    failed:
      "job.status operator(pg_catalog.=) any (array['ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED', 'RETRIES_EXCEEDED'])",
    result: "job.output::pg_catalog.jsonb",
    error: "job.error::pg_catalog.jsonb",
  },
};
