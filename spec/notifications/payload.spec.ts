import fc from "fast-check";

import {
  channelOf,
  decodePayload,
  encodePayloads,
  type Notification,
  type PayloadName,
  payloadNames,
  maxPayloadBytes,
} from "../../lib/notifications/payload";
import { maxIdBytes } from "../../lib/value/arguments";

/** Ids as `store` takes them, with the characters that JSON escapes, up to the longest. */
const anyId = fc
  .string({
    unit: fc.oneof(
      fc.constantFrom('"', "\\", "\u0001", "\u001f", "\n", "\u007f", "é", "€", "😀", " "),
      fc.string({ unit: "grapheme", minLength: 1, maxLength: 1 }),
    ),
    minLength: 1,
    maxLength: maxIdBytes,
  })
  .filter((id) => !id.includes("\0") && id.isWellFormed() && Buffer.byteLength(id) <= maxIdBytes);

function expectNotification(notification: Notification | undefined): void {
  if (notification === undefined) return;
  expect(Object.keys(notification).toSorted()).toEqual(Object.keys(nothing).toSorted());
  expect(typeof notification.rescan).toBe("boolean");
  for (const id of Object.values(fields).flatMap((field) => notification[field])) expect(typeof id).toBe("string");
  for (const { taskId, result, error, storedAt } of notification.inline) {
    expect([typeof taskId, typeof result, typeof storedAt]).toEqual(["string", "string", "number"]);
    expect(error === null || typeof error === "string").toBe(true);
  }
}

const nothing: Notification = {
  taskIds: [],
  inline: [],
  chunkTaskIds: [],
  groupIds: [],
  doneGroupIds: [],
  memberGroupIds: [],
  rescan: false,
};
const fields = {
  ids: "taskIds",
  chunks: "chunkTaskIds",
  groups: "groupIds",
  done: "doneGroupIds",
  members: "memberGroupIds",
} as const satisfies Record<PayloadName, keyof Notification>;

const decodeAll = (payloads: readonly string[]): Notification[] =>
  payloads.map((payload) => {
    const notification = decodePayload(payload);
    if (notification === undefined) throw new Error(`It does not take for ours ${payload}`);
    return notification;
  });

describe("decoding", () => {
  it.each<[string, Partial<Notification>]>([
    ['{"v":1,"ids":["a","b"]}', { taskIds: ["a", "b"] }],
    ['{"v":1,"ids":[]}', {}],
    ['{"v":1,"chunks":["a"]}', { chunkTaskIds: ["a"] }],
    ['{"v":1,"groups":["a","b"]}', { groupIds: ["a", "b"] }],
    ['{"v":1,"done":["a"]}', { doneGroupIds: ["a"] }],
    ['{"v":1,"members":["a"]}', { memberGroupIds: ["a"] }],
    ['{"v":1,"rescan":true}', { rescan: true }],
    ['{"v":1,"rescan":true,"ids":["a"]}', { rescan: true }],
    ['{"v":1,"rescan":false,"ids":["a"]}', { taskIds: ["a"] }],
    ['{"v":1,"ids":["a"],"later":"field"}', { taskIds: ["a"] }],
    [
      '{"v":1,"ids":["a",["b","{}",null,1700000000000000,7],["c","null","{}",2,8]]}',
      {
        taskIds: ["a"],
        inline: [
          { taskId: "b", result: "{}", error: null, storedAt: 1_700_000_000_000_000, storedXid: 7 },
          { taskId: "c", result: "null", error: "{}", storedAt: 2, storedXid: 8 },
        ],
      },
    ],
  ])("reads %s", (payload, notification) => {
    expect(decodePayload(payload)).toEqual({ ...nothing, ...notification });
  });

  it.each([
    "",
    " ",
    "a",
    "{",
    "null",
    "1",
    "true",
    '"ids"',
    "[]",
    '["a"]',
    "{}",
    '{"v":1}',
    '{"v":2,"ids":["a"]}',
    '{"v":"1","ids":["a"]}',
    '{"ids":["a"]}',
    '{"v":1,"rescan":"true"}',
    '{"v":1,"rescan":1}',
    '{"v":1,"ids":"a"}',
    '{"v":1,"ids":{"0":"a","length":1}}',
    '{"v":1,"chunks":"a"}',
    '{"v":1,"chunks":[1]}',
    '{"v":1,"groups":"a"}',
    '{"v":1,"groups":["a",1]}',
    '{"v":1,"groups":[["a","{}",null,1]]}',
    '{"v":1,"done":{}}',
    '{"v":1,"done":[null]}',
    '{"v":1,"members":[["a"]]}',
    '{"v":1,"ids":[null]}',
    '{"v":1,"ids":[1]}',
    '{"v":1,"ids":["a",{}]}',
    '{"v":1,"ids":[[]]}',
    '{"v":1,"ids":[["a","{}",null]]}',
    '{"v":1,"ids":[["a","{}",null,1]]}',
    '{"v":1,"ids":[["a","{}",null,1,2,3]]}',
    '{"v":1,"ids":[["a",{},null,1,2]]}',
    '{"v":1,"ids":[["a","{}",{},1,2]]}',
    '{"v":1,"ids":[["a","{}",null,"1",2]]}',
    '{"v":1,"ids":[[1,"{}",null,1,2]]}',
  ])("does not take for ours %j", (payload) => {
    expect(decodePayload(payload)).toBeUndefined();
  });

  it("gives a notification or nothing for any text, and never throws", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 200 }), (payload) =>
        expectNotification(decodePayload(payload)),
      ),
    );
    fc.assert(fc.property(fc.json(), (payload) => expectNotification(decodePayload(payload))));
  });

  it("gives a notification or nothing for any JSON that resembles a payload", () => {
    const rarely = fc.jsonValue({ maxDepth: 2 });
    const anyEntry = fc.oneof(
      { weight: 4, arbitrary: fc.string() },
      { weight: 4, arbitrary: fc.tuple(fc.string(), fc.string(), fc.option(fc.string()), fc.double(), fc.nat()) },
      { weight: 1, arbitrary: fc.array(fc.oneof(fc.string(), fc.constant(null), fc.nat()), { maxLength: 5 }) },
      { weight: 1, arbitrary: rarely },
    );
    const anyPayload = fc.record(
      {
        v: fc.oneof({ weight: 9, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: rarely }),
        ids: fc.oneof({ weight: 9, arbitrary: fc.array(anyEntry, { maxLength: 6 }) }, { weight: 1, arbitrary: rarely }),
        groups: fc.array(fc.oneof(fc.string(), rarely), { maxLength: 6 }),
        done: fc.array(fc.oneof(fc.string(), rarely), { maxLength: 6 }),
        members: fc.array(fc.oneof(fc.string(), rarely), { maxLength: 6 }),
        rescan: fc.oneof(fc.boolean(), rarely),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(anyPayload, (payload) => expectNotification(decodePayload(JSON.stringify(payload)))),
      { numRuns: 1_000 },
    );
  });

  // What no result can have as its id would be sent to the database by a stream of all results and fail the whole read.
  it.each([
    ["NUL", String.raw`{"v":1,"ids":["\u0000"]}`],
    ["NUL, of an inline result", String.raw`{"v":1,"ids":[["\u0000","{}",null,1]]}`],
    ["NUL, of a task with chunks", String.raw`{"v":1,"chunks":["\u0000"]}`],
    ["NUL, of a group", String.raw`{"v":1,"groups":["\u0000"]}`],
    ["NUL, of a group that is done", String.raw`{"v":1,"done":["\u0000"]}`],
  ])("passes on no id with %s", (_what, payload) => {
    expect(decodePayload(payload) ?? nothing).toEqual(nothing);
  });

  // A feed takes the largest time it has seen as the one from which it catches up.
  it("passes on no inline result with a time that is not finite", () => {
    expect(decodePayload('{"v":1,"ids":[["a","{}",null,1e999]]}')?.inline ?? []).toEqual([]);
  });
});

describe("encoding", () => {
  it("makes no payload for no id", () => {
    expect(encodePayloads("ids", [])).toEqual([]);
  });

  it("makes one payload for a few ids, as the trigger would", () => {
    expect(encodePayloads("ids", ["a", 'b"\\', "é"])).toEqual([String.raw`{"v":1,"ids":["a","b\"\\","é"]}`]);
  });

  it("takes its ids from a Set as well", () => {
    expect(encodePayloads("ids", new Set(["a", "b", "a"]))).toEqual(['{"v":1,"ids":["a","b"]}']);
  });

  it.each(payloadNames)("says in each payload what it names: %s", (name) => {
    const [notification] = decodeAll(encodePayloads(name, ["a"]));
    expect(notification).toEqual({ ...nothing, [fields[name]]: ["a"] });
  });

  it("makes as few payloads as fit, each nearly full", () => {
    const payloads = encodePayloads(
      "ids",
      Array.from({ length: 5_000 }, (_, index) => `task-${String(index).padStart(5, "0")}`),
    );
    expect(payloads).toHaveLength(10);
    for (const payload of payloads.slice(0, -1)) expect(Buffer.byteLength(payload)).toBeGreaterThan(6_900);
  });

  it("stays below the limit with the longest ids, of characters that escaping makes six times as long", () => {
    const ids = Array.from({ length: 50 }, (_, index) => "\u0001".repeat(maxIdBytes - 2) + String(index + 10));
    const payloads = encodePayloads("groups", ids);
    expect(Math.max(...payloads.map((payload) => Buffer.byteLength(payload)))).toBeLessThanOrEqual(maxPayloadBytes);
    expect(decodeAll(payloads).flatMap(({ groupIds }) => groupIds)).toEqual(ids);
  });

  it("puts every id into exactly one payload, in order, and no payload is too long", () => {
    fc.assert(
      fc.property(fc.constantFrom(...payloadNames), fc.array(anyId, { size: "large", maxLength: 100 }), (name, ids) => {
        const payloads = encodePayloads(name, ids);
        for (const payload of payloads) expect(Buffer.byteLength(payload)).toBeLessThanOrEqual(maxPayloadBytes);
        const named = decodeAll(payloads).flatMap((notification) => notification[fields[name]]);
        expect(named).toEqual(ids);
      }),
    );
  });
});

/** PostgreSQL docs, "Identifiers and Key Words": NAMEDATALEN - 1. */
const maxIdentifierBytes = 63;

describe("the channel of a schema", () => {
  it.each([
    ["public", "kojin_efa1f375d76194fa"],
    ['My "Quoted" Schémà', "kojin_8fda778378de9e65"],
  ])("is the start of the SHA-256 of its name, as the trigger computes it: %s", (schema, channel) => {
    expect(channelOf(schema)).toBe(channel);
  });

  it("needs no quotes and fits an identifier, whatever the schema is called", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (schema) => {
        expect(channelOf(schema)).toMatch(/^[a-z_][a-z0-9_]*$/);
        expect(channelOf(schema).length).toBeLessThanOrEqual(maxIdentifierBytes);
      }),
    );
  });

  it("differs for schemas that differ only in case, or in their last character", () => {
    const schemas = ["app", "App", "APP", "app ", "x".repeat(63), `${"x".repeat(62)}y`];
    expect(new Set(schemas.map(channelOf)).size).toBe(schemas.length);
  });
});
