import { lanes, Quarantine } from "../../lib/waiting/quarantine";

const names = (count: number): string[] => Array.from({ length: count }, (_, index) => `key ${index}`);
const few = names(lanes.few.maxItems);
const many = names(lanes.few.maxItems + 1);

let quarantine: Quarantine;
beforeEach(() => {
  quarantine = new Quarantine(1_500);
});

afterEach(() => jest.restoreAllMocks());

const placeOf = (key: string): unknown[] => [quarantine.laneOf(key), quarantine.limitOf([key])];

it("reads keys together until a read of them fails", () => {
  expect(placeOf("key 0")).toEqual(["together", undefined]);
});

it("puts many slow keys into smaller reads, few into reads of their own", () => {
  expect(quarantine.separate(many, "together", true)).toBe(true);
  expect(placeOf("key 0")).toEqual(["few", 250]);
  expect(quarantine.separate(few, "few", true)).toBe(true);
  expect(placeOf("key 0")).toEqual(["alone", 250]);
  expect(placeOf(`key ${many.length - 1}`)).toEqual(["few", 250]);
});

it("gives a key that is slow by itself twice the time until it has had all there is", () => {
  quarantine.separate(few, "together", true);
  const limits = [500, 1_000, 1_500].map((limitMs) => ["patient", limitMs]);
  for (const place of limits) {
    expect(quarantine.separate(["key 0"], "alone", true)).toBe(true);
    expect(placeOf("key 0")).toEqual(place);
  }
  expect(quarantine.separate(["key 0"], "patient", true)).toBe(false);
});

it("gives a key all the time there is where a read of it alone was too slow before", () => {
  expect(quarantine.separate(["key 0"], "together", true)).toBe(true);
  expect(placeOf("key 0")).toEqual(["patient", 1_500]);
});

it("limits no read that was refused, and leaves a key alone that is refused by itself", () => {
  expect(quarantine.separate(many, "together", false)).toBe(true);
  expect(placeOf("key 0")).toEqual(["few", undefined]);
  expect(quarantine.separate(few, "few", false)).toBe(true);
  expect(placeOf("key 0")).toEqual(["alone", undefined]);
  expect(quarantine.separate(["key 0"], "alone", false)).toBe(false);
});

it("reads large values by themselves, with a limit where conversions were too slow", () => {
  quarantine.addLarge(["large"], false);
  expect(placeOf("large")).toEqual(["large", undefined]);
  quarantine.addLarge(["large"], true);
  expect(placeOf("large")).toEqual(["large", 1_500]);
});

it("releases keys that could be read, except one that needed much time", () => {
  quarantine.separate(few, "together", true);
  quarantine.separate(["key 0"], "alone", true);
  quarantine.addLarge(["large"], false);
  quarantine.release([...few, "large"]);
  expect(["key 0", "key 1", "large"].map((key) => quarantine.laneOf(key))).toEqual(["patient", "together", "together"]);
});

it("forgets a key that has not failed for a minute", () => {
  quarantine.separate(few, "together", true);
  const now = performance.now();
  jest.spyOn(performance, "now").mockReturnValue(now + 60_001);
  expect(placeOf("key 0")).toEqual(["together", undefined]);
});

it("hurries the sweep for a key ten times, and always for a key that is read with others", () => {
  quarantine.separate(few, "together", false);
  const urgent = Array.from({ length: 12 }, () => quarantine.fail("key 0"));
  expect(urgent).toEqual([...Array.from({ length: 10 }, () => true), false, false]);
  expect(quarantine.fail("another")).toBe(true);
});
