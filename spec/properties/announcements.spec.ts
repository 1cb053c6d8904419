import fc from "fast-check";
import { Client, escapeIdentifier, escapeLiteral } from "pg";
import { channelOf, decodePayload, type Notification, maxPayloadBytes } from "../../lib/notifications/payload";
import { eventually } from "../support/eventually";
import { specDatabase, withParameter } from "../support/spec-database";
import { anyText, bounded } from "./support/arbitraries";

// A btree entry has at most 2704 bytes (`nbtree.h`). Other writers have no further limit.
const maxForeignIdBytes = 2_600;
/** Characters that take six times as many bytes in JSON. */
const anyEscaped = fc
  .tuple(fc.integer({ min: 1, max: maxForeignIdBytes }), fc.constantFrom("\u0001", '"', "\\", "\u001f"))
  .map(([length, character]) => character.repeat(length));
const anyForeignId = fc.oneof(
  { weight: 5, arbitrary: anyText(600) },
  { weight: 1, arbitrary: anyText(maxForeignIdBytes) },
  { weight: 1, arbitrary: anyEscaped },
);
const anyForeignIds = fc.uniqueArray(anyForeignId, { minLength: 1, maxLength: 150, size: "max" });

describe("what the triggers announce", () => {
  const database = specDatabase("announcements");
  const schema = escapeIdentifier(database.schema);
  const channel = channelOf(database.schema);
  const listener = new Client(withParameter(database.url, "application_name", "spec admin"));
  let payloads: string[] = [];

  beforeAll(async () => {
    await listener.connect();
    listener.on("notification", ({ payload = "" }) => void payloads.push(payload));
    await listener.query(`listen ${channel}`);
  });
  afterAll(async () => listener.end());
  beforeEach(async () => {
    for (const table of ["kojin_results", "kojin_groups", "kojin_group_state"])
      await database.sql(`delete from ${schema}.${table}`);
  });

  let markers = 0;
  /** Waits until everything announced before this call has arrived. */
  async function allArrived(): Promise<void> {
    const marker = `marker ${(markers += 1)}`;
    await database.sql("select pg_notify($1, $2)", [channel, marker]);
    await eventually(() => expect(payloads.at(-1)).toBe(marker), { intervalMs: 2 });
  }

  /** Collects the announcements of one statement, without those of earlier statements such as the deletes before it. */
  async function announcedBy(work: string | (() => Promise<unknown>), values: unknown[] = []): Promise<string[]> {
    await allArrived();
    payloads = [];
    if (typeof work === "string") await database.sql(work, values);
    else await work();
    await allArrived();
    return payloads.slice(0, -1);
  }

  /** Decodes payloads, all of which must be valid and short enough. */
  function decoded(announced: readonly string[]): Notification[] {
    return announced.map((payload) => {
      expect(Buffer.byteLength(payload)).toBeLessThanOrEqual(maxPayloadBytes);
      const notification = decodePayload(payload);
      if (notification === undefined) throw new Error(`It is none of ours: ${payload}`);
      return notification;
    });
  }

  /** Ids that, as JSON, fit no payload. */
  const isTooLong = (id: string): boolean => Buffer.byteLength(JSON.stringify(id)) > 7_900;

  function expectAnnounced(
    ids: readonly string[],
    notifications: readonly Notification[],
    named: readonly string[],
  ): void {
    const fitting = ids.filter((id) => !isTooLong(id));
    expect(named.toSorted()).toEqual(fitting.toSorted());
    expect(notifications.filter(({ rescan }) => rescan)).toHaveLength(fitting.length < ids.length ? 1 : 0);
  }

  it("is each id of a statement once, or a rescan, whatever is written and by which writer", async () => {
    const table = `${schema}.kojin_results`;
    const property = fc.asyncProperty(anyForeignIds, fc.boolean(), async (ids, isUpdate) => {
      const insert = `insert into ${table} (task_id, result) select id, '1' from unnest($1::text[]) as id`;
      await database.sql(`delete from ${table}`);
      if (isUpdate) await announcedBy(insert, [ids]);
      const upsert = `${insert} on conflict (task_id) do update set result = '2'`;
      const notifications = decoded(await announcedBy(upsert, [ids]));
      expectAnnounced(
        ids,
        notifications,
        notifications.flatMap(({ taskIds }) => taskIds),
      );
      // As few payloads as reasonable: each but the last is full or holds one long id.
      const bytes = ids.reduce((sum, id) => sum + Buffer.byteLength(JSON.stringify(id)) + 1, 0);
      const long = ids.filter((id) => Buffer.byteLength(JSON.stringify(id)) > 1_000).length;
      expect(notifications.length).toBeLessThanOrEqual(Math.ceil(bytes / 6_500) + long + 1);
    });
    await fc.assert(property, { numRuns: 100, ...bounded });
  });

  it("is each group that changed, by name as open or as done", async () => {
    const property = fc.asyncProperty(anyForeignIds, fc.nat(), async (ids, share) => {
      const doneIds = ids.filter((_, index) => (index * 7) % 10 < share % 11);
      const openIds = ids.filter((id) => !doneIds.includes(id));
      await database.sql(`delete from ${schema}.kojin_groups`);
      await database.sql(`delete from ${schema}.kojin_group_state`);
      await database.sql(
        `insert into ${schema}.kojin_group_state (group_id, total, initialised) select id, 1, true from unnest($1::text[]) as id`,
        [doneIds],
      );
      const complete = `insert into ${schema}.kojin_groups (group_id, task_id, result, completed) select id, 'm', '1', true from unnest($1::text[]) as id`;
      const notifications = decoded(await announcedBy(complete, [ids]));
      const named = (field: "doneGroupIds" | "groupIds"): string[] =>
        notifications.flatMap((notification) => notification[field]).toSorted();
      expect(named("doneGroupIds")).toEqual(doneIds.filter((id) => !isTooLong(id)).toSorted());
      expect(named("groupIds")).toEqual(openIds.filter((id) => !isTooLong(id)).toSorted());
      // Both are announced in one transaction, which merges equal payloads.
      expect(notifications.filter(({ rescan }) => rescan)).toHaveLength(ids.some(isTooLong) ? 1 : 0);
    });
    await fc.assert(property, { numRuns: 60, ...bounded });
  });

  it("is each result that may travel along, or its id, and never that there is something to look for", async () => {
    const table = `${schema}.kojin_results`;
    const anyResult = fc.oneof(
      { weight: 3, arbitrary: fc.jsonValue({ maxDepth: 2 }) },
      { weight: 1, arbitrary: anyText(4_500) },
      // Escaped once for JSON and again for the payload, each takes four bytes.
      {
        weight: 1,
        arbitrary: fc
          .tuple(fc.integer({ min: 1_900, max: 2_000 }), fc.constantFrom('"', "\\"))
          .map(([length, character]) => character.repeat(length)),
      },
    );
    const anyRows = fc.uniqueArray(fc.record({ id: anyText(512), result: anyResult }), {
      selector: ({ id }) => id,
      minLength: 1,
      maxLength: 30,
      size: "max",
    });
    const property = fc.asyncProperty(anyRows, fc.integer({ min: 1, max: 4_000 }), async (rows, inlineBytes) => {
      await database.sql(`delete from ${table}`);
      const notifications = decoded(
        await announcedBy(
          `with settings as materialized (select set_config('kojin.inline_bytes', $3::int::text, true))
           insert into ${table} (task_id, result)
           select id, result::jsonb from settings, unnest($1::text[], $2::text[]) as batch (id, result)`,
          [rows.map(({ id }) => id), rows.map(({ result }) => JSON.stringify(result)), inlineBytes],
        ),
      );
      const inline = notifications.flatMap((notification) => notification.inline);
      const named = [...notifications.flatMap(({ taskIds }) => taskIds), ...inline.map(({ taskId }) => taskId)];
      expect(named.toSorted()).toEqual(rows.map(({ id }) => id).toSorted());
      expect(notifications.some(({ rescan }) => rescan)).toBe(false);
      const given = new Map(rows.map(({ id, result }) => [id, result]));
      for (const { taskId, result } of inline) {
        expect(Buffer.byteLength(result)).toBeLessThanOrEqual(inlineBytes);
        expect(JSON.parse(result)).toEqual(JSON.parse(JSON.stringify(given.get(taskId))));
      }
    });
    await fc.assert(property, { numRuns: 60, ...bounded });
  });

  it("is said by this library's own statements, each result or its id once, and with the time of its row", async () => {
    const anyRows = fc.uniqueArray(
      fc.record({
        id: anyText(512).filter((id) => id !== ""),
        result: fc.oneof(fc.jsonValue({ maxDepth: 2 }), anyText(2_500)),
        isFailed: fc.boolean(),
      }),
      { selector: ({ id }) => id, minLength: 1, maxLength: 30 },
    );
    const property = fc.asyncProperty(anyRows, fc.constantFrom(0, 300, 4_000), async (rows, inlineResultBytes) => {
      const backend = await database.open({ notify: "trigger", inlineResultBytes });
      const store = async ({ id, result, isFailed }: (typeof rows)[number]): Promise<void> =>
        isFailed ? backend.fail(id, new Error(JSON.stringify(result))) : backend.store(id, result);
      const notifications = decoded(await announcedBy(async () => Promise.all(rows.map(store))));
      await backend.close();
      const inline = notifications.flatMap((notification) => notification.inline);
      const named = [...notifications.flatMap(({ taskIds }) => taskIds), ...inline.map(({ taskId }) => taskId)];
      expect(named.toSorted()).toEqual(rows.map(({ id }) => id).toSorted());
      expect(notifications.some(({ rescan }) => rescan)).toBe(false);
      if (inlineResultBytes === 0) expect(inline).toEqual([]);
      const micros = "(extract(epoch from stored_at) * 1000000)::bigint::text as micros";
      const stored = await database.sql<{ task_id: string; result: unknown; error: unknown; micros: string }>(
        `select task_id, result, error, ${micros} from ${schema}.kojin_results where task_id = any($1::text[])`,
        [inline.map(({ taskId }) => taskId)],
      );
      const byId = new Map(stored.map((row) => [row.task_id, row]));
      for (const { taskId, result, error, storedAt } of inline) {
        expect(Buffer.byteLength(result) + Buffer.byteLength(error ?? "")).toBeLessThanOrEqual(inlineResultBytes);
        const row = { result: JSON.parse(result) as unknown, error: JSON.parse(error ?? "null") as unknown };
        expect(byId.get(taskId)).toEqual({ task_id: taskId, ...row, micros: String(storedAt) });
      }
    });
    await fc.assert(property, { numRuns: 60, ...bounded });
  });

  it.each([
    ["kojin.inline_bytes", "many", "the id"],
    ["kojin.inline_bytes", "99999999999", "the id"],
    ["kojin.inline_bytes", "-1", "the id"],
    ["kojin.payload", "x".repeat(8_000), "a rescan"],
  ])("is whatever %s is, and a write never fails for it", async (setting, value, announced) => {
    const announce = announcedBy(
      `with settings as materialized (select set_config($1, $2, true))
       insert into ${schema}.kojin_results (task_id, result) select 'odd', '1' from settings`,
      [setting, value],
    );
    const rescan = announced === "a rescan";
    expect(decoded(await announce)).toMatchObject([{ taskIds: rescan ? [] : ["odd"], rescan }]);
  });

  it("is for more than 5000 rows only that there is something to look for", async () => {
    const anyCount = fc.oneof(fc.constantFrom(4_999, 5_000, 5_001), fc.integer({ min: 1, max: 12_000 }));
    const property = fc.asyncProperty(anyCount, anyText(30), async (count, text) => {
      await database.sql(`delete from ${schema}.kojin_results`);
      const ids = `select ${escapeLiteral(text)} || i from generate_series(1, ${count}) as i`;
      const insert = `insert into ${schema}.kojin_results (task_id, result) select id, '1' from (${ids}) as made (id)`;
      const notifications = decoded(await announcedBy(insert));
      const named = new Set(notifications.flatMap(({ taskIds }) => taskIds));
      expect(named.size).toBe(count > 5_000 ? 0 : count);
      expect(notifications.filter(({ rescan }) => rescan)).toHaveLength(count > 5_000 ? 1 : 0);
      if (count > 5_000) expect(notifications).toHaveLength(1);
    });
    const examples: [number, string][] = [
      [5_000, "at the limit "],
      [5_001, "beyond it "],
    ];
    await fc.assert(property, { numRuns: 8, examples, ...bounded });
  });

  it.each([5_000, 5_001])("is for %i groups each of them, or that there is something to look for", async (count) => {
    const insert = `insert into ${schema}.kojin_groups (group_id, task_id, result, completed) select 'g' || i, 'm', '1', true from generate_series(1, ${count}) as i`;
    const notifications = decoded(await announcedBy(insert));
    expect(new Set(notifications.flatMap(({ groupIds }) => groupIds)).size).toBe(count > 5_000 ? 0 : count);
    expect(notifications.filter(({ rescan }) => rescan)).toHaveLength(count > 5_000 ? 1 : 0);
  });

  it("is in any case short enough, whatever the entries", async () => {
    const anyEntry = fc.tuple(fc.nat(9_000), fc.constantFrom("x", "é", "漢", "😀")).map(([bytes, character]) => {
      const text = character.repeat(Math.max(1, Math.floor(bytes / Buffer.byteLength(character))));
      return JSON.stringify(text);
    });
    const property = fc.asyncProperty(
      fc.uniqueArray(anyEntry, { minLength: 1, maxLength: 60, size: "max" }),
      fc.constantFrom("ids", "chunks", "groups", "done", "members"),
      async (entries, name) => {
        const announce = `select ${schema}.kojin_announce($1::text, $2::text, $3::text[])`;
        const notifications = decoded(await announcedBy(announce, [channel, name, entries]));
        const named = notifications.flatMap((notification) => [
          ...notification.taskIds,
          ...notification.chunkTaskIds,
          ...notification.groupIds,
          ...notification.doneGroupIds,
          ...notification.memberGroupIds,
        ]);
        const ids = entries.map((entry) => JSON.parse(entry) as string);
        expectAnnounced(ids, notifications, named);
      },
    );
    await fc.assert(property, { numRuns: 60, ...bounded });
  });
});
