import type { Database } from "../database/database";
import { retryTransient } from "../database/retry";
import { GroupConflictError } from "../errors";
import { channelOf } from "../notify/channel";
import type { SqlClient } from "../result-backend";
import { BatchedWrites, type WriteCounters, type WriteParts } from "../store/batched-writes";
import type { Notifier } from "../store/notifier";
import { encodingError } from "../store/writer";
import { groupStatements, type GroupStatements } from "./group-statements";

/** A member that finishes: with a result, or with a failure. */
export interface MemberRow {
  readonly groupId: string;
  readonly taskId: string;
  /** JSON text; null for a failure. */
  readonly result: string | null;
  /** JSON text; null for a success. */
  readonly error: string | null;
}

export interface GroupSize {
  readonly total: number;
  /** In their order; null if they are not named. */
  readonly memberIds: readonly string[] | null;
  /** null: it never expires. */
  readonly ttlMs: number | null;
  /** null: it may stay open for ever. */
  readonly deadlineMs: number | null;
}

export interface GroupWriterParts extends WriteParts {
  readonly database: Database;
  /** Present if this process announces what it stores. */
  readonly notifier: Notifier | undefined;
}

type Verdict = [completed: number, conflict: string | null];

/** Initialises groups and finishes their members. Counting is the database's. */
export class GroupWriter {
  readonly #parts: GroupWriterParts;
  readonly #statements: GroupStatements;
  readonly #writes: BatchedWrites<MemberRow, number>;

  constructor(parts: GroupWriterParts) {
    const { options, database, notifier } = parts;
    this.#parts = parts;
    this.#statements = groupStatements(options.schema);
    const text = notifier === undefined ? this.#statements.finish : this.#statements.finishSilently;
    this.#writes = new BatchedWrites<MemberRow, number>(parts, {
      what: "group members",
      // A success outweighs a failure; else the last call wins.
      merge: (queued, added) => (queued.error === null && added.error !== null ? queued : added),
      split: () => "",
      send: async (rows, timeoutMs) => {
        const verdicts = await database.query<Verdict>(
          { purpose: "finish group members", text, values: memberValues(rows) },
          timeoutMs,
        );
        return rows.map((row, index) => outcomeOf(row, verdicts[index]));
      },
      onCommitted: (rows) => notifier?.announce("members", new Set(rows.map(({ groupId }) => groupId))),
      rowError: (error, row) => encodingError(error, row.taskId),
    });
  }

  get counters(): WriteCounters {
    return this.#writes.counters;
  }

  async finish(row: MemberRow, client?: SqlClient): Promise<number> {
    if (client !== undefined) return this.#finishWith(client, row);
    // NUL cannot be in an id, so no two pairs have the same key; and pairs are sorted by their groups.
    const bytes = Buffer.byteLength(row.result ?? "") + Buffer.byteLength(row.error ?? "");
    return this.#writes.write(`${row.groupId}\0${row.taskId}`, bytes, row);
  }

  async init(groupId: string, size: GroupSize, client?: SqlClient): Promise<void> {
    const { database, options, schemaCheck, closed$ } = this.#parts;
    const { total, memberIds, ttlMs, deadlineMs } = size;
    const purpose = "initialise a group";
    const values = [groupId, total, memberIds, ttlMs, deadlineMs, channelOf(options.schema)];
    let conflict: string | null | undefined;
    if (client === undefined) {
      const dueAt = performance.now() + options.retryTimeoutMs;
      const attempt = async (): Promise<[string | null][]> => {
        const attemptMs = Math.max(1, dueAt - performance.now());
        await schemaCheck.pass(attemptMs);
        return database.query<[string | null]>({ purpose, text: this.#statements.init, values }, attemptMs);
      };
      conflict = (await retryTransient(attempt, { dueAt, closed$ }))[0]?.[0];
    } else {
      conflict = await this.#runWith(
        client,
        purpose,
        this.#statements.init,
        values,
        (row) => row["kojin_init_group"] as string | null,
      );
    }
    if (conflict !== null && conflict !== undefined) throw initConflict(groupId, total, conflict);
  }

  async drain(): Promise<void> {
    await this.#writes.drain();
  }

  async #finishWith(client: SqlClient, row: MemberRow): Promise<number> {
    const toVerdict = (found: Record<string, unknown>): Verdict => [
      found["completed_count"] as number,
      found["conflict"] as string | null,
    ];
    const verdict = await this.#runWith(
      client,
      "finish a group member",
      this.#statements.finish,
      memberValues([row]),
      toVerdict,
    ).catch((error: unknown) => {
      throw encodingError(error, row.taskId);
    });
    const outcome = outcomeOf(row, verdict);
    if (outcome instanceof Error) throw outcome;
    return outcome;
  }

  async #runWith<T>(
    client: SqlClient,
    purpose: string,
    text: string,
    values: unknown[],
    read: (row: Record<string, unknown>) => T,
  ): Promise<T | undefined> {
    try {
      const [row] = (await client.query(text, values)).rows as Record<string, unknown>[];
      return row === undefined ? undefined : read(row);
    } catch (error) {
      throw this.#parts.database.wrap(error, purpose);
    }
  }
}

function memberValues(rows: readonly MemberRow[]): unknown[] {
  return [
    rows.map((row) => row.groupId),
    rows.map((row) => row.taskId),
    rows.map((row) => row.result),
    rows.map((row) => row.error),
  ];
}

function outcomeOf({ groupId, taskId }: MemberRow, verdict: Verdict | undefined): number | Error {
  const [completed = 0, conflict = null] = verdict ?? [];
  if (conflict === null) return completed;
  return new GroupConflictError(
    groupId,
    conflict === "members"
      ? `Task ${taskId} is none of the members that group ${groupId} was declared with.`
      : `Group ${groupId} has as many finished members as it may; task ${taskId} is one more.`,
  );
}

function initConflict(groupId: string, total: number, conflict: string): GroupConflictError {
  const reasons: Record<string, string> = {
    total: `Group ${groupId} is initialised already, with another total than ${total}.`,
    members: `Group ${groupId} was declared with other members, or others have finished.`,
    overflow: `Group ${groupId} has more finished members than the ${total} it is to have.`,
  };
  return new GroupConflictError(groupId, reasons[conflict] ?? conflict);
}
