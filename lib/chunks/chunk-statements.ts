import { escapeIdentifier } from "pg";
import { lockTimeoutSetting } from "../database/database";
import type { ResolvedOptions } from "../options";
import { rowLockTimeoutMs } from "../results/attempts";
import { boundedText, estimatedBytes, isInTime, readBudgetBytes, setting } from "../results/expressions";
import { failureColumns } from "../results/write-errors";
import { maxTextBytes } from "../value/encoding";

/** The SQL for chunks, created once per schema. */
export type ChunkStatements = ReturnType<typeof chunkStatements>;

/** One chunk after a position; without a number if there is none, or no room for it. */
export type ChunkPageRow = [
  place: number,
  attempt: number,
  latest: string,
  isFinished: boolean,
  failure: string | null,
  hasFailed: boolean,
  sequence: string | null,
  text: string | null,
];

const columns = `$1::pg_catalog.text[], $2::pg_catalog.text[], $3::pg_catalog.text[], $4::boolean[], $5::double precision[]`;

export function chunkStatements(options: ResolvedOptions) {
  const schema = escapeIdentifier(options.schema);
  const maxBytes = maxTextBytes(options.maxResultBytes);
  const notify = setting("kojin.notify", "case when $7::boolean then '' else 'off' end");
  const settings = `pg_catalog.concat(${isInTime(schema, "$6")}, ${lockTimeoutSetting(rowLockTimeoutMs(options))}, ${notify})`;
  return {
    // $1 text[] tasks, $2 text[] chunks as JSON, $3 text[] calls, $4 boolean[] true for a restart, $5 float8[] ms to
    // live or -1, $6 float8 server time from which it must not emit, $7 boolean true if it notifies. Returns in order
    // the number of each chunk, or null if its task has a result.
    emit: `
      with settings as materialized (select ${settings} as made)
      select emitted.sequence::pg_catalog.text, ${isInTime(schema, "$6")}
      from settings, lateral ${schema}.kojin_emit_chunks(${columns}, made is null) as emitted
      order by emitted.place`,

    // The same in the caller's transaction, which has its own settings and deadline. $1 to $5 as above.
    emitForCaller: `
      select emitted.sequence::pg_catalog.text as sequence
      from ${schema}.kojin_emit_chunks(${columns}, false) as emitted`,

    // Emits chunks so that each fails alone. Takes the parameters of the function. Returns the same as `emit`, and the
    // error of each failed chunk.
    emitEach: `
      select sequence::pg_catalog.text, ${failureColumns}
      from ${schema}.kojin_emit_each(
        ${columns}, $6::double precision[], $7::double precision, $8::boolean, $9::int, $10::int, $11::int, $12::boolean
      )
      order by place`,

    // $1 text[] tasks, $2 int[] attempts and $3 bigint[] numbers after which to read, $4 int most chunks of each.
    // Returns for each task one row or more ({@link ChunkPageRow}), all from one snapshot: as many chunks as fit into
    // the byte budget by estimate.
    read: `
      select summed.place, summed.attempt, summed.latest::pg_catalog.text, summed.is_finished,
        case when summed.is_finished and summed.nth operator(pg_catalog.=) 1 then ${boundedText("summed.error", maxBytes)} end,
        summed.error is not null,
        case when summed.bytes_before operator(pg_catalog.<) ${readBudgetBytes} then summed.sequence::pg_catalog.text end,
        case when summed.bytes_before operator(pg_catalog.<) ${readBudgetBytes}
          then ${boundedText("summed.chunk", maxBytes)} end
      from (
        select measured.*,
          pg_catalog.row_number() over (partition by measured.place order by measured.sequence) as nth,
          pg_catalog.sum(measured.bytes) over (order by measured.place, measured.sequence rows unbounded preceding)
            operator(pg_catalog.-) measured.bytes as bytes_before
        from (
          select page.*, ${estimatedBytes("page.chunk")}::bigint as bytes
          from ${schema}.kojin_read_chunks($1::pg_catalog.text[], $2::int[], $3::bigint[], $4::int) as page
        ) as measured
      ) as summed
      where summed.bytes_before operator(pg_catalog.<) ${readBudgetBytes} or summed.nth operator(pg_catalog.=) 1
      order by summed.place, summed.sequence`,

    // $1 int most streams, $2 float8 ms since they expired. Deletes expired streams with their chunks. Returns a row
    // for each.
    prune: `
      select true
      from pg_catalog.generate_series(1, ${schema}.kojin_streams_prune($1::int, $2::double precision))`,
  };
}
