import type { SqlClient } from "../result-backend";
import { type CountingStatements, countingStatements } from "./counting-statements";
import { type GroupState, judge, type Judgement, memberKey, type MemberState } from "./group-judge";
import type { Conflict, GroupSize, MemberRow, Verdict } from "./group-rows";

interface LockedGroup extends GroupState {
  readonly placeholders: number;
}

type Columns = Record<string, unknown>;

/**
 * Writes groups in a schema without triggers: what kojin_init_group, kojin_finish_members and the triggers of sql/0003_triggers.sql do, in plain statements. Each method
 * needs a transaction around it, and takes the locks of its groups first: whatever it reads after that stays so until the transaction ends.
 */
export class GroupCounting {
  readonly #texts: CountingStatements;

  constructor(schema: string) {
    this.#texts = countingStatements(schema);
  }

  /** Finishes members; gives what became of each, in their order. */
  async finish(client: SqlClient, rows: readonly MemberRow[]): Promise<readonly Verdict[]> {
    const states = await this.#lock(client, [...new Set(rows.map(({ groupId }) => groupId))]);
    const present = await this.#members(client, rows);
    const judgement = judge(rows, states, present);
    await this.#write(client, judgement);
    return judgement.verdicts;
  }

  /** Says how large a group is; gives null, or why not. */
  async init(client: SqlClient, groupId: string, size: GroupSize): Promise<Conflict | null> {
    const state = (await this.#lock(client, [groupId])).get(groupId) as LockedGroup;
    if (state.initialised) return this.#conflictWithItself(client, groupId, state, size);
    const conflict = await this.#conflictWithFinished(client, groupId, state, size);
    if (conflict !== null) return conflict;
    const { total, memberIds, ttlMs, deadlineMs } = size;
    if (memberIds !== null)
      await client.query(this.#texts.declare, [groupId, memberIds, memberIds.map((_, index) => index + 1)]);
    await client.query(this.#texts.initialise, [groupId, total, memberIds !== null, ttlMs, deadlineMs]);
    return null;
  }

  async #lock(client: SqlClient, groupIds: readonly string[]): Promise<Map<string, LockedGroup>> {
    for (;;) {
      await client.query(this.#texts.ensure, [groupIds]);
      const { rows } = await client.query(this.#texts.lock, [groupIds]);
      // One that was deleted between the two statements is made again: who went on without its lock would count into nothing.
      if (rows.length < groupIds.length) continue;
      const expired = rows.filter((row) => row["expired"] === true).map((row) => row["group_id"] as string);
      if (expired.length > 0) {
        await client.query(this.#texts.forgetMembers, [expired]);
        await client.query(this.#texts.forget, [expired]);
      }
      return new Map(rows.map((row) => [row["group_id"] as string, row["expired"] === true ? fresh : toLocked(row)]));
    }
  }

  async #members(client: SqlClient, rows: readonly MemberRow[]): Promise<Map<string, MemberState>> {
    const pairs = [rows.map(({ groupId }) => groupId), rows.map(({ taskId }) => taskId)];
    const found = (await client.query(this.#texts.members, pairs)).rows as Columns[];
    return new Map(
      found.map((row) => [
        memberKey(row["group_id"] as string, row["task_id"] as string),
        {
          isCompleted: row["completed"] === true,
          isDeclared: row["declared"] === true,
          finishedSeq: row["finished_seq"] as string | null,
        },
      ]),
    );
  }

  async #write(client: SqlClient, { writes, counts }: Judgement): Promise<void> {
    if (writes.length === 0) return;
    await client.query(this.#texts.write, [
      writes.map(({ row }) => row.groupId),
      writes.map(({ row }) => row.taskId),
      writes.map(({ row }) => row.result),
      writes.map(({ row }) => row.error),
      writes.map(({ finishedSeq }) => finishedSeq),
    ]);
    if (counts.length === 0) return;
    await client.query(this.#texts.count, [
      counts.map(({ groupId }) => groupId),
      counts.map(({ completed }) => completed),
      counts.map(({ failed }) => failed),
    ]);
  }

  async #conflictWithItself(
    client: SqlClient,
    groupId: string,
    state: LockedGroup,
    { total, memberIds }: GroupSize,
  ): Promise<Conflict | null> {
    if (state.total !== total) return "total";
    if (memberIds === null) return null;
    const declared = await this.#taskIds(client, this.#texts.declared, [groupId]);
    return declared.length === memberIds.length && declared.every((taskId, index) => taskId === memberIds[index])
      ? null
      : "members";
  }

  async #conflictWithFinished(
    client: SqlClient,
    groupId: string,
    state: LockedGroup,
    { total, memberIds }: GroupSize,
  ): Promise<Conflict | null> {
    if (state.placeholders > total) return "total";
    const finished = state.completed + state.failed;
    if (memberIds === null) return finished > total ? "overflow" : null;
    // One more than there may be is enough to tell.
    const taskIds = await this.#taskIds(client, this.#texts.finished, [groupId, total + 1]);
    const wanted = new Set(memberIds);
    return taskIds.every((taskId) => wanted.has(taskId)) ? null : "members";
  }

  async #taskIds(client: SqlClient, text: string, values: unknown[]): Promise<string[]> {
    return (await client.query(text, values)).rows.map((row) => row["task_id"] as string);
  }
}

/** As a group is of which nothing was said. */
const fresh: LockedGroup = {
  total: null,
  completed: 0,
  failed: 0,
  initialised: false,
  declared: false,
  placeholders: 0,
};

function toLocked(row: Columns): LockedGroup {
  return {
    total: row["total"] === null ? null : Number(row["total"]),
    completed: Number(row["completed"]),
    failed: Number(row["failed"]),
    initialised: row["initialised"] === true,
    declared: row["declared"] === true,
    placeholders: Number(row["placeholders"]),
  };
}
