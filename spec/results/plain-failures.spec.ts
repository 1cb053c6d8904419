import { PostgresResultBackend, type TaskFailedError } from "kojin-postgres";
import { ownDatabase } from "../support/own-database";

// SQL_ASCII holds any bytes.
const holdsEverything = ["UTF8", "SQL_ASCII"];
const encodings = [...holdsEverything, "LATIN1", "WIN1252", "KOI8R", "EUC_JP", "EUC_KR"];

describe.each(encodings)("in a database with the encoding %s", (encoding) => {
  const url = ownDatabase(encoding, encoding);
  let backend: PostgresResultBackend;
  beforeAll(async () => {
    backend = await PostgresResultBackend.connect(url);
    await backend.migrate();
  });
  afterAll(() => backend.close());
  const failureOf = async (taskId: string): Promise<unknown> => {
    const settled = await backend.waitSettled(taskId, 30_000);
    return (settled as { reason: TaskFailedError }).reason.failure;
  };

  it("a failure is stored whatever is in its text", async () => {
    const texts = ["\0", "\ud83d", "é", "漢", "€", "😀", "𒀀", "\u0080", "\ufffd", "\\u20ac"];
    const failing = texts.map((text, index) =>
      backend.fail(`t${index}`, Object.assign(new Error(`<${text}>`), { details: { [text]: [text] }, code: text })),
    );
    await Promise.all(failing);
    for (const [index, text] of texts.entries()) {
      const failure = (await failureOf(`t${index}`)) as { message: string };
      const kept = text.toWellFormed().replaceAll("\0", "\ufffd");
      const spelledOut = kept.replace(
        /[^\x00-\x7f]/g,
        (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
      );
      if (encoding === "UTF8") expect(failure.message).toBe(`<${kept}>`);
      else expect([`<${kept}>`, `<${spelledOut}>`]).toContain(failure.message);
    }
  });

  it("a failure is stored although its details are nested too deeply for jsonb", async () => {
    let details: unknown = 1;
    for (let depth = 0; depth < 5_000; depth += 1) details = [details];
    await backend.fail("deep", Object.assign(new Error("too deep, 漢"), { details }));
    expect(await failureOf("deep")).toMatchObject({ name: "Error" });
  });

  it("a member of a group fails whatever is in its text", async () => {
    await backend.initGroup("group", 1);
    await backend.failGroupMember("group", "member", new Error("漢\0\ud83d"));
    await expect(backend.waitGroup("group", 30_000)).rejects.toMatchObject({ name: "GroupFailedError" });
  });

  it("a result that the encoding cannot hold rejects its own store", async () => {
    const stores = [backend.store("one", "plain"), backend.store("two", "😀"), backend.store("three", "plain")];
    const outcomes = await Promise.allSettled(stores);
    expect(outcomes.map(({ status }) => status)).toEqual([
      "fulfilled",
      holdsEverything.includes(encoding) ? "fulfilled" : "rejected",
      "fulfilled",
    ]);
  });
});
