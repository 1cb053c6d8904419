import { readdirSync } from "node:fs";
import { join } from "node:path";
import { runExample } from "./support/run-example";

/** A line of output that shows that the example did its work. */
const characteristicLines: Record<string, RegExp> = {
  "chord.ts": /^4 claimers competed for sources; \w+ got it\.\nCallbacks that ran: documents, sources\.$/m,
  "chunks.ts": /^One reader has read: Forty two\. The other one: Forty two\.\nThe result: \{ words: 2 \}$/m,
  "fan-out.ts": /^index\.ts failed .*, so it is done once more\.\n(.*\n)*All \d+ files: [\d,]+ bytes, [0-9a-f]{12}…$/m,
  "known-tasks.ts": /^report-7: 202 .*\nreport-8: 404 .*\nreport-7: 200 \{"pages": 12\}$/m,
  "quick-start.ts": /^Task invoice:\S+ has the result \{ total: 42 \}$/m,
  "reactive.ts": /^The upload: the user left; open waits: 0$/m,
  "transaction.ts": /^Committed, and the wait has ended with \{ amount: 20 \}$/m,
};
const examples = readdirSync(join(__dirname, "..", "examples")).filter((name) => name.endsWith(".ts"));

describe("the examples", () => {
  it("each have a line here that shows that they work", () => {
    expect(Object.keys(characteristicLines).sort()).toEqual([...examples].sort());
  });

  it.each(examples)("run to their end by themselves: %s", async (name) => {
    expect(await runExample(name)).toMatch(characteristicLines[name] ?? "the line of this example");
  });
});
