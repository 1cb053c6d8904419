import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { interval } from "rxjs";
import { specDatabase } from "../support/spec-database";

const processes = 4;
const tasksEach = 250;
const chunks = 100;

describe("a listener that is killed every 100 ms", () => {
  const database = specDatabase("killed chunk listener");

  it("delays the chunks of 1 000 tasks in 4 processes, and loses, repeats or swaps none", async () => {
    const following = await database.open();
    await following.ready();
    let kills = 0;
    const killing = interval(100).subscribe(() => {
      void database.terminateListeners().then(
        () => (kills += 1),
        () => undefined,
      );
    });
    const streams = Array.from({ length: processes * tasksEach }, async (_, task) => {
      const seen: unknown[] = [];
      await following.chunks$(`task ${task}`).forEach((chunk) => {
        seen.push(chunk.kind === "chunk" && chunk.value === chunk.sequence ? chunk.value : chunk);
      });
      return seen;
    });
    const children = Array.from({ length: processes }, (_, index) =>
      fork(join(__dirname, "..", "fixtures", "emits.ts"), [index * tasksEach, tasksEach, chunks].map(String), {
        execArgv: ["--import", "tsx"],
        env: { ...process.env, DATABASE_URL: database.poolUrl, SPEC_SCHEMA: database.schema },
      }),
    );
    const exits = Promise.all(children.map(async (child) => once(child, "exit")));
    expect((await exits).map(([code]) => code as unknown)).toEqual(Array(processes).fill(0));
    const all = Array.from({ length: chunks }, (_, index) => index + 1);
    for (const seen of await Promise.all(streams)) expect(seen).toEqual(all);
    killing.unsubscribe();
    expect(kills).toBeGreaterThan(10);
    expect(following.stats()).toMatchObject({ waiting: 0, waitingChunks: 0 });
  }, 120_000);
});
