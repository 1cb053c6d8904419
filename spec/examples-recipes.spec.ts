import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { runExample } from "./support/run-example";

const folder = join(__dirname, "..", "examples", "recipes");

const orders = `Stored, not committed: others see undefined
Committed: others see { amount: 20 }
Rolled back: there is 1 order, and order-2 is undefined
`;

/** The whole output of each recipe. */
const outputs: Record<string, string | RegExp> = {
  "cancellation.ts": `The patient visitor got "a report of 50 ms".
The other one left after a moment, and the task of a minute ended: the visitor has left.
`,
  // The books complete in any order.
  "pipeline.ts":
    /^(?=.*A Short Walk: 300 words\n)(?=.*A Long Walk: 6000 words\n)(?=.*A Torn Book: pages are missing\n)(.*\n){3}All that could be read: 6300 words\.\n$/s,
  "request-reply/main.ts": `84 / 2 = 42
1 / 0: division by zero
A hundred at once: their sum is 4950.
`,
  "rust-producer.ts": `Stored before this library came: { migrated: true }
Stored by the worker, awaited here: { width: 640 }
A group that the worker began: [ 'a.png', 'b.png', 'c.png' ]
`,
  "sse-progress/main.ts":
    /^0 of 40, 0 failed\n(\d+ of 40, [01] failed\n)*39 of 40, 1 failed\nThe last event is sent, and nothing waits for the group any more\.\n$/,
  "transaction-drizzle.ts": orders,
  "transaction-kysely.ts": orders,
};
const recipes = readdirSync(folder, { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts"))
  .map((path) => path.replaceAll("\\", "/"))
  .filter((path) => readFileSync(join(folder, path), "utf8").startsWith("// npx tsx "))
  .sort();

describe("the recipes", () => {
  it("each have their output here", () => {
    expect(Object.keys(outputs).sort()).toEqual(recipes);
  });

  it.each(recipes)("do what they say, and end by themselves: %s", async (path) => {
    const expected = outputs[path] ?? "the output of this recipe";
    const output = await runExample(`recipes/${path}`);
    if (typeof expected === "string") expect(output).toBe(expected);
    else expect(output).toMatch(expected);
  });
});
