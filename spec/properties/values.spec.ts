import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { ResultEncodingError, type PostgresResultBackend } from "kojin-postgres";
import { specDatabase } from "../support/spec-database";
import { anyUnit, bounded } from "./support/arbitraries";

/** JSON text, or `undefined` for what has none. The type of `JSON.stringify` omits that. */
const jsonText = (value: unknown): string | undefined => JSON.stringify(value);

/** The value that JSON brings back, without everything that JSON loses. */
const asJson = (value: unknown): unknown => JSON.parse(jsonText(value) ?? "null") as unknown;

function nested(depth: number): unknown {
  let value: unknown = "innermost";
  for (let level = 0; level < depth; level += 1) value = level % 2 === 0 ? [value] : { level: value };
  return value;
}

const ownProto = (value: unknown): unknown => JSON.parse(`{"__proto__":${String(jsonText(value))}}`) as unknown;

const edges: readonly unknown[] = [
  undefined,
  null,
  -0,
  NaN,
  Infinity,
  Number.MAX_SAFE_INTEGER,
  Number.MAX_SAFE_INTEGER + 2,
  Number.MAX_VALUE,
  -Number.MAX_VALUE,
  Number.MIN_VALUE,
  2 ** -1_022,
  0.1 + 0.2,
  1e21,
  1e-7,
  123456789012345680000,
  "",
  "null",
  '"quoted"',
  "{}",
  "[1]",
  "{a,b}",
  String.raw`\u0000`,
  String.raw`\\u0000\ud800`,
  "😀\u2028\uffff",
  "'); drop table kojin_results; --",
  [],
  {},
  [[]],
  [null, undefined, () => 1],
  { "": "empty key", 'key with "quotes" and \\': 1, 漢字: 2, "{}": 3 },
  { left: undefined, out: () => 1, kept: [] },
  { v: 1, ids: ["looks like a payload"] },
  { error: { name: "Error" }, result: null, status: "rejected" },
  ownProto({ polluted: true }),
  { constructor: 1, toString: 2, hasOwnProperty: 3, toPostgres: 4 },
  { toPostgres: (): string => "hijacked" },
  new Date(0),
  new Map([[1, 2]]),
  Buffer.from("bytes"),
  new Uint8Array([1, 2]),
  nested(1_000),
  Array.from({ length: 20_000 }, (_, index) => index / 7),
  Object.fromEntries(Array.from({ length: 2_000 }, (_, index) => [`key ${index}`, index])),
  "x".repeat(100_000),
  '"\\'.repeat(20_000),
];

const anyValue = fc.oneof(
  { weight: 4, arbitrary: fc.jsonValue({ stringUnit: anyUnit, maxDepth: 4 }) },
  { weight: 2, arbitrary: fc.constantFrom(...edges) },
  { weight: 1, arbitrary: fc.double() },
  { weight: 1, arbitrary: fc.jsonValue({ stringUnit: anyUnit }).map(ownProto) },
  { weight: 1, arbitrary: fc.jsonValue({ stringUnit: anyUnit }).map((value) => jsonText(value)) },
);

function cyclic(): unknown {
  const value: Record<string, unknown> = {};
  value["self"] = [value];
  return value;
}

const anyUnstorable = fc
  .constantFrom<readonly unknown[]>(
    [1n],
    [{ deep: [1n] }],
    [cyclic()],
    [() => 1],
    [Symbol("s")],
    ["\0"],
    [{ "\0": 1 }],
    [["\ud800"]],
    [{ "a\udfff": 1 }],
    [{ toJSON: (): undefined => undefined }],
    [
      {
        toJSON: (): never => {
          throw new Error("not today");
        },
      },
    ],
  )
  .map(([value]) => value);

interface Given {
  readonly value: unknown;
  readonly isStorable: boolean;
}

const anyBatch = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: anyValue.map((value): Given => ({ value, isStorable: true })) },
    { weight: 1, arbitrary: anyUnstorable.map((value): Given => ({ value, isStorable: false })) },
  ),
  { minLength: 1, maxLength: 60, size: "max" },
);

/** Jest's own comparison distinguishes -0 from 0, but not an object with the key `__proto__` from one without. */
function expectSame(found: readonly unknown[], given: readonly Given[]): void {
  const expected = given.map(({ value }) => asJson(value));
  expect(found).toHaveLength(expected.length);
  const different = expected.findIndex((value, index) => !isDeepStrictEqual(found[index], value));
  if (different >= 0) expect(found[different]).toEqual(expected[different]);
  expect(different).toBe(-1);
}

describe("any value", () => {
  const database = specDatabase("any value");
  let storing: PostgresResultBackend;
  let reading: PostgresResultBackend;
  let batches = 0;

  beforeEach(async () => {
    storing = await database.open();
    reading = await database.open();
  });

  /** Writes a batch in one turn, so that it travels together. Exactly the values that cannot be stored must fail. */
  async function writeAll(
    given: readonly Given[],
    write: (value: unknown, index: number) => Promise<unknown>,
  ): Promise<void> {
    const settled = await Promise.allSettled(given.map(async ({ value }, index) => write(value, index)));
    const rejected = settled.flatMap((each, index) => (each.status === "rejected" ? [index] : []));
    expect(rejected).toEqual(given.flatMap(({ isStorable }, index) => (isStorable ? [] : [index])));
    for (const each of settled) if (each.status === "rejected") expect(each.reason).toBeInstanceOf(ResultEncodingError);
  }

  it("is read as JSON gives it, and what JSON cannot hold fails alone", async () => {
    const property = fc.asyncProperty(anyBatch, async (given) => {
      batches += 1;
      const id = (index: number): string => `batch ${batches} ${index}`;
      await writeAll(given, async (value, index) => storing.store(id(index), value));
      const found = await Promise.all(given.map(async (_, index) => reading.getSettled<unknown>(id(index))));
      expect(found.filter((each, index) => (each !== undefined) !== given[index]?.isStorable)).toEqual([]);
      const values = found.flatMap((each) => (each?.status === "fulfilled" ? [each.value] : []));
      const storable = given.filter(({ isStorable }) => isStorable);
      expectSame(values, storable);
      const waited = await Promise.all(
        given.flatMap(({ isStorable }, index) => (isStorable ? [reading.wait<unknown>(id(index), 0)] : [])),
      );
      expectSame(waited, storable);
    });
    // Every edge case, besides those found by chance.
    const examples: [Given[]][] = [[edges.map((value) => ({ value, isStorable: true }))]];
    await fc.assert(property, { numRuns: 50, examples, ...bounded });
  });

  it("is the result of a group's member as JSON gives it, and what JSON cannot hold fails alone", async () => {
    const property = fc.asyncProperty(anyBatch, async (given) => {
      batches += 1;
      const groupId = `group ${batches}`;
      const storable = given.filter(({ isStorable }) => isStorable);
      const members = given.flatMap(({ isStorable }, index) => (isStorable ? [`m${index}`] : []));
      await storing.initGroup(groupId, members);
      await writeAll(given, async (value, index) => storing.completeGroupMember(groupId, `m${index}`, value));
      expectSame(await reading.getGroupResults(groupId), storable);
      expectSame(await reading.waitGroup(groupId, 0), storable);
    });
    const examples: [Given[]][] = [[edges.map((value) => ({ value, isStorable: true }))]];
    await fc.assert(property, { numRuns: 50, examples, ...bounded });
  });
});
