import { spawnSync } from "node:child_process";
import { runExample } from "./support/run-example";

/** The answers that visitors of a web server get, whatever the queue behind it. */
const visits = `small.png: 200 {"image":"small.png","width":64}
large.png: the visitor has left, and nothing waits any more
large.png: 202, ask again at /tasks/ID
large.png: 200 {"image":"large.png","width":64}
broken.png: 500 {"error":"broken.png is not an image"}
`;
const noRedis = /^Skipped: there is no redis-server in the PATH .*\n$/;
const hasRedis = spawnSync("redis-server", ["--version"]).status === 0;

describe("jobs of queues that are awaited from a web server", () => {
  it.each(["pg-boss.ts", "attach-pg-boss.ts", "graphile-worker.ts"])(
    "are answered in time, too late, or not at all: %s",
    async (name) => {
      expect(await runExample(`queues/${name}`)).toBe(visits);
    },
  );

  if (hasRedis) {
    it("are answered in time, too late, or not at all: bullmq.ts", async () => {
      expect(await runExample("queues/bullmq.ts")).toBe(visits);
    });
  } else {
    console.log("bullmq.ts is not shown to work: there is no redis-server in the PATH.");
  }

  it("are skipped where there is no redis-server: bullmq.ts", async () => {
    expect(await runExample("queues/bullmq.ts", { PATH: "/no such folder" })).toMatch(noRedis);
  });
});
