import { escapeIdentifier } from "pg";
import type { Database, Query } from "../database/database";
import { channelOf } from "../notifications/payload";
import type { SqlClient } from "../result-backend";
import { BatchedWrites } from "../results/batched-writes";
import { isInTime } from "../results/expressions";
import { fencedWrite } from "../results/fenced-write";
import { writePlainly } from "../results/plain-failure";
import type { WriteCounters, WriteParts } from "../results/write-rules";
import { Notifying } from "../results/notifying";
import { type FailureColumns, toDriverError } from "../results/write-errors";
import { encodingError, rowLockTimeoutMs, writeLockTimeoutMs } from "../results/writer";
import {
  type Conflict,
  type GroupSize,
  initConflict,
  memberConflict,
  type MemberRow,
  type Verdict,
  winner,
} from "./group-rules";
import { type GroupWriteStatements, groupWriteStatements } from "./group-write-statements";

export interface GroupWriterParts extends WriteParts {
  readonly database: Database;
}

/** Initialises groups and finishes their members. The database counts. */
export class GroupWriter {
  readonly #parts: GroupWriterParts;
  readonly #statements: GroupWriteStatements;
  readonly #writes: BatchedWrites<MemberRow, number>;

  constructor(parts: GroupWriterParts) {
    const { options, database } = parts;
    this.#parts = parts;
    const purpose = "finish group members";
    const statements = groupWriteStatements(options.schema, rowLockTimeoutMs(options));
    this.#statements = statements;
    this.#writes = new BatchedWrites<MemberRow, number>(parts, {
      what: "group members",
      merge: winner,
      split: () => "",
      send: async (rows, { notifies, timeoutMs, giveUpAt, calledAt }) => {
        const text = statements[notifies ? "own" : "unannounced"].finish;
        const values = [...memberValues(rows), giveUpAt];
        const query = { purpose, text, isPrepared: true };
        let times: readonly number[] | undefined;
        const whenSent = (): Query => {
          times = calledAt();
          return { ...query, values: [...values, times ?? null] };
        };
        type Columns = [...Verdict, isInTime: string, writtenBy: string];
        const verdicts = await database.query<Columns>({ ...query, values, whenSent }, timeoutMs);
        return {
          outcomes: rows.map((row, index) => outcomeOf(row, toVerdict(verdicts[index]))),
          times: rows.map((_, index) => (times === undefined ? Number(verdicts[index]?.[3]) / 1e6 : undefined)),
        };
      },
      sendEach: async (guarded, attempt) => {
        const rows = guarded.map(({ row }) => row);
        const values = [
          ...memberValues(rows),
          guarded.map(({ calledAt }) => calledAt),
          guarded.map(({ dueAt }) => dueAt),
          attempt.giveUpAt,
          attempt.isOneByOne,
          ...[attempt.rowLockMs, attempt.lockBudgetMs, writeLockTimeoutMs(options)].map(Math.round),
          attempt.notifies,
        ];
        const query = { purpose, text: statements.finishEach, values };
        type Columns = [...Verdict, ...FailureColumns];
        const verdicts = await database.query<Columns>(query, attempt.timeoutMs);
        const outcomes = verdicts.map(([completed, conflict, ...failure], index) =>
          failure[0] === null
            ? outcomeOf(rows[index] as MemberRow, [completed, conflict])
            : database.wrap(toDriverError(failure), purpose),
        );
        return { outcomes, times: [] };
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
    return writePlainly(row, (written) => {
      const bytes = Buffer.byteLength(written.result ?? "") + Buffer.byteLength(written.error ?? "");
      return this.#writes.write(`${written.groupId}\0${written.taskId}`, bytes, written);
    });
  }

  async init(groupId: string, size: GroupSize, client?: SqlClient): Promise<void> {
    const conflict = await (client === undefined || isPool(client)
      ? this.#init(groupId, size)
      : this.#initWith(client, groupId, size));
    if (conflict !== null) throw initConflict(groupId, size.total, conflict);
  }

  async drain(endsAt?: number): Promise<void> {
    await this.#writes.drain(endsAt);
  }

  close(): void {
    this.#writes.close();
  }

  async #init(groupId: string, size: GroupSize): Promise<Conflict | null> {
    const { database, options, announcements } = this.#parts;
    const limitMs = options.retryTimeoutMs + (size.memberIds?.length ?? 0) * msPerDeclaredMember;
    const notifying = new Notifying(announcements.notifies);
    const purpose = "initialise a group";
    const isLarge = (size.memberIds?.length ?? 0) > maxUnlimitedMembers;
    const values = this.#initValues(groupId, size);
    const conflict = await fencedWrite(this.#parts, limitMs, ({ timeoutMs, giveUpAt }) =>
      notifying.send(async (notifies) => {
        const text = this.#statements[notifies ? "own" : "unannounced"].init;
        const fenced = [...values, giveUpAt];
        if (isLarge) return this.#initLarge(purpose, text, fenced, timeoutMs, giveUpAt);
        const [row] = await database.query<[Conflict | null]>({ purpose, text, values: fenced }, timeoutMs);
        return row?.[0] ?? null;
      }),
    );
    announcements.after(notifying)?.announce("members", [groupId]);
    return conflict;
  }

  /**
   * In a transaction that limits the statement on the server, too: an attempt that was given up does not go on holding the lock of the group. Its commit travels by itself, so it
   * has the same limit as the statement.
   */
  async #initLarge(
    purpose: string,
    text: string,
    values: unknown[],
    attemptMs: number,
    giveUpAt: number,
  ): Promise<Conflict | null> {
    const commitGuard = `select ${isInTime(escapeIdentifier(this.#parts.options.schema), String(giveUpAt))}`;
    const limits = { timeoutMs: attemptMs, beginTimeoutMs: attemptMs, commitGuard };
    return this.#parts.database.transaction(purpose, limits, async (client) => {
      const [row] = (await client.query(text, values)).rows;
      return (row?.["conflict"] ?? null) as Conflict | null;
    });
  }

  async #initWith(client: SqlClient, groupId: string, size: GroupSize): Promise<Conflict | null> {
    const [row] = await this.#with(
      client,
      "initialise a group",
      this.#statements.forCaller.init,
      this.#initValues(groupId, size),
    );
    return (row?.["conflict"] ?? null) as Conflict | null;
  }

  #initValues(groupId: string, { total, memberIds, ttlMs, deadlineMs }: GroupSize): unknown[] {
    return [groupId, total, memberIds, ttlMs, deadlineMs, channelOf(this.#parts.options.schema)];
  }

  async #finishWith(client: SqlClient, row: MemberRow): Promise<number> {
    const [found] = await this.#with(
      client,
      "finish a group member",
      this.#statements.forCaller.finish,
      memberValues([row]),
    ).catch((error: unknown) => {
      throw encodingError(error, row.taskId);
    });
    const outcome = outcomeOf(row, [Number(found?.["completed_count"]), found?.["conflict"] as Conflict | null]);
    if (outcome instanceof Error) throw outcome;
    return outcome;
  }

  /** Runs a statement by a client of the caller's. */
  async #with(
    client: SqlClient,
    purpose: string,
    text: string,
    values: unknown[],
  ): Promise<readonly Record<string, unknown>[]> {
    try {
      return (await client.query(text, values)).rows;
    } catch (error) {
      throw this.#parts.database.wrap(error, purpose);
    }
  }
}

/** A group of 1 000 000 ids took 53 s on a busy machine, 53 us for each (43 of 10 000 ids, 39 of 100 000). Half of it is for one attempt. */
const msPerDeclaredMember = 0.2;
/** Groups with more ids are declared in a transaction, of two more trips, which limits the time on the server. */
const maxUnlimitedMembers = 1_000;

/** A pool has no transaction to take part in, and would give each statement of one to another session. */
const isPool = (client: SqlClient): boolean => "totalCount" in client;

function memberValues(rows: readonly MemberRow[]): unknown[] {
  return [
    rows.map((row) => row.groupId),
    rows.map((row) => row.taskId),
    // Not null: with array_nulls = off, a session reads NULL in an array as the text 'NULL'.
    rows.map((row) => row.result ?? ""),
    rows.map((row) => row.error ?? ""),
  ];
}

const toVerdict = (columns: readonly [...Verdict, ...unknown[]] | undefined): Verdict | undefined =>
  columns && [columns[0], columns[1]];

function outcomeOf({ groupId, taskId }: MemberRow, verdict: Verdict | undefined): number | Error {
  const [completed = 0, conflict = null] = verdict ?? [];
  return conflict === null ? completed : memberConflict(groupId, taskId, conflict);
}
