import fc from "fast-check";
import { specDatabase } from "../support/spec-database";
import { ResultEncodingError } from "../../lib/errors";
import { decodeFailure, encodeFailure } from "../../lib/value/failure";
import { encodeResult } from "../../lib/value/json";
import { JsonText } from "../../lib/value/json-text";
import { fitsAsJsonb } from "../../lib/value/jsonb-text";

describe("the size of a JSON text as jsonb writes it", () => {
  const database = specDatabase("jsonb text");

  it("is known before it is stored", async () => {
    const digits = fc.stringMatching(/^\d{1,8}$/);
    const number = fc
      .tuple(
        fc.constantFrom("", "-"),
        fc.nat(10_000).map(String),
        fc.option(digits),
        fc.integer({ min: -400, max: 400 }),
      )
      .map(([sign, whole, fraction, power]) => `${sign}${whole}${fraction === null ? "" : `.${fraction}`}e${power}`);
    const word = fc.constantFrom(
      "true",
      "false",
      "null",
      "[]",
      '"1e5"',
      '"\\"1e5,"',
      '"é: 1e9"',
      '{"a":1e3,\n"b": [ ]}',
    );
    const texts = fc
      .sample(fc.array(fc.oneof(number, word), { minLength: 1, maxLength: 12 }), 300)
      .map((each) => `[1e0,${each.join(" ,")}]`);
    const rows = await database.sql<{ bytes: number }>(
      "select octet_length(text::jsonb::text) as bytes from unnest($1::text[]) with ordinality as t (text, place) order by place",
      [texts],
    );
    const wrong = rows.filter(({ bytes }, index) => {
      const text = texts[index] ?? "";
      return !fitsAsJsonb(text, bytes) || fitsAsJsonb(text, bytes - 1);
    });
    expect(wrong).toEqual([]);
  });

  it.each([
    ["1e308", Array.from({ length: 1_000 }, () => 1e308)],
    ["5e-324", Array.from({ length: 1_000 }, () => 5e-324)],
    ["as written", new JsonText(`[${Array.from({ length: 10 }, () => "1e131071").join()}]`)],
  ])("decides over results: %s", (_name, value) => {
    expect(() => encodeResult("task", value, 100_000)).toThrow(ResultEncodingError);
    expect(encodeResult("task", value, 64 * 1024 * 1024)).toContain("e");
  });

  it("takes time that grows with the text alone", () => {
    const text = `[1e5,${"1".repeat(2_000_000)},"${"2e5".repeat(1_000_000)}"]`;
    const startedAt = performance.now();
    expect(fitsAsJsonb(text, 6_000_000)).toBe(true);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });

  it("takes the details from a failure, and a code that is larger than any", () => {
    const details = Array.from({ length: 1_000 }, () => 1e308);
    const failure = decodeFailure(encodeFailure(Object.assign(new Error("m"), { code: 1e308, details }), 10_000));
    expect(failure).toEqual({ name: "Error", message: "m", code: 1e308 });
    const code = new JsonText("1e131000");
    expect(decodeFailure(encodeFailure(Object.assign(new Error("m"), { code }), 10_000))).toEqual({
      name: "Error",
      message: "m",
    });
  });

  it("is that of members of groups, too, and a number that jsonb refuses concerns its own call", async () => {
    const backend = await database.open({ maxResultBytes: 10_000 });
    const large = Array.from({ length: 1_000 }, () => 1e308);
    await backend.initGroup("group", 1);
    await expect(backend.completeGroupMember("group", "a", large)).rejects.toMatchObject({ taskId: "a" });
    await backend.failGroupMember("group", "a", Object.assign(new Error("m"), { details: large }));
    await expect(backend.waitGroup("group", 0)).rejects.toMatchObject({ failures: [{ taskId: "a" }] });
    const stores = [backend.store("no", new JsonText("1e-20000")), backend.store("yes", 1)];
    expect((await Promise.allSettled(stores)).map(({ status }) => status)).toEqual(["rejected", "fulfilled"]);
  });
});
