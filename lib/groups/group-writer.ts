import { randomUUID } from "node:crypto";
import { escapeIdentifier, type QueryResultRow } from "pg";
import { noDeadline } from "../database/caller-client";
import type { Query } from "../database/database";
import { channelOf, type PayloadName } from "../notifications/payload";
import type { ClaimOptions, GroupClaim, SqlClient } from "../result-backend";
import { Notifying } from "../results/announcements";
import {
  type EachAttempt,
  type FencedAttempt,
  fencedWrite,
  type FirstAttempt,
  type WriteParts,
  type Written,
} from "../results/attempts";
import { OutcomeWriter } from "../results/outcome-writer";
import { isInTime } from "../results/expressions";
import { encodingError, type FailureColumns, toDriverError } from "../results/write-errors";
import {
  type Conflict,
  type GroupSize,
  initConflict,
  memberConflict,
  type MemberRow,
  type Verdict,
  winner,
} from "./group-rules";
import { type GroupStatements, groupStatements } from "./group-statements";

const initPurpose = "initialise a group";
const finishPurpose = "finish group members";

/**
 * Time per id: a group of 1 000 000 ids took 53 s on a busy machine, or 53 us per id (43 us with 10 000 ids, 39 us with
 * 100 000). Half of it is for one attempt.
 */
const msPerDeclaredMember = 0.2;
/** Time per member: a group of 100 000 took 0.6 to 0.8 s, or 6 to 8 us per member. */
const msPerDeletedMember = 0.1;
/**
 * Groups with more ids are declared in a transaction that limits the time on the server, at the cost of two round
 * trips.
 */
const maxUnlimitedMembers = 1_000;

/** Initialises groups, finishes their members, and claims done groups. The database counts. */
export class GroupWriter extends OutcomeWriter<MemberRow, number> {
  protected override readonly what = "group members";
  protected override readonly merge = winner;
  readonly #statements: GroupStatements;

  constructor(parts: WriteParts) {
    super(parts);
    this.#statements = groupStatements(parts.options);
  }

  finish(row: MemberRow, client?: SqlClient): Promise<number> {
    if (client !== undefined) return this.#finishWith(client, row);
    // NUL cannot be in an id, so no two pairs have the same key; and pairs are sorted by their groups.
    return this.write(`${row.groupId}\0${row.taskId}`, row);
  }

  async init(groupId: string, size: GroupSize, client?: SqlClient): Promise<void> {
    const { total, memberIds, ttlMs, deadlineMs } = size;
    const values = [groupId, total, memberIds, ttlMs, deadlineMs, channelOf(this.parts.options.schema)];
    const query = { purpose: initPurpose, text: this.#statements.init, values: [...values, null, true] };
    const conflict =
      client === undefined
        ? await this.#init(groupId, memberIds?.length ?? 0, values)
        : conflictOf(await this.parts.database.queryWith(client, query));
    if (conflict !== null) throw initConflict(groupId, total, conflict);
  }

  /** Claims a done group for exactly one caller. */
  async claim(groupId: string, { client, leaseMs }: ClaimOptions): Promise<GroupClaim | undefined> {
    const token = randomUUID();
    const query = { purpose: "claim a group", text: this.#statements.claim, values: [groupId, token, leaseMs ?? null] };
    const unlimited = { ...query, values: [...query.values, noDeadline] };
    const rows =
      client === undefined ? await this.#writeOnce(query) : await this.parts.database.queryWith(client, unlimited);
    if (rows.length === 0) return undefined;
    // Not on the caller's client, whose transaction has ended by the time the work is done.
    const ack = async (): Promise<boolean> => {
      if (leaseMs === undefined) return true;
      const { acknowledge } = this.#statements;
      const acknowledged = { purpose: "acknowledge a claim", text: acknowledge, values: [groupId, token] };
      return (await this.#writeOnce(acknowledged)).length > 0;
    };
    return { groupId, ack };
  }

  /**
   * Deletes a group with its members. Resolves with `true` if there was one. If the answer to a deletion is lost, the
   * retry resolves with `false`.
   */
  async delete(groupId: string, client?: SqlClient): Promise<boolean> {
    const { database, options } = this.parts;
    const query = { purpose: "delete a group", text: this.#statements.deletion };
    if (client !== undefined) {
      const [row] = await database.queryWith(client, { ...query, values: [groupId, noDeadline, null] });
      return row?.["deleted"] === true;
    }
    const [row] = await fencedWrite(this.parts, options.retryTimeoutMs, async (attempt) => {
      const extraMs = (await this.#sizeOf(groupId, attempt.timeoutMs)) * msPerDeletedMember;
      const whenSent = (): Query => {
        return { ...query, values: [groupId, attempt.giveUpAt + extraMs / 1_000, attempt.guardedFrom()] };
      };
      return database.query<[boolean]>({ ...query, values: [], whenSent }, attempt.timeoutMs + extraMs);
    });
    return row?.[0] === true;
  }

  protected override kindOf(): string {
    return "member";
  }

  protected override async sendTogether(rows: readonly MemberRow[], attempt: FirstAttempt): Promise<Written<number>> {
    const values = [...memberValues(rows), attempt.giveUpAt, attempt.notifies];
    const { followUp } = attempt;
    const query = { purpose: finishPurpose, text: this.#statements.finish, isPrepared: true, followUp };
    let times: readonly number[] | undefined;
    const whenSent = (): Query => {
      times = attempt.calledAt();
      return { ...query, values: [...values, times ?? null] };
    };
    type Columns = [...Verdict, isInTime: string | null, writtenBy: string | null];
    const verdicts = await this.parts.database.query<Columns>({ ...query, values, whenSent }, attempt.timeoutMs);
    const writtenBy = Number(verdicts.at(-1)?.[3]) / 1e6;
    return {
      outcomes: rows.map((row, index) => outcomeOf(row, verdicts[index])),
      times: rows.map(() => (times === undefined ? writtenBy : undefined)),
    };
  }

  protected override async sendEach({ rows, limits, timeoutMs }: EachAttempt<MemberRow>): Promise<Written<number>> {
    const { database } = this.parts;
    const values = [...memberValues(rows), ...limits];
    type Columns = [...Verdict, ...FailureColumns];
    const query = { purpose: finishPurpose, text: this.#statements.finishEach, values };
    const verdicts = await database.query<Columns>(query, timeoutMs);
    const outcomes = rows.map((row, index) => {
      const [completed = 0, conflict = null, ...failure] = verdicts[index] ?? [];
      const isWritten = (failure[0] ?? null) === null;
      return isWritten
        ? outcomeOf(row, [completed, conflict])
        : database.wrap(toDriverError(failure as FailureColumns), finishPurpose);
    });
    return { outcomes, times: [] };
  }

  protected override announcementOf(rows: readonly MemberRow[]): [name: PayloadName, ids: readonly string[]] {
    return ["members", [...new Set(rows.map(({ groupId }) => groupId))]];
  }

  async #sizeOf(groupId: string, timeoutMs: number): Promise<number> {
    const query = { purpose: "delete a group", text: this.#statements.size, values: [groupId] };
    const [row] = await this.parts.database.query<[number | null]>(query, timeoutMs);
    return row?.[0] ?? 0;
  }

  async #init(groupId: string, members: number, values: readonly unknown[]): Promise<Conflict | null> {
    const { options, announcements } = this.parts;
    const limitMs = options.retryTimeoutMs + members * msPerDeclaredMember;
    const notifying = new Notifying(announcements.notifies);
    const conflict = await fencedWrite(this.parts, limitMs, (attempt) =>
      notifying.send((notifies) =>
        this.#initOnce([...values, attempt.giveUpAt, notifies], members > maxUnlimitedMembers, attempt),
      ),
    );
    announcements.announce("members", [groupId], notifying);
    return conflict;
  }

  /**
   * Initialises a group with many ids in a transaction that also limits the statement on the server, so that an
   * abandoned attempt does not keep the lock of the group. The commit is sent separately, with the same limit.
   */
  async #initOnce(
    values: unknown[],
    isLarge: boolean,
    { timeoutMs, giveUpAt }: FencedAttempt,
  ): Promise<Conflict | null> {
    const { database, options } = this.parts;
    const text = this.#statements.init;
    if (!isLarge) {
      const [row] = await database.query<[Conflict | null]>({ purpose: initPurpose, text, values }, timeoutMs);
      return row?.[0] ?? null;
    }
    const commitGuard = `select ${isInTime(escapeIdentifier(options.schema), String(giveUpAt))}`;
    const limits = { timeoutMs, beginTimeoutMs: timeoutMs, commitGuard };
    return database.transaction(initPurpose, limits, async (client) =>
      conflictOf((await client.query(text, values)).rows),
    );
  }

  async #finishWith(client: SqlClient, row: MemberRow): Promise<number> {
    const values = [...memberValues([row]), null, true, null];
    const query = { purpose: finishPurpose, text: this.#statements.finish, values };
    const [answer] = await this.parts.database.queryWith(client, query).catch((error: unknown) => {
      throw encodingError(error, row.taskId);
    });
    const outcome = outcomeOf(row, [Number(answer?.["completed"]), answer?.["conflict"] as Conflict | null]);
    if (outcome instanceof Error) throw outcome;
    return outcome;
  }

  /** Runs a statement whose last parameter is the time after which it must not write. */
  async #writeOnce({ purpose, text, values }: Query): Promise<unknown[]> {
    const { database, options } = this.parts;
    return fencedWrite(this.parts, options.retryTimeoutMs, async ({ timeoutMs, giveUpAt }) =>
      database.query({ purpose, text, values: [...values, giveUpAt] }, timeoutMs),
    );
  }
}

const conflictOf = ([row]: readonly QueryResultRow[]): Conflict | null =>
  (row?.["conflict"] ?? null) as Conflict | null;

function memberValues(rows: readonly MemberRow[]): unknown[] {
  return [
    rows.map((row) => row.groupId),
    rows.map((row) => row.taskId),
    // Not null: with array_nulls = off, a session reads NULL in an array as the text 'NULL'.
    rows.map((row) => row.result ?? ""),
    rows.map((row) => row.error ?? ""),
  ];
}

function outcomeOf(
  { groupId, taskId }: MemberRow,
  verdict: readonly [...Verdict, ...unknown[]] | undefined,
): number | Error {
  const [completed = 0, conflict = null] = verdict ?? [];
  return conflict === null ? completed : memberConflict(groupId, taskId, conflict);
}
