import { ResultEncodingError, ResultValidationError, TaskFailedError } from "../../lib/errors";
import { asJsonText, decodeResult, type ResultSchema, type StoredResult } from "../../lib/value/decoding";
import type { Codec } from "../../lib/value/encoding";
import { encodeFailure } from "../../lib/value/failure";
import { JsonText } from "../../lib/value/json-text";

const stored: StoredResult = { taskId: "task-1", result: "9007199254740993", error: null, storedAt: 0 };
const codec: Codec = { encode: (value) => value, decode: (json) => ({ decoded: json }) };
const anySchema: ResultSchema<unknown> = {
  "~standard": { version: 1, vendor: "spec", validate: (value) => ({ value }) },
};

const decode = async (result: StoredResult, schema?: ResultSchema<unknown>, by?: Codec): Promise<unknown> =>
  Promise.resolve().then(() => decodeResult(result, by, schema));

it("returns at once without a schema", () => {
  expect(decodeResult({ ...stored, result: "[1]" }, undefined, undefined)).toEqual([1]);
  expect(decodeResult({ ...stored, result: "[1]" }, codec, undefined)).toEqual({ decoded: [1] });
});

it("passes the decoded value to the schema", async () => {
  await expect(decode({ ...stored, result: "[1]" }, anySchema, codec)).resolves.toEqual({ decoded: [1] });
});

it("returns the stored text as it is, or that of the decoded value where there is a codec", async () => {
  await expect(decode(stored, asJsonText)).resolves.toEqual(new JsonText("9007199254740993"));
  await expect(decode({ ...stored, result: "1.0" }, asJsonText, codec)).resolves.toEqual(new JsonText('{"decoded":1}'));
});

describe.each([
  ["without a schema", undefined],
  ["with a schema", anySchema],
  ["as JSON text", asJsonText],
])("%s", (_name, schema) => {
  it("throws the error of a failed task", async () => {
    const failed = { ...stored, result: "null", error: encodeFailure(new RangeError("too far")) };
    await expect(decode(failed, schema)).rejects.toBeInstanceOf(TaskFailedError);
    await expect(decode(failed, schema)).rejects.toMatchObject({ failure: { name: "RangeError", message: "too far" } });
  });

  it("throws for a result that is too large to be read", async () => {
    const tooLarge = { ...stored, result: "null", isTooLarge: true };
    await expect(decode(tooLarge, schema)).rejects.toBeInstanceOf(ResultEncodingError);
  });

  it("throws what the codec throws as a validation error", async () => {
    const throwing: Codec = { ...codec, decode: () => JSON.parse("{") as unknown };
    await expect(decode(stored, schema, throwing)).rejects.toBeInstanceOf(ResultValidationError);
  });
});
