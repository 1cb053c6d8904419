import type { Database } from "../database/database";
import { retryUntilClosed } from "../database/retry";
import { GroupConflictError, SchemaError } from "../errors";
import { channelOf } from "../notify/channel";
import type { SqlClient } from "../result-backend";
import { BatchedWrites, type WriteCounters, type WriteParts } from "../store/batched-writes";
import { encodingError, writeLockTimeoutMs } from "../store/writer";
import { SilentFallback } from "../store/silent-fallback";
import { inCallersTransaction } from "./callers-transaction";
import { type CountingStatements, countingStatements } from "./counting-statements";
import { GroupCounting } from "./group-counting";
import type { Conflict, GroupSize, MemberRow, Verdict } from "./group-rows";
import { type GroupWriteStatements, groupWriteStatements } from "./group-write-statements";

export interface GroupWriterParts extends WriteParts {
  readonly database: Database;
}

/** Initialises groups and finishes their members. Counting is the database's, but for schemas without triggers. */
export class GroupWriter {
  readonly #parts: GroupWriterParts;
  readonly #loud: GroupWriteStatements;
  readonly #silent: GroupWriteStatements;
  readonly #callers: GroupWriteStatements;
  readonly #counting: GroupCounting;
  readonly #countingTexts: CountingStatements;
  readonly #writes: BatchedWrites<MemberRow, number>;

  constructor(parts: GroupWriterParts) {
    const { options, database } = parts;
    this.#parts = parts;
    const lockTimeoutMs = writeLockTimeoutMs(options);
    this.#loud = groupWriteStatements(options.schema, { silent: false, lockTimeoutMs });
    this.#silent = groupWriteStatements(options.schema, { silent: true, lockTimeoutMs });
    this.#callers = groupWriteStatements(options.schema, { silent: false, lockTimeoutMs: undefined });
    this.#counting = new GroupCounting(options.schema);
    this.#countingTexts = countingStatements(options.schema);
    this.#writes = new BatchedWrites<MemberRow, number>(parts, {
      what: "group members",
      // A success outweighs a failure; else the last call wins.
      merge: (queued, added) => (queued.error === null && added.error !== null ? queued : added),
      split: () => "",
      send: async (rows, isSilent, timeoutMs) => {
        const purpose = "finish group members";
        const text = (isSilent ? this.#silent : this.#loud).finish;
        const query = { purpose, text, values: memberValues(rows), isPrepared: true };
        const verdicts = await this.#inOneOfTwoWays<readonly Verdict[]>(timeoutMs, {
          byTriggers: async () => database.query<[number, Conflict | null]>(query, timeoutMs),
          byCounting: async () =>
            this.#count(purpose, timeoutMs, async (client) => this.#counting.finish(client, rows)),
        });
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
    if (client !== undefined && !isPool(client)) return this.#finishWith(client, row);
    // NUL cannot be in an id, so no two pairs have the same key; and pairs are sorted by their groups.
    const bytes = Buffer.byteLength(row.result ?? "") + Buffer.byteLength(row.error ?? "");
    return this.#writes.write(`${row.groupId}\0${row.taskId}`, bytes, row);
  }

  async init(groupId: string, size: GroupSize, client?: SqlClient): Promise<void> {
    const conflict = await (client === undefined || isPool(client)
      ? this.#init(groupId, size)
      : this.#initWith(client, groupId, size));
    if (conflict !== null) throw initConflict(groupId, size.total, conflict);
  }

  async drain(): Promise<void> {
    await this.#writes.drain();
  }

  async #init(groupId: string, size: GroupSize): Promise<Conflict | null> {
    const { database, options, schemaCheck, closed$, announcements } = this.#parts;
    const dueAt = performance.now() + options.retryTimeoutMs;
    const fallback = new SilentFallback(options.notify === "off");
    const purpose = "initialise a group";
    const values = this.#initValues(groupId, size);
    const attempt = async (attemptMs: number): Promise<Conflict | null> => {
      await schemaCheck.pass(attemptMs);
      return fallback.send(async (isSilent) => {
        const text = (isSilent ? this.#silent : this.#loud).init;
        return this.#inOneOfTwoWays<Conflict | null>(attemptMs, {
          byTriggers: async () => {
            const [row] = await database.query<[Conflict | null]>({ purpose, text, values }, attemptMs);
            return row?.[0] ?? null;
          },
          byCounting: async () =>
            this.#count(purpose, attemptMs, async (client) => this.#counting.init(client, groupId, size)),
        });
      });
    };
    const conflict = await retryUntilClosed(attempt, { dueAt, closed$ });
    announcements.after(fallback.isSilent || schemaCheck.withoutTriggers)?.announce("members", [groupId]);
    return conflict;
  }

  async #initWith(client: SqlClient, groupId: string, size: GroupSize): Promise<Conflict | null> {
    return this.#with(client, "initialise a group", {
      byTriggers: async () => {
        const [row] = (await client.query(this.#callers.init, this.#initValues(groupId, size))).rows;
        return (row?.["conflict"] ?? null) as Conflict | null;
      },
      byCounting: async () => this.#counting.init(client, groupId, size),
    });
  }

  #initValues(groupId: string, { total, memberIds, ttlMs, deadlineMs }: GroupSize): unknown[] {
    return [groupId, total, memberIds, ttlMs, deadlineMs, channelOf(this.#parts.options.schema)];
  }

  async #finishWith(client: SqlClient, row: MemberRow): Promise<number> {
    const verdict = await this.#with<Verdict | undefined>(client, "finish a group member", {
      byTriggers: async () => {
        const [found] = (await client.query(this.#callers.finish, memberValues([row]))).rows;
        return [found?.["completed_count"] as number, found?.["conflict"] as Conflict | null];
      },
      byCounting: async () => (await this.#counting.finish(client, [row]))[0],
    }).catch((error: unknown) => {
      throw encodingError(error, row.taskId);
    });
    const outcome = outcomeOf(row, verdict);
    if (outcome instanceof Error) throw outcome;
    return outcome;
  }

  /** As the schema is. If it turns out to be otherwise now, somebody has migrated it meanwhile: nothing has happened then, and the other way is the right one. */
  async #inOneOfTwoWays<T>(timeoutMs: number, ways: Ways<T>): Promise<T> {
    const { schemaCheck } = this.#parts;
    const { withoutTriggers } = schemaCheck;
    try {
      return await (withoutTriggers ? ways.byCounting() : ways.byTriggers());
    } catch (error) {
      if (!(error instanceof SchemaError && (await schemaCheck.hasTurned(withoutTriggers, timeoutMs)))) throw error;
      return withoutTriggers ? ways.byTriggers() : ways.byCounting();
    }
  }

  async #count<T>(purpose: string, timeoutMs: number, work: (client: SqlClient) => Promise<T>): Promise<T> {
    const { database, options } = this.#parts;
    const limits = { timeoutMs, beginTimeoutMs: timeoutMs, lockTimeoutMs: writeLockTimeoutMs(options) };
    return database.transaction(purpose, limits, work);
  }

  /** By a client of the caller's. */
  async #with<T>(client: SqlClient, purpose: string, ways: Ways<T>): Promise<T> {
    const { schemaCheck, database, options } = this.#parts;
    const { isCounting, hold } = this.#countingTexts;
    try {
      // Not by the check, unless it has been made: that takes a connection of the pool, and the caller may have its only one.
      const withoutTriggers = schemaCheck.isGood
        ? schemaCheck.withoutTriggers
        : (await client.query(isCounting, [options.schema])).rows.length > 0;
      const counted = withoutTriggers
        ? await inCallersTransaction(client, hold, async () => ({ outcome: await ways.byCounting() }))
        : undefined;
      return counted === undefined ? await ways.byTriggers() : counted.outcome;
    } catch (error) {
      throw database.wrap(error, purpose);
    }
  }
}

/** How a group is written in a schema that has triggers, and in one that has none. */
interface Ways<T> {
  readonly byTriggers: () => Promise<T>;
  readonly byCounting: () => Promise<T>;
}

/** A pool has no transaction to take part in, and would give each statement of one to another session. */
const isPool = (client: SqlClient): boolean => "totalCount" in client;

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

function initConflict(groupId: string, total: number, conflict: Conflict): GroupConflictError {
  const reasons: Record<Conflict, string> = {
    total: `Group ${groupId} is initialised already, with another total than ${total}.`,
    members: `Group ${groupId} was declared with other members, or others have finished.`,
    overflow: `Group ${groupId} has more finished members than the ${total} it is to have.`,
  };
  return new GroupConflictError(groupId, reasons[conflict]);
}
