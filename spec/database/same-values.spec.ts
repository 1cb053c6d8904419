import { createSecretKey } from "node:crypto";
import { areSameValues } from "../../lib/database/same-values";

const password = (): string => "secret";
const secret = createSecretKey(Buffer.from("secret"));
const hidden = (key: string): object => Object.defineProperty({}, "key", { value: key, enumerable: false });

describe("two configurations", () => {
  it.each<[string, unknown, unknown]>([
    ["equal values", { port: 5432, ssl: true, host: "a" }, { host: "a", ssl: true, port: 5432 }],
    ["an absent entry and an undefined one", { port: 1, ssl: undefined }, { port: 1 }],
    ["nested objects and arrays", { ssl: { ca: ["a", "b"] } }, { ssl: { ca: ["a", "b"] } }],
    ["equal bytes", { ca: Buffer.from("a") }, { ca: Buffer.from("a") }],
    ["the same function", { password }, { password }],
    ["the same instance of a class", { key: secret }, { key: secret }],
    ["the same hidden entry", hidden("a"), hidden("a")],
    [
      "objects without a prototype",
      Object.assign(Object.create(null), { a: 1 }),
      Object.assign(Object.create(null), { a: 1 }),
    ],
  ])("are the same with %s", (_what, one, other) => {
    expect([areSameValues(one, other), areSameValues(other, one)]).toEqual([true, true]);
  });

  const cyclic = (): object => {
    const value: Record<string, unknown> = {};
    value["self"] = value;
    return value;
  };
  it.each<[string, unknown, unknown]>([
    ["different values", { port: 1 }, { port: 2 }],
    ["a number and its text", { port: 1 }, { port: "1" }],
    ["an entry more", { port: 1 }, { port: 1, ssl: true }],
    ["functions of the same text", { password: () => "a" }, { password: () => "a" }],
    ["instances of a class", { key: secret }, { key: createSecretKey(Buffer.from("secret")) }],
    ["different bytes", { ca: Buffer.from("a") }, { ca: Buffer.from("b") }],
    ["bytes and their text", { ca: Buffer.from("a") }, { ca: "a" }],
    ["arrays of different order", ["a", "b"], ["b", "a"]],
    ["an array and a longer one", ["a"], ["a", undefined]],
    ["different hidden entries", hidden("a"), hidden("b")],
    [
      "getters",
      {
        get a() {
          return 1;
        },
      },
      {
        get a() {
          return 1;
        },
      },
    ],
    [
      "a getter and its value",
      {
        get a() {
          return 1;
        },
      },
      { a: 1 },
    ],
    ["dates", new Date(0), new Date(0)],
    ["maps", new Map(), new Map()],
    ["values that contain themselves", cyclic(), cyclic()],
    ["nothing and an empty object", null, {}],
  ])("are not certain to be the same with %s", (_what, one, other) => {
    expect([areSameValues(one, other), areSameValues(other, one)]).toEqual([false, false]);
  });
});
