import { escapeIdentifier } from "pg";
import type { BackendCore } from "../backend-core";
import { carefulText, isPresent, isPresentIn, microsOf } from "../results/expressions";
import { groupColumns, isGroupPresent, type ListedGroup, toListedGroup } from "./group-lists";
import { failureSummary, preview, shorten } from "./previews";

/** A page about one task. Times are in milliseconds since 1970 on the server's clock. */
export interface TaskDetails {
  readonly taskId: string;
  /** `running`: expected or emitting chunks, without a result; `unknown`: nothing is stored. */
  readonly state: "succeeded" | "failed" | "running" | "unknown";
  readonly storedAt: number | null;
  readonly expiresAt: number | null;
  /** Stored size of the result or the failure. */
  readonly bytes: number | null;
  readonly traceContext: string | null;
  /** The result or the failure as JSON; null if it is hidden or large. */
  readonly json: string | null;
  readonly attempt: number | null;
  /** Chunks of the current attempt. */
  readonly chunkCount: number;
  /** The latest chunks, newest first. */
  readonly chunks: readonly { readonly sequence: number; readonly bytes: number; readonly json: string | null }[];
}

export type MemberState = "completed" | "failed" | "open";

interface Member {
  readonly taskId: string;
  readonly state: MemberState;
  readonly finishedAt: number | null;
  readonly bytes: number | null;
  /** The beginning of the result or of the failure; only if results are shown. */
  readonly detail?: string;
}

export interface GroupDetails {
  /** Undefined if there is no such group. */
  readonly group: ListedGroup | undefined;
  readonly members: readonly Member[];
  /** The member after which the next page begins; null on the last page. */
  readonly next: string | null;
  /** When members finished: the number of completed and of failed ones in intervals of equal length. */
  readonly progress: Progress | null;
}

export interface Progress {
  readonly from: number;
  readonly to: number;
  readonly counts: readonly (readonly [interval: number, completed: number, failed: number])[];
  /** True if members finished before `from` that were not read. */
  readonly isCut: boolean;
}

export interface SearchHit {
  readonly kind: "task" | "group";
  readonly id: string;
  readonly state: string;
  readonly at: number | null;
}

const timeoutMs = 2_000;
/** A value of a larger stored size, or with a longer text, is not shown. */
const maxStoredBytes = 64 * 1024;
const maxTextBytes = 256 * 1024;
const shownChunks = 20;
const shownMembers = 100;
const maxScannedMembers = 5_000;
const maxProgressMembers = 10_000;
const progressIntervals = 60;
const maxScannedIds = 2_000;
const maxHits = 50;

const toMs = (micros: unknown): number | null => (micros === null ? null : Number(micros) / 1_000);

/** Reads single tasks and groups, and searches for ids. Each statement reads a bounded number of rows. */
export class Details {
  readonly #core: BackendCore;
  readonly #schema: string;
  readonly #showResults: boolean;

  constructor(core: BackendCore, showResults: boolean) {
    this.#core = core;
    this.#schema = escapeIdentifier(core.options.schema);
    this.#showResults = showResults;
  }

  async task(taskId: string): Promise<TaskDetails> {
    const value = "coalesce(error, result)";
    // $1 text task. Returns its result, if it has one.
    const resultText = `
      select error is not null, ${microsOf("stored_at")}, ${microsOf("expires_at")},
        pg_catalog.pg_column_size(${value}), trace_context, ${this.#json(value)}
      from ${this.#schema}.kojin_results
      where task_id operator(pg_catalog.=) $1::pg_catalog.text and ${isPresent}`;
    // $1 text task. Returns the attempt and the number of the latest chunk of its stream, if it has one, with the
    // latest chunks. The stream of a task with a result lives as long as the result, also if that has expired before.
    const streamText = `
      select stream.attempt, stream.sequence::pg_catalog.text, latest.sequence::pg_catalog.text, latest.bytes, latest.json
      from ${this.#schema}.kojin_streams as stream
      left join ${this.#schema}.kojin_results as result on result.task_id operator(pg_catalog.=) stream.task_id
      left join lateral (
        select emitted.sequence, pg_catalog.pg_column_size(emitted.chunk) as bytes, ${this.#json("emitted.chunk")} as json
        from ${this.#schema}.kojin_chunks as emitted
        where emitted.task_id operator(pg_catalog.=) stream.task_id
          and emitted.attempt operator(pg_catalog.=) stream.attempt
        order by emitted.sequence desc
        limit ${shownChunks}
      ) as latest on true
      where stream.task_id operator(pg_catalog.=) $1::pg_catalog.text
        and case when result.task_id is null then ${isPresentIn("stream")} else ${isPresentIn("result")} end
      order by latest.sequence desc`;
    const [result] = await this.#read("read a result", resultText, [taskId]);
    const stream = await this.#read("read chunks", streamText, [taskId]);
    const [isFailed, storedAt = null, expiresAt = null, bytes = null, traceContext = null, json = null] = result ?? [];
    const [attempt = null, sequence = 0] = stream[0] ?? [];
    const withoutResult = stream.length > 0 ? "running" : "unknown";
    return {
      taskId,
      state: isFailed === undefined ? withoutResult : isFailed === true ? "failed" : "succeeded",
      storedAt: toMs(storedAt),
      expiresAt: toMs(expiresAt),
      bytes: bytes as number | null,
      traceContext: traceContext as string | null,
      json: json as string | null,
      attempt: attempt as number | null,
      chunkCount: Number(sequence),
      chunks: stream
        .filter(([, , chunkSequence]) => chunkSequence !== null)
        .map(([, , chunkSequence, size, text]) => ({
          sequence: Number(chunkSequence),
          bytes: size as number,
          json: text as string | null,
        })),
    };
  }

  /** Reads a group, and the members after one that are in a state, or all of them. */
  async group(groupId: string, after: string, state: MemberState | undefined): Promise<GroupDetails> {
    // $1 text group. Returns its state.
    const stateText = `
      select ${groupColumns}
      from ${this.#schema}.kojin_group_state as state
      where state.group_id operator(pg_catalog.=) $1::pg_catalog.text and ${isGroupPresent}`;
    const [row] = await this.#read("read a group", stateText, [groupId]);
    if (row === undefined) return { group: undefined, members: [], next: null, progress: null };
    const group = toListedGroup(row);
    return { group, ...(await this.#members(groupId, after, state)), progress: await this.#progress(group) };
  }

  /** Returns the tasks and groups whose ids begin with a text. */
  async search(prefix: string): Promise<readonly SearchHit[]> {
    const results = await this.#find(
      "kojin_results",
      "task_id",
      `case when error is null then 'succeeded' else 'failed' end`,
      "stored_at",
      prefix,
    );
    // Streams of finished tasks live as long as the result.
    const hasNoResult = `not exists (
      select from ${this.#schema}.kojin_results as result where result.task_id operator(pg_catalog.=) found.id)`;
    const noTime = "null::timestamp with time zone";
    const streams = await this.#find("kojin_streams", "task_id", "'running'", noTime, prefix, hasNoResult);
    const groups = await this.#find(
      "kojin_group_state",
      "group_id",
      `case when completed_at is null then 'open' else 'done' end`,
      "created_at",
      prefix,
    );
    const toHits = (kind: SearchHit["kind"], rows: unknown[][]): SearchHit[] =>
      rows.map(([id, state, at]) => ({ kind, id: id as string, state: state as string, at: toMs(at) }));
    return [...toHits("task", results), ...toHits("task", streams), ...toHits("group", groups)];
  }

  async #members(
    groupId: string,
    after: string,
    state: MemberState | undefined,
  ): Promise<Pick<GroupDetails, "members" | "next">> {
    const isCompleted = "member.completed and member.result is not null";
    const groups = `${this.#schema}.kojin_groups as member`;
    const detail = this.#showResults
      ? `case when page.state operator(pg_catalog.=) 'failed' then ${failureSummary("member.error")}
          else ${preview("member.result")} end`
      : "null";
    // $1 text group, $2 text member after which to begin, $3 text state or null. Reads the primary key. The
    // placeholders of the Rust crate are left out. Returns the members in that state, and at the end the last member
    // that was looked at with the number of all of them.
    const text = `
      with scanned as materialized (
        select member.task_id, member.stored_at,
          case when ${isCompleted} then 'completed' when member.error is not null then 'failed' else 'open' end as state
        from ${groups}
        where member.group_id operator(pg_catalog.=) $1::pg_catalog.text
          and member.task_id operator(pg_catalog.>) $2::pg_catalog.text
        order by member.task_id
        limit ${maxScannedMembers}
      )
      (
        select page.task_id::pg_catalog.text, page.state, ${microsOf("page.stored_at")},
          pg_catalog.pg_column_size(coalesce(member.error, member.result)), ${detail}
        from (
          select scanned.* from scanned
          where ($3::pg_catalog.text is null or scanned.state operator(pg_catalog.=) $3::pg_catalog.text)
            and not pg_catalog.starts_with(
              scanned.task_id::pg_catalog.text, $1::pg_catalog.text operator(pg_catalog.||) ':placeholder:'::pg_catalog.text)
          order by scanned.task_id
          limit ${shownMembers}
        ) as page
        join ${groups} on member.group_id operator(pg_catalog.=) $1::pg_catalog.text
          and member.task_id operator(pg_catalog.=) page.task_id
        order by page.task_id
      )
      union all
      (
        select scanned.task_id::pg_catalog.text, null, null, (select pg_catalog.count(*)::int from scanned), null
        from scanned
        order by scanned.task_id desc
        limit 1
      )`;
    const rows = await this.#read("read members", text, [groupId, after, state ?? null]);
    const [lastScanned = null, , , scanned = 0] = rows.pop() ?? [];
    const members = rows.map(([taskId, memberState, finishedAt, bytes, shown]): Member => ({
      taskId: taskId as string,
      state: memberState as MemberState,
      finishedAt: toMs(finishedAt),
      bytes: bytes as number | null,
      ...(shown === null ? {} : { detail: shorten(shown as string) }),
    }));
    // Either the page is full, or all members that were looked at are on it.
    const last = members.length === shownMembers ? (members.at(-1)?.taskId ?? null) : (lastScanned as string | null);
    const isOver = last === lastScanned && (scanned as number) < maxScannedMembers;
    return { members, next: isOver ? null : last };
  }

  async #progress({ groupId, completed, failed }: ListedGroup): Promise<Progress | null> {
    // $1 text group. Reads the members that finished last, from the index kojin_groups_finished. Returns the number of
    // completed and of failed ones by interval, with the first and the last time.
    const text = `
      select timed.first_at, timed.last_at,
        least(pg_catalog.width_bucket(timed.at, timed.first_at, timed.last_at operator(pg_catalog.+) 1::double precision, ${progressIntervals}), ${progressIntervals}) as place,
        pg_catalog.count(*) filter (where not timed.is_failed)::int, pg_catalog.count(*) filter (where timed.is_failed)::int
      from (
        select finished.*, pg_catalog.min(finished.at) over () as first_at, pg_catalog.max(finished.at) over () as last_at
        from (
          select pg_catalog.date_part('epoch', member.stored_at) operator(pg_catalog.*) 1000::double precision as at,
            (member.completed and member.result is not null) is not true as is_failed
          from ${this.#schema}.kojin_groups as member
          where member.group_id operator(pg_catalog.=) $1::pg_catalog.text and member.finished_seq is not null
            and pg_catalog.isfinite(member.stored_at)
          order by member.finished_seq desc
          limit ${maxProgressMembers}
        ) as finished
      ) as timed
      group by timed.first_at, timed.last_at, place
      order by place`;
    const rows = await this.#read("read the progress of a group", text, [groupId]);
    const [first] = rows;
    if (first === undefined) return null;
    return {
      from: first[0] as number,
      to: first[1] as number,
      counts: rows.map(([, , place, ...counts]) => [(place as number) - 1, ...(counts as [number, number])]),
      isCut: completed + failed > maxProgressMembers,
    };
  }

  /** Looks at the ids from `prefix` on, in the order of the primary key, and returns those that begin with it. */
  async #find(
    table: string,
    id: string,
    state: string,
    time: string,
    prefix: string,
    condition = "true",
  ): Promise<unknown[][]> {
    const text = `
      select found.id, found.state, ${microsOf("found.time")}
      from (
        select ${id}::pg_catalog.text as id, ${state} as state, ${time} as time, expires_at
        from ${this.#schema}.${table}
        where ${id} operator(pg_catalog.>=) $1::pg_catalog.text
        order by ${id}
        limit ${maxScannedIds}
      ) as found
      where pg_catalog.starts_with(found.id, $1::pg_catalog.text) and ${isPresent} and ${condition}
      limit ${maxHits}`;
    return this.#read("search", text, [prefix]);
  }

  /** The text of a jsonb column, if results are shown and it is not large. */
  #json(column: string): string {
    if (!this.#showResults) return "null::pg_catalog.text";
    return `case when pg_catalog.pg_column_size(${column}) operator(pg_catalog.<=) ${maxStoredBytes}
      then ${carefulText.bounded(column, maxTextBytes)} end`;
  }

  async #read(purpose: string, text: string, values: readonly unknown[]): Promise<unknown[][]> {
    return this.#core.database.query({ purpose, text, values }, timeoutMs);
  }
}
