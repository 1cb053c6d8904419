import type { Database } from "../database/database";
import { retryTransient } from "../database/retry";
import { GroupConflictError } from "../errors";
import { channelOf } from "../notify/channel";
import type { SqlClient } from "../result-backend";
import { BatchedWrites, type WriteCounters, type WriteParts } from "../store/batched-writes";
import { encodingError, writeLockTimeoutMs } from "../store/writer";
import { SilentFallback } from "../store/silent-fallback";
import { type GroupWriteStatements, groupWriteStatements } from "./group-write-statements";

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
}

type Verdict = [completed: number, conflict: string | null];

/** Initialises groups and finishes their members. Counting is the database's. */
export class GroupWriter {
  readonly #parts: GroupWriterParts;
  readonly #loud: GroupWriteStatements;
  readonly #silent: GroupWriteStatements;
  readonly #callers: GroupWriteStatements;
  readonly #writes: BatchedWrites<MemberRow, number>;

  constructor(parts: GroupWriterParts) {
    const { options, database } = parts;
    this.#parts = parts;
    const lockTimeoutMs = writeLockTimeoutMs(options);
    this.#loud = groupWriteStatements(options.schema, { silent: false, lockTimeoutMs });
    this.#silent = groupWriteStatements(options.schema, { silent: true, lockTimeoutMs });
    this.#callers = groupWriteStatements(options.schema, { silent: false, lockTimeoutMs: undefined });
    this.#writes = new BatchedWrites<MemberRow, number>(parts, {
      what: "group members",
      // A success outweighs a failure; else the last call wins.
      merge: (queued, added) => (queued.error === null && added.error !== null ? queued : added),
      split: () => "",
      send: async (rows, isSilent, timeoutMs) => {
        const text = (isSilent ? this.#silent : this.#loud).finish;
        const query = { purpose: "finish group members", text, values: memberValues(rows), isPrepared: true };
        const verdicts = await database.query<Verdict>(query, timeoutMs);
        return rows.map((row, index) => outcomeOf(row, verdicts[index]));
      },
      announce: (rows, announcer) => announcer.announce("members", new Set(rows.map(({ groupId }) => groupId))),
      rowError: (error, row) => encodingError(error, row.taskId),
    });
  }

  get counters(): WriteCounters {
    return this.#writes.counters;
  }

  finish(row: MemberRow, client?: SqlClient): Promise<number> {
    if (client !== undefined) return this.#finishWith(client, row);
    // NUL cannot be in an id, so no two pairs have the same key; and pairs are sorted by their groups.
    const bytes = Buffer.byteLength(row.result ?? "") + Buffer.byteLength(row.error ?? "");
    return this.#writes.write(`${row.groupId}\0${row.taskId}`, bytes, row);
  }

  async init(groupId: string, size: GroupSize, client?: SqlClient): Promise<void> {
    const { options } = this.#parts;
    const { total, memberIds, ttlMs, deadlineMs } = size;
    const purpose = "initialise a group";
    const values = [groupId, total, memberIds, ttlMs, deadlineMs, channelOf(options.schema)];
    const conflict =
      client === undefined
        ? await this.#init(groupId, purpose, values)
        : await this.#runWith(client, purpose, this.#callers.init, values, (row) => row["conflict"] as string | null);
    if (conflict !== null && conflict !== undefined) throw initConflict(groupId, total, conflict);
  }

  async drain(): Promise<void> {
    await this.#writes.drain();
  }

  async #init(groupId: string, purpose: string, values: unknown[]): Promise<string | null | undefined> {
    const { database, options, schemaCheck, closed$, announcements } = this.#parts;
    const dueAt = performance.now() + options.retryTimeoutMs;
    const fallback = new SilentFallback(options.notify === "off");
    const attempt = async (attemptMs: number): Promise<[string | null][]> => {
      await schemaCheck.pass(attemptMs);
      return fallback.send(async (isSilent) => {
        const text = (isSilent ? this.#silent : this.#loud).init;
        return database.query<[string | null]>({ purpose, text, values }, attemptMs);
      });
    };
    const [row] = await retryTransient(attempt, { dueAt, closed$ });
    announcements.after(fallback.isSilent)?.announce("members", [groupId]);
    return row?.[0];
  }

  async #finishWith(client: SqlClient, row: MemberRow): Promise<number> {
    const toVerdict = (found: Record<string, unknown>): Verdict => [
      found["completed_count"] as number,
      found["conflict"] as string | null,
    ];
    const verdict = await this.#runWith(
      client,
      "finish a group member",
      this.#callers.finish,
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
