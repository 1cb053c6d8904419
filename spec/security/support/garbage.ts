import fc from "fast-check";
import { maxPayloadBytes } from "../../../lib/notifications/payload";

const repeated = (open: string, close: string, most: number): fc.Arbitrary<string> =>
  fc.nat(most).map((count) => open.repeat(count) + close.repeat(count));
const arrayOf = (entry: string): fc.Arbitrary<string> =>
  fc.nat(Math.floor(7_900 / (entry.length + 1))).map((count) => `[${Array(count).fill(entry).join(",")}]`);

const names = fc.constantFrom(
  "ids",
  "chunks",
  "groups",
  "done",
  "members",
  "rescan",
  "v",
  "__proto__",
  "constructor",
  "toString",
);
const versions = fc.constantFrom("0", "2", '"1"', "null", "1.5", "[1]", "1e400", "true", "{}", "-1");
const ids = fc.array(fc.string({ unit: "grapheme", minLength: 1, maxLength: 80 }), { maxLength: 90 });
const inline = fc.tuple(fc.string(), fc.json(), fc.option(fc.json()), fc.maxSafeNat());

/** Payloads that anyone might send, many of them close to valid ones. `awaited` ids are never named in a valid form. */
function anyPayload(awaited: readonly string[]): fc.Arbitrary<string> {
  const quoted = JSON.stringify(awaited);
  const valid = fc.record({ v: fc.constant(1) });
  return fc.oneof(
    fc.string({ unit: "grapheme", maxLength: 300 }),
    fc.json({ maxDepth: 5 }),
    // Deep.
    repeated("[", "]", 3_999),
    repeated('{"v":', "}", 1_300),
    repeated("[", "]", 3_900).map((deep) => `{"v":1,"ids":${deep === "" ? "[" : deep}}`),
    // Wide.
    fc
      .oneof(arrayOf("0"), arrayOf("{}"), arrayOf("[]"), arrayOf('["a","b",null,1,2]'), arrayOf("null"))
      .chain((wide) => names.map((name) => `{"v":1,"${name}":${wide}}`)),
    fc.oneof(arrayOf('""'), arrayOf('"\\u0000"'), arrayOf('"\\ud800"')).map((wide) => `{"v":1,"ids":${wide}}`),
    // Of another version, or not for this library.
    fc.tuple(versions, names).map(([version, name]) => `{"v":${version},"${name}":${quoted}}`),
    fc.constantFrom(
      `{"__proto__":{"v":1,"ids":${quoted}}}`,
      `{"v":1,"__proto__":{"rescan":true,"ids":${quoted}}}`,
      `{"constructor":{"prototype":{"v":1}},"ids":${quoted}}`,
      `{"v":1,"ids":{"length":2,"0":${quoted}}}`,
      `[{"v":1,"ids":${quoted}}]`,
      JSON.stringify(JSON.stringify({ v: 1, ids: awaited })),
    ),
    // Well-formed.
    fc
      .tuple(valid, fc.constantFrom("ids", "chunks", "groups", "done", "members"), ids)
      .map(([payload, name, texts]) => JSON.stringify({ ...payload, [name]: texts })),
    fc.array(inline, { maxLength: 20 }).map((entries) => JSON.stringify({ v: 1, ids: entries })),
    fc
      .constantFrom("__proto__", "constructor", "hasOwnProperty", "")
      .map((id) => `{"v":1,"ids":["${id}"],"done":["${id}"]}`),
  );
}

/** Payloads that fit the limit, some of them exactly. Those that are cut off are invalid too. */
export function garbage(count: number, seed: number, awaited: readonly string[]): string[] {
  const padding = fc.constantFrom(0, 0, 0, maxPayloadBytes);
  return fc
    .sample(fc.tuple(anyPayload(awaited), padding), { numRuns: count, seed })
    .map(([payload, length]) => fit(payload.padEnd(length).replaceAll("\0", "")));
}

function fit(payload: string): string {
  let text = payload;
  while (Buffer.byteLength(text) > maxPayloadBytes)
    text = text.slice(0, text.length - 1 - Math.ceil((Buffer.byteLength(text) - maxPayloadBytes) / 4));
  return text;
}
