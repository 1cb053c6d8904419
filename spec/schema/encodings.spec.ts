import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { migrationScript, PostgresResultBackend } from "kojin-postgres";
import { latestVersion } from "../../lib/schema/migration-files";
import { ownDatabase } from "../support/own-database";

// All server encodings that the driver, which speaks UTF-8, can connect to (PostgreSQL docs, Character Set Support).
// There is no conversion from MULE_INTERNAL to UTF-8.
const encodings = [
  ...[
    "EUC_CN",
    "EUC_JIS_2004",
    "EUC_JP",
    "EUC_KR",
    "EUC_TW",
    "KOI8R",
    "KOI8U",
    "SQL_ASCII",
    "UTF8",
    "WIN866",
    "WIN874",
  ],
  ...[5, 6, 7, 8].map((part) => `ISO_8859_${part}`),
  ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((part) => `LATIN${part}`),
  ...[0, 1, 2, 3, 4, 5, 6, 7, 8].map((part) => `WIN125${part}`),
];

describe("the SQL of migrations", () => {
  const folder = join(__dirname, "..", "..", "sql");
  it.each(readdirSync(folder))("is ASCII in %s, which every encoding has", (file) => {
    expect(readFileSync(join(folder, file), "utf8")).toMatch(/^[\n -~]*$/);
  });

  it("is ASCII in scripts, whatever the name of the schema", () => {
    for (const online of [true, false]) {
      expect(migrationScript({ online })).toMatch(/^[\n -~]*$/);
      const comments = migrationScript({ schema: "\u6f22", online }).match(/^ *--.*$/gm) ?? [];
      expect(comments.join("\n")).toMatch(/^[\n -~]*$/);
    }
  });
});

describe.each(encodings)("a database in %s", (encoding) => {
  const url = ownDatabase(encoding, encoding);
  let backend: PostgresResultBackend;

  beforeAll(async () => {
    backend = await PostgresResultBackend.connect(url, { listen: false });
  });
  afterAll(() => backend.close());

  it("is migrated, and stores what it can hold and every failure", async () => {
    expect((await backend.migrate()).applied).toHaveLength(latestVersion);
    expect((await backend.migrate({ recount: true })).applied).toEqual([]);
    const texts = ["plain", "\u00e9", "\u6f22", "\u0431", "\u20ac", "\u{1f642}"];
    const stored = await Promise.allSettled(
      texts.map(async (text) => backend.store(text === "plain" ? text : `t${text.codePointAt(0) ?? 0}`, { text })),
    );
    expect(stored[0]?.status).toBe("fulfilled");
    for (const [index, outcome] of stored.entries()) {
      const text = texts[index] ?? "";
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "RESULT_ENCODING" });
      else expect(await backend.get(text === "plain" ? text : `t${text.codePointAt(0) ?? 0}`)).toEqual({ text });
    }
    await backend.initGroup("g", 3);
    for (const [index, text] of ["\u0000", "\u6f22", "\u{1f642}"].entries()) {
      const message = `it failed: ${text}!`;
      await backend.fail(`f${index}`, new Error(message, { cause: new TypeError(text) }));
      expect(await backend.getSettled(`f${index}`)).toMatchObject({
        status: "rejected",
        reason: { name: "TaskFailedError", message: expect.stringContaining("it failed: ") as unknown },
      });
      await backend.failGroupMember("g", `m${index}`, new Error(message));
    }
    expect(await backend.getGroup("g")).toMatchObject({ failed: 3, done: true });
  }, 60_000);
});
