import { escapeIdentifier } from "pg";
import { noDeadline } from "../database/caller-client";
import type { SqlClient } from "../result-backend";
import type { SourceContext } from "../waiting/keyed-source";
import { type LoadReceiver, Loader } from "../waiting/loader";
import type { ReadAnswer, ReadCare } from "../waiting/read-attempts";
import { fencedWrite } from "./attempts";
import { isInTime, isPresent, isPresentIn } from "./expressions";

function statements(schema: string) {
  const [results, streams] = [`${schema}.kojin_results`, `${schema}.kojin_streams`];
  return {
    // $1 text task, $2 float8 ms to live or null, $3 float8 server time from which it must not expect.
    expect: `
      select ${isInTime(schema, "$3")} as in_time
      from ${schema}.kojin_expect_task(
        case when ${isInTime(schema, "$3")} then $1::pg_catalog.text end,
        $2::double precision operator(pg_catalog.*) interval '1 millisecond'
      )`,
    // $1 text[] tasks. Returns those that have a result, are expected, or have chunks. Streams live as long as the
    // result, however long ago that has expired.
    known: `
      select task_id::pg_catalog.text
      from ${results}
      where task_id operator(pg_catalog.=) any ($1::pg_catalog.text[]) and ${isPresent}
      union all
      select stream.task_id
      from ${streams} as stream
      where stream.task_id operator(pg_catalog.=) any ($1::pg_catalog.text[])
        and ${isPresentIn("stream")}
        and not exists (
          select from ${results} as result where result.task_id operator(pg_catalog.=) stream.task_id
        )`,
  };
}

/** Marks tasks as expected, and tells which tasks exist. Those who ask together share a statement. */
export class Expectations implements LoadReceiver<true> {
  readonly loader: Loader<true>;
  readonly #context: SourceContext;
  readonly #statements: ReturnType<typeof statements>;

  constructor(context: SourceContext) {
    const { options, schemaCheck, deadlines, closed, countBatch } = context;
    this.#context = context;
    this.#statements = statements(escapeIdentifier(options.schema));
    const { retryTimeoutMs } = options;
    this.loader = new Loader<true>(this, { schemaCheck, deadlines, retryTimeoutMs, closed, countBatch });
  }

  async expect(taskId: string, ttlMs: number | null, client?: SqlClient): Promise<void> {
    const { database, options } = this.#context;
    const query = { purpose: "expect a task", text: this.#statements.expect };
    if (client !== undefined) await database.queryWith(client, { ...query, values: [taskId, ttlMs, noDeadline] });
    else
      await fencedWrite(this.#context, options.retryTimeoutMs, async ({ giveUpAt, timeoutMs }) =>
        database.query({ ...query, values: [taskId, ttlMs, giveUpAt] }, timeoutMs),
      );
  }

  async read(taskIds: readonly string[], timeoutMs: number, care?: ReadCare): Promise<ReadAnswer<true>> {
    const query = { purpose: "look for tasks", text: this.#statements.known, values: [taskIds] };
    const rows = await this.#context.database.query<[string]>(query, timeoutMs, care?.limitMs);
    return { found: new Map(rows.map(([taskId]) => [taskId, { value: true, isOld: false }])) };
  }

  // Only calls ask, and the loader answers them itself.
  found(): void {}
  absent(): void {}
  denied(): void {}
  givenUp(): void {}
  recovered(): void {}
}
