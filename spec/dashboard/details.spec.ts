import { escapeIdentifier } from "pg";
import type { PostgresResultBackend } from "kojin-postgres";
import { Details } from "../../lib/dashboard/details";
import { specDatabase } from "../support/spec-database";

describe("the details of tasks", () => {
  const database = specDatabase("dashboard task states");
  const results = `${escapeIdentifier(database.schema)}.kojin_results`;
  let backend: PostgresResultBackend;
  let details: Details;

  beforeEach(async () => {
    backend = await database.open();
    details = new Details(backend.core, true);
  });

  const expire = async (...ids: readonly string[]): Promise<unknown> =>
    database.sql(`update ${results} set expires_at = now() - interval '1 second' where task_id = any ($1)`, [ids]);

  it("search finds no finished task among the running ones, also if there are more results than it returns", async () => {
    const ids = Array.from({ length: 100 }, (_, index) => `job-${String(index + 1).padStart(3, "0")}`);
    await Promise.all(ids.slice(59).map(async (id) => backend.emit(id, 1)));
    await Promise.all(ids.map(async (id) => backend.store(id, 1)));
    await backend.emit("job-200", 1);
    const hits = await details.search("job-");
    expect(hits.filter(({ state }) => state === "succeeded")).toHaveLength(50);
    expect(hits.filter(({ state }) => state !== "succeeded")).toMatchObject([{ id: "job-200", state: "running" }]);
  });

  it("a task whose result has expired is unknown, although its stream would expire later", async () => {
    for (const id of ["expired", "finished"]) {
      await backend.emit(id, "a chunk");
      await backend.store(id, 1);
    }
    await backend.emit("running", "a chunk");
    await expire("expired");
    const states = Object.fromEntries(
      await Promise.all(
        ["expired", "finished", "running"].map(async (id) => {
          const { state, chunkCount } = await details.task(id);
          return [id, [state, chunkCount]] as const;
        }),
      ),
    );
    expect(states).toEqual({ expired: ["unknown", 0], finished: ["succeeded", 1], running: ["running", 1] });
    expect(await details.search("expired")).toEqual([]);
    await expect(backend.get("expired", { mustExist: true })).rejects.toMatchObject({ code: "TASK_NOT_FOUND" });
  });
});
